"""The way to PostgreSQL: pooled connections, one flight an operation, a time budget, safe repeats;
knows nothing of tasks or HTTP.
"""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg

from lib.db import pipeline as flight
from lib.db.connection import DeadlineConnection, NotConnected, connect, is_stale
from lib.db.url import connection_parameters, is_neon
from lib.errors import DatabaseUnavailable
from lib.log import log_notice
from lib.settings import Settings, load_settings, require

# Seconds for everything a request does here: of one that finds a connection, and of one that has to
# make it, since a suspended Neon database needs a few to wake. Both lie below every platform's own.
BUDGET = 4.0
COLD_BUDGET = 8.0
# PostgreSQL gives up this much earlier than we do, so that we hear that nothing was changed.
RESPONSE_RESERVE = 0.25
LOCK_TIMEOUT = 1.5
# Neon's pooler and most firewalls drop a client that was silent for five minutes.
CONNECTION_LIFETIME = 240.0
# Beyond this idle time a connection may have died unseen: the network forgot it, or it ended while
# the sandbox was frozen. What may be repeated finds out by failing; what may not asks first.
MAX_TRUSTED_IDLE = 15.0
PROBE_TIMEOUT = 1.0
# Connections of one process: a Lambda sandbox serves one request at a time, a Vercel instance many.
POOL_SIZE = {"lambda": 1, "vercel": 8, "local": 8}

# Rolled back, and worth another try: serialization failure, deadlock, lock timeout.
RETRYABLE_SQLSTATES = {"40001", "40P01", "55P03"}

SESSION_SETTINGS = """SELECT set_config('app.user_id', %(owner)s, true),
set_config('statement_timeout', %(statement_timeout)s, true),
set_config('lock_timeout', %(lock_timeout)s, true)"""


class Session:
    """A connection lent for one operation of one user."""

    def __init__(self, connection: DeadlineConnection, owner: str | None) -> None:
        self._connection = connection
        self._owner = owner

    def fetch(self, *statements: flight.Statement) -> list[flight.Rows]:
        """Run statements as one transaction, in one flight to the server and back.

        Gives the rows of each, none for a statement that returns none. In front of them travel
        the caller's id, for row-level security, and the time that is left; both end with the
        transaction, so that nothing stays behind on a connection that PgBouncer shares. Raises
        psycopg.Error.
        """
        left = self._connection.deadline - RESPONSE_RESERVE - time.monotonic()
        claims = {
            "owner": self._owner or "",
            "statement_timeout": _milliseconds(left),
            "lock_timeout": _milliseconds(min(left, LOCK_TIMEOUT)),
        }
        return flight.run(self._connection, (SESSION_SETTINGS, claims), *statements)


def _milliseconds(seconds: float) -> str:
    return str(max(1, int(1000 * seconds)))  # 0 would mean for ever


@dataclass(slots=True)
class Idle:
    """Moments of the wall clock: the monotonic one may stand still while a sandbox is frozen."""

    connection: DeadlineConnection
    made: float
    used: float


class Pool:
    """Idle connections, lent newest first, made when there is none.

    It has no thread and no timer, since both stand still while a function is frozen: whether a
    connection is too old or was closed by the other side is seen when it is lent, without a round
    trip. What bounds it is the number of threads that use it.
    """

    def __init__(self, connect: Callable[[float], DeadlineConnection]) -> None:
        self._connect = connect
        self._idle: deque[Idle] = deque()

    @contextmanager
    def lend(self, started: float, *, probed: bool = False) -> Generator[DeadlineConnection]:
        """Lend a connection with a deadline; `probed`: surely alive. Raises NotConnected."""
        idle = self._take(started + BUDGET, probed)
        if idle:
            connection, made = idle.connection, idle.made
            connection.deadline = started + BUDGET
        else:
            before, made = time.monotonic(), time.time()
            connection = self._connect(started + COLD_BUDGET)
            # What making it took does not count, up to the longer budget.
            longer = started + BUDGET + time.monotonic() - before
            connection.deadline = min(longer, started + COLD_BUDGET)
        try:
            yield connection
        finally:
            connection.deadline = math.inf
            if connection.closed or connection.pgconn.transaction_status:
                connection.close()
            else:
                self._idle.append(Idle(connection, made, time.time()))

    def _take(self, deadline: float, probed: bool) -> Idle | None:
        while self._idle:
            try:
                idle = self._idle.pop()
            except IndexError:  # another thread was faster
                return None
            now = time.time()
            if now - idle.made >= CONNECTION_LIFETIME or is_stale(idle.connection):
                idle.connection.close()
            elif probed and now - idle.used >= MAX_TRUSTED_IDLE and not _answers(idle, deadline):
                self.close()  # what was idle for even longer is no better
            else:
                return idle
        return None

    def close(self) -> None:
        while self._idle:
            self._idle.pop().connection.close()


