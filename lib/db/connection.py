"""One connection to PostgreSQL, whose waits end at a deadline.

The timeouts of libpq and PostgreSQL do not cover a server that acknowledges packets and
never responds. So every wait of a connection passes through its `wait`.
"""

import logging
import math
import select
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from lib.db import waiting
from lib.settings.database_url import is_this_machine

# Seconds for each of several addresses: if one drops packets, time is left for the others.
ADDRESS_TIMEOUT = 2.0

# Its warnings name the host and the user. The request's log line has the reason.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)


class NotConnected(psycopg.OperationalError):
    """There is no connection, and nothing was sent. The message is for the log."""


class Connection:
    """A libpq connection in pipeline mode, in which all statements of a transaction travel at once.

    `deadline` is a timestamp of the monotonic clock. `prepared` has the texts of the statements
    that the server has parsed for this connection.
    """

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self.pgconn = pgconn
        self.deadline = math.inf
        self.prepared: set[str] = set()
        # Timestamps of the wall clock: the monotonic one may stop while a sandbox is frozen.
        self.opened_at = self.used_at = time.time()
        pgconn.nonblocking = 1
        pgconn.enter_pipeline_mode()

    async def wait(self, events: int) -> None:
        """Wait until the socket is ready. Raises psycopg.OperationalError at the deadline."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0 or not await waiting.ready(self.pgconn.socket, events, seconds):
            self.close()  # a response may still arrive: the connection cannot be used again
            raise psycopg.OperationalError("the server did not respond before the deadline")

    @property
    def closed(self) -> bool:
        return self.pgconn.status == pq.ConnStatus.BAD

    @property
    def idle(self) -> bool:
        """Whether no statement is under way and no transaction is open."""
        return self.pgconn.transaction_status == pq.TransactionStatus.IDLE

    @property
    def stale(self) -> bool:
        """Whether an idle connection is readable: the server has ended it."""
        return self.closed or waiting.poll(self.pgconn.socket, select.POLLIN, 0)

    def close(self) -> None:
        self.pgconn.finish()


async def connect(parameters: Mapping[str, Any], deadline: float) -> Connection:
    """Open a connection with libpq's `parameters`. Raises NotConnected by `deadline`."""
    addresses = await _resolve(parameters, deadline)
    failure = "no time left"
    for address in addresses:
        if (now := time.monotonic()) >= deadline:
            break
        reached_by = math.inf if address is addresses[-1] else now + ADDRESS_TIMEOUT
        # libpq's own connect_timeout is at least two whole seconds and applies to each address.
        pgconn = pq.PGconn.connect_start(make_conninfo("", **{**parameters, **address}).encode())
        try:
            failure = await _log_in(pgconn, deadline, reached_by)
        except BaseException:  # the request was cancelled
            pgconn.finish()
            raise
        if not failure:
            return Connection(pgconn)
        pgconn.finish()
    raise NotConnected(failure)


async def _log_in(pgconn: pq.abc.PGconn, deadline: float, reached_by: float) -> str | None:
    """Complete the login. Returns None on success, otherwise the reason of the failure.

    The TCP connection must be open by `reached_by`, the login complete by `deadline`.
    """
    # libpq's manual: behave as if the first step had returned PGRES_POLLING_WRITING.
    step = pq.PollingStatus.WRITING
    while pgconn.status != pq.ConnStatus.BAD and step != pq.PollingStatus.FAILED:
        reached = pgconn.status != pq.ConnStatus.STARTED
        left = (deadline if reached else min(deadline, reached_by)) - time.monotonic()
        events = select.POLLIN if step == pq.PollingStatus.READING else select.POLLOUT
        if left <= 0 or not await waiting.ready(pgconn.socket, events, left):
            return "the server does not respond" if reached else "the server cannot be reached"
        step = pgconn.connect_poll()
        if step == pq.PollingStatus.OK:
            return None
    # libpq puts the host and the port before the reason, and hints after it.
    reason = pgconn.get_error_message().rpartition(" failed: ")[2]
    return " ".join(reason.strip().partition("\n")[0].split())


async def _resolve(parameters: Mapping[str, Any], deadline: float) -> list[dict[str, str]]:
    """The addresses of the host, each as a parameter of libpq. Raises NotConnected.

    libpq would wait for a dead name server beyond every timeout. A daemon thread can be abandoned
    at the deadline, and does not keep the process from ending.
    """
    host = str(parameters.get("host", ""))
    if "hostaddr" in parameters or is_this_machine(host):
        return [{}]
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
    return [{"hostaddr": address} for address in dict.fromkeys(addresses)]
