"""One connection to PostgreSQL, whose waits end at a deadline.

The timeouts of libpq and PostgreSQL do not cover a server that acknowledges packets and
never responds. So every wait of a connection passes through its `wait`.
"""

import logging
import math
import select
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from lib.db import pipeline, waiting
from lib.db.addresses import connect_to_any
from lib.db.transport import (
    Connector,
    DatabaseError,
    NotConnected,
    OperationalError,
    Rows,
    Statement,
    error_from_sqlstate,
)
from lib.db.url import connection_parameters, is_neon
from lib.log import log_warning
from lib.settings import Settings

# Its warnings name the host and the user. The request's log line has the reason.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)


def connector(settings: Settings) -> Connector:
    """Return the function that opens connections to DATABASE_URL. Raises SettingsError."""
    parameters = connection_parameters(settings.DATABASE_URL or "", settings.SSL_CERT_FILE)
    host = str(parameters.get("host", ""))
    if not settings.is_local and is_neon(host) and "-pooler." not in host:
        log_warning("DATABASE_URL names Neon's direct endpoint. Use the host with -pooler.")
    return lambda deadline: connect(parameters, deadline)


class Connection:
    """A libpq connection in pipeline mode, in which all statements of a transaction travel at once.

    `prepared` has the texts of the statements that the server has parsed for this connection.
    """

    lazy_login = False

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self.pgconn = pgconn
        self.deadline = math.inf
        self.prepared: set[str] = set()
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
        return self.pgconn.transaction_status == pq.TransactionStatus.IDLE

    @property
    def stale(self) -> bool:
        # An idle connection is readable if the server has ended it.
        return self.closed or waiting.poll(self.pgconn.socket, select.POLLIN, 0)

    def close(self) -> None:
        self.pgconn.finish()

    async def run(
        self, first: Statement, *statements: Statement, prepare: bool = False
    ) -> list[Rows]:
        try:
            return await pipeline.run(self, first, *statements, prepare=prepare)
        except psycopg.DatabaseError as error:
            raise _convert(error) from error

    async def try_out(
        self, first: Statement, *statements: Statement
    ) -> tuple[list[Rows], DatabaseError | None]:
        try:
            rows, error = await pipeline.try_out(self, first, *statements)
        except psycopg.DatabaseError as error:
            raise _convert(error) from error
        return rows, None if error is None else _convert(error)


def _convert(error: psycopg.Error) -> DatabaseError:
    if error.sqlstate is None:
        if not isinstance(error, psycopg.OperationalError):
            raise error  # raised by psycopg for a value that it cannot send
        return OperationalError(str(error))
    diag = error.diag
    return error_from_sqlstate(
        diag.message_primary or "",
        error.sqlstate,
        severity=diag.severity_nonlocalized,
        name=type(error).__name__,
        table=diag.table_name,
        column=diag.column_name,
        constraint=diag.constraint_name,
        context=diag.context,
    )


async def connect(parameters: Mapping[str, Any], deadline: float) -> Connection:
    """Open a connection with libpq's `parameters`. Raises NotConnected by `deadline`."""

    async def attempt(address: str, reached_by: float) -> Connection:
        resolved = {} if address == host else {"hostaddr": address}
        # libpq's own connect_timeout is at least two whole seconds and applies to each address.
        pgconn = pq.PGconn.connect_start(make_conninfo("", **{**parameters, **resolved}).encode())
        try:
            failure = await _log_in(pgconn, deadline, reached_by)
        except BaseException:  # the request was cancelled
            pgconn.finish()
            raise
        if failure:
            pgconn.finish()
            raise NotConnected(failure)
        return Connection(pgconn)

    host = str(parameters.get("host", ""))
    if "hostaddr" in parameters:
        return await attempt(host, deadline)
    return await connect_to_any(host, deadline, attempt)


async def _log_in(pgconn: pq.abc.PGconn, deadline: float, reached_by: float) -> str | None:
    """Complete the login. Returns None on success, otherwise the reason of the failure.

    The TCP connection must be open by `reached_by`, the login complete by `deadline`.
    """
    # libpq's manual: behave as if the first step had returned PGRES_POLLING_WRITING.
    step = pq.PollingStatus.WRITING
    while pgconn.status != pq.ConnStatus.BAD and step != pq.PollingStatus.FAILED:
        reached = pgconn.status != pq.ConnStatus.STARTED
        left = (deadline if reached else reached_by) - time.monotonic()
        events = select.POLLIN if step == pq.PollingStatus.READING else select.POLLOUT
        if left <= 0 or not await waiting.ready(pgconn.socket, events, left):
            return "the server does not respond" if reached else "the server cannot be reached"
        step = pgconn.connect_poll()
        if step == pq.PollingStatus.OK:
            return None
    # libpq puts the host and the port before the reason, and hints after it.
    reason = pgconn.get_error_message().rpartition(" failed: ")[2]
    return " ".join(reason.strip().partition("\n")[0].split())
