"""One connection to PostgreSQL, none of whose waits is without end; knows no pool, no task."""

import logging
import math
import queue
import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from lib.settings.database_url import is_this_machine

# Seconds for reaching one of several addresses: one that swallows packets leaves time for the rest.
ADDRESS_TIMEOUT = 2.0

# Its warnings name host and user, and what they tell is in the line of the request.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)


class NotConnected(psycopg.OperationalError):
    """No connection could be had: certainly nothing was sent. Its text is for the log."""


class DeadlineConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection none of whose waits outlasts `deadline`, a moment of the monotonic clock.

    The timeouts of psycopg and PostgreSQL leave one fault out, a peer that acknowledges packets and
    never answers. All waiting of a synchronous connection passes through this one method.
    """

    deadline = math.inf

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        if self.deadline != math.inf:
            left = max(0.0, self.deadline - time.monotonic())
            timeout = left if timeout is None else min(left, timeout)
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError:
            if time.monotonic() >= self.deadline:
                self.pgconn.finish()  # an answer may still come: this connection is of no use
            raise


def connect(parameters: Mapping[str, Any], deadline: float) -> DeadlineConnection:
    """A new connection in autocommit mode. Raises NotConnected, at the deadline at the latest."""
    addresses = _addresses(parameters, deadline)
    failure = "no time left"
    for address in addresses:
        if (now := time.monotonic()) >= deadline:
            break
        reached_by = math.inf if address is addresses[-1] else now + ADDRESS_TIMEOUT
        # libpq's own waiting knows whole seconds only, two at least, for each address anew.
        pgconn = pq.PGconn.connect_start(make_conninfo("", **{**parameters, **address}).encode())
        if not (failure := _await_login(pgconn, deadline, reached_by)):
            pgconn.nonblocking = 1
            connection = DeadlineConnection(pgconn)
            connection.autocommit = True
            # A prepared statement may meet another server connection behind the pooler, and a
            # changed table after a migration.
            connection.prepare_threshold = None
            return connection
        pgconn.finish()
    raise NotConnected(failure)


def _await_login(pgconn: pq.abc.PGconn, deadline: float, reached_by: float) -> str | None:
    """Says why there is no connection; None if there is one."""
    # As if the first step had been taken, says libpq's manual.
    step = pq.PollingStatus.WRITING
    while pgconn.status != pq.ConnStatus.BAD and step != pq.PollingStatus.FAILED:
        reached = pgconn.status != pq.ConnStatus.STARTED
        left = (deadline if reached else min(deadline, reached_by)) - time.monotonic()
        events = select.POLLIN if step == pq.PollingStatus.READING else select.POLLOUT
        if left <= 0 or not _ready(pgconn.socket, events, left):
            return "the server does not answer" if reached else "the server cannot be reached"
        step = pgconn.connect_poll()
        if step == pq.PollingStatus.OK:
            return None
    # In front of these words stand host and port, behind them questions.
    reason = pgconn.get_error_message().rpartition(" failed: ")[2]
    return " ".join(reason.strip().partition("\n")[0].split())


def _ready(descriptor: int, events: int, seconds: float) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, events)
    return bool(waiting.poll(math.ceil(1000 * seconds)))


def is_stale(connection: DeadlineConnection) -> bool:
    """Whether an idle connection is readable: then the server has said goodbye or hung up."""
    return connection.closed or _ready(connection.pgconn.socket, select.POLLIN, 0)


def _addresses(parameters: Mapping[str, Any], deadline: float) -> list[dict[str, str]]:
    """The addresses of the host, as parameters. Raises NotConnected.

    libpq would wait for a dead resolver beyond every timeout; a thread that nobody waits for longer
    than the deadline does not.
    """
    host = str(parameters.get("host", ""))
    if "hostaddr" in parameters or is_this_machine(host):
        return [{}]
    found: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.put([str(info[4][0]) for info in infos])
        except OSError as error:
            found.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        addresses = found.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise NotConnected("the name of the host was not resolved in time") from None
    if isinstance(addresses, OSError):
        raise NotConnected("the name of the host cannot be resolved") from addresses
    return [{"hostaddr": address} for address in dict.fromkeys(addresses)]