def _answers(idle: Idle, deadline: float) -> bool:
    idle.connection.deadline = min(time.monotonic() + PROBE_TIMEOUT, deadline)
    try:
        idle.connection.execute("SELECT 1")
    except psycopg.OperationalError:
        idle.connection.close()
        return False
    return True


_pools: dict[tuple[str, str | None], Pool] = {}


def pool_of(settings: Settings) -> Pool:
    """The pool of this process. Raises SettingsError without a DATABASE_URL."""
    require(settings, "DATABASE_URL")
    target = settings.DATABASE_URL or "", settings.SSL_CERT_FILE
    if target not in _pools:  # the first, or the password was rotated
        parameters = connection_parameters(*target)
        host = str(parameters.get("host", ""))
        if settings.platform != "local" and is_neon(host) and "-pooler." not in host:
            log_notice("DATABASE_URL is Neon's direct endpoint: use the host with -pooler.")
        close()
        _pools.clear()
        _pools[target] = Pool(lambda deadline: connect(parameters, deadline))
    return _pools[target]


@lru_cache(maxsize=1)
def _threads(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="database")


async def run[T](
    owner: str | None,
    work: Callable[..., T],
    *arguments: Any,
    writes: bool = False,
    repeatable: bool = False,
) -> T:
    """Call `work(session, *arguments)` with a session of `owner`.

    `writes` says that a lost answer leaves open what happened, `repeatable` that doing the work
    twice has the effect of doing it once. Raises DatabaseUnavailable within the time budget.
    """
    settings = load_settings()
    pool, started = pool_of(settings), time.monotonic()
    harmless = repeatable or not writes

    def attempts() -> T:
        def attempt() -> T:
            with pool.lend(started, probed=not harmless) as connection:
                return work(Session(connection, owner), *arguments)

        return _with_repeats(attempt, started, writes, harmless)

    if settings.platform == "lambda":
        # One request at a time: nobody else waits for this loop, and a thread costs more than
        # the query does.
        return attempts()
    threads = _threads(POOL_SIZE[settings.platform])
    return await asyncio.get_running_loop().run_in_executor(threads, attempts)


def _with_repeats[T](attempt: Callable[[], T], started: float, writes: bool, harmless: bool) -> T:
    """Repeat what certainly did not happen and may pass, or what is harmless to do twice."""
    unknown = False
    for pause in (0.0, 0.08, 0.16, None):
        try:
            if time.monotonic() - started >= BUDGET:  # spent in the queue for a thread
                raise NotConnected("no thread was free in time")
            return attempt()
        except (psycopg.OperationalError, psycopg.InternalError) as error:
            unsent = isinstance(error, NotConnected)
            # An error of the server, after which the connection lives on, has rolled back.
            undone = error.diag.severity_nonlocalized == "ERROR"
            # Of any attempt, not of the last: an earlier one may have been applied.
            unknown |= writes and not (unsent or undone)
            again = unsent or (error.sqlstate in RETRYABLE_SQLSTATES if undone else harmless)
            out_of_time = time.monotonic() - started + 0.3 >= BUDGET
            if pause is None or out_of_time or not again:
                unavailable = DatabaseUnavailable(outcome_unknown=unknown)
                unavailable.reason = f"no connection: {error}" if unsent else None
                raise unavailable from error
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter
    raise AssertionError("the last pause is None")


def close() -> None:
    """Close idle connections: at shutdown, and before a snapshot is taken."""
    for pool in _pools.values():
        pool.close()
