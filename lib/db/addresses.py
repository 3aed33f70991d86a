"""Resolves the name of a host, and tries its addresses in turn, within a deadline."""

import math
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from lib.db import waiting
from lib.db.transport import NotConnected
from lib.settings.database_url import is_this_machine

# Seconds for each of several addresses: if one drops packets, time is left for the others.
ADDRESS_TIMEOUT = 2.0


async def connect_to_any[T](
    host: str, deadline: float, attempt: Callable[[str, float], Awaitable[T]]
) -> T:
    """Return the result of the first attempt that succeeds.

    `attempt` gets an address, and the time by which it must be reached. A name of this machine is
    not resolved. Raises NotConnected by the deadline.
    """
    addresses = [host] if is_this_machine(host) else await _resolve(host, deadline)
    failure = NotConnected("no time left")
    for address in addresses:
        if (now := time.monotonic()) >= deadline:
            break
        reached_by = math.inf if address is addresses[-1] else now + ADDRESS_TIMEOUT
        try:
            return await attempt(address, min(reached_by, deadline))
        except NotConnected as error:
            failure = error
    raise failure


async def _resolve(host: str, deadline: float) -> list[str]:
    """The addresses of the host. Raises NotConnected.

    A dead name server would block beyond every timeout. A daemon thread can be abandoned at the
    deadline, and does not keep the process from ending.
    """
    found: Future[list[str]] = Future()

    def look_up() -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.set_result([str(info[4][0]) for info in infos])
        except (OSError, UnicodeError) as error:  # UnicodeError: a part of the name is too long
            found.set_exception(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        addresses = await waiting.result_of(found, max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise NotConnected("the host name was not resolved in time") from None
    except (OSError, UnicodeError) as error:
        raise NotConnected("the host name cannot be resolved") from error
    return list(dict.fromkeys(addresses))
