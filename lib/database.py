"""The way to PostgreSQL: pooled connections, one flight an operation, deadlines, safe repeats;
knows nothing of tasks or HTTP.
"""

import asyncio
import ipaddress
import math
import queue
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, LiteralString
from urllib.parse import parse_qsl, urlencode, urlsplit

import certifi
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lib.errors import DatabaseUnavailable
from lib.settings import Settings, load_settings, require

# Seconds. The first is for a request that finds a connection, the second for one that has to make
# it: a suspended Neon database needs a few to wake. Both lie below every platform's own timeout.
BUDGET = 4.0
CONNECT_BUDGET = 8.0
# Neon's pooler and most firewalls drop a client that was silent for five minutes.
CONNECTION_LIFETIME = 240.0
# Connections of one process: a Lambda sandbox serves one request at a time, a Vercel instance many.
POOL_SIZE = {"lambda": 1, "vercel": 8, "local": 8}

# Rolled back by the server, whose connection lives on: serialization failure, deadlock, lock
# timeout; and the same for good: statement timeout (our own deadline), read-only database.
ROLLED_BACK_REPEATABLE = {"40001", "40P01", "55P03"}
ROLLED_BACK = ROLLED_BACK_REPEATABLE | {"57014", "25006"}

# What other drivers understand in a URL, and libpq refuses.
FOREIGN_URL_PARAMETERS = {"pgbouncer", "connection_limit", "pool_timeout", "schema"}

type Statement = tuple[LiteralString, Mapping[str, Any]]
type Rows = list[tuple[Any, ...]]


class NotConnected(psycopg.OperationalError):
    """No connection could be had: certainly nothing was sent."""


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


class Session:
    """A connection lent for one operation of one user."""

    def __init__(self, connection: DeadlineConnection, owner: str | None) -> None:
        self._connection = connection
        self._owner = owner

    def fetch(self, *statements: Statement) -> list[Rows]:
        """Run statements as one transaction, in one flight to the server and back.

        Gives the rows of each, none for a statement that returns none. In front of them travel
        the caller's id, for row-level security, and the time that is left; both end with the
        transaction, so that nothing stays behind on a connection that PgBouncer shares. Raises
        psycopg.Error.
        """
        connection = self._connection
        left = max(1, int(1000 * (connection.deadline - time.monotonic())))
        with connection.pipeline():
            connection.execute(
                "SELECT set_config('app.user_id', %s, true),"
                " set_config('statement_timeout', %s, true)",
                (self._owner or "", str(left)),
            )
            cursors = [connection.execute(text, values) for text, values in statements]
        # Behind the block: inside it, each fetch would wait for a flight of its own.
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


class Pool:
    """Idle connections, lent newest first, made when there is none.

    It has no thread and no timer, since both stand still while a function is frozen: whether a
    connection is too old or was closed by the other side is seen when it is lent, without a round
    trip. What bounds it is the number of threads that use it.
    """

    def __init__(self, connect: Callable[[float], DeadlineConnection]) -> None:
        self._connect = connect
        self._idle: deque[tuple[DeadlineConnection, float]] = deque()

    @contextmanager
    def lend(self, started: float) -> Generator[DeadlineConnection]:
        """Lend a connection with a deadline. Raises NotConnected."""
        connection, made = self._take() or (self._connect(started + CONNECT_BUDGET), time.time())
        connection.deadline = max(started + BUDGET, time.monotonic() + BUDGET / 2)
        try:
            yield connection
        finally:
            connection.deadline = math.inf
            if connection.closed or connection.pgconn.transaction_status:
                connection.close()
            else:
                self._idle.append((connection, made))

    def _take(self) -> tuple[DeadlineConnection, float] | None:
        while self._idle:
            try:
                connection, made = self._idle.pop()
            except IndexError:  # another thread was faster
                return None
            # The wall clock goes on while a sandbox is frozen, the monotonic one may not.
            if time.time() - made < CONNECTION_LIFETIME and not _has_news(connection):
                return connection, made
            connection.close()
        return None

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()


def _has_news(connection: DeadlineConnection) -> bool:
    """Whether an idle connection is readable: then the server has said goodbye or hung up."""
    return connection.closed or bool(select.select([connection.pgconn.socket], [], [], 0)[0])


def connection_parameters(url: str, ca_bundle: str | None = None) -> dict[str, Any]:
    """What libpq is told for a database URL, completed for a pooled Neon endpoint.

    Hosts other than this machine are spoken to with verified TLS, unless the URL says
    `sslmode=disable`; Neon's also save a round trip by direct TLS and tie the login to the
    certificate. Nothing is added that PgBouncer refuses at start-up.
    """
    parts = urlsplit(url)
    query = [(k, v) for k, v in parse_qsl(parts.query) if k not in FOREIGN_URL_PARAMETERS]
    given = conninfo_to_dict(parts._replace(query=urlencode(query)).geturl())
    host = str(given.get("host", ""))
    completed: dict[str, Any] = {
        "application_name": "task-api",
        "gssencmode": "disable",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": int(1000 * BUDGET),
    } | given
    if _is_this_machine(host) or given.get("sslmode") == "disable":
        return completed
    completed |= {"sslmode": "verify-full"}
    # psycopg's own OpenSSL knows no system directory: the bundle must be named.
    completed.setdefault("sslrootcert", ca_bundle or certifi.where())
    if host.endswith(".neon.tech"):
        completed |= {"sslnegotiation": "direct", "channel_binding": "require"}
    return completed


def _is_this_machine(host: str) -> bool:
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def connect(parameters: Mapping[str, Any], deadline: float) -> DeadlineConnection:
    """A new connection in autocommit mode. Raises NotConnected, at the deadline at the latest."""
    failure: Exception | None = None
    for address in _resolve(str(parameters.get("host", "")), deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return DeadlineConnection.connect(
                make_conninfo("", **parameters, **address, connect_timeout=math.ceil(left)),
                autocommit=True,
                # A prepared statement may meet another server connection behind the pooler, and a
                # changed table after a migration.
                prepare_threshold=None,
            )
        except psycopg.OperationalError as error:
            failure = error
    raise NotConnected("no connection") from failure


def _resolve(host: str, deadline: float) -> list[dict[str, str]]:
    """The addresses of a host, as connection parameters. Raises NotConnected.

    libpq and psycopg would wait for a dead resolver beyond every timeout; a thread that nobody
    waits for longer than the deadline does not.
    """
    if not host or host.startswith("/") or _is_this_machine(host):
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
        raise NotConnected("the name of the database host was not resolved in time") from None
    if isinstance(addresses, OSError):
        raise NotConnected("the name of the database host cannot be resolved") from addresses
    return [{"hostaddr": address} for address in dict.fromkeys(addresses)]


@lru_cache(maxsize=1)  # a new one when the URL changes: a rotated password
def _pool(url: str, ca_bundle: str | None) -> Pool:
    parameters = connection_parameters(url, ca_bundle)
    return Pool(lambda deadline: connect(parameters, deadline))


@lru_cache(maxsize=1)
def _threads(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="database")


def pool_of(settings: Settings) -> Pool:
    """The pool of this process. Raises SettingsError without a DATABASE_URL."""
    require(settings, "DATABASE_URL")
    return _pool(settings.DATABASE_URL or "", settings.SSL_CERT_FILE)


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

    def attempts() -> T:
        return _with_repeats(pool, started, owner, work, arguments, writes, repeatable)

    if settings.platform == "lambda":
        # One request at a time: nobody else waits for this loop, and a thread costs more than
        # the query does.
        return attempts()
    threads = _threads(POOL_SIZE[settings.platform])
    return await asyncio.get_running_loop().run_in_executor(threads, attempts)


def _with_repeats[T](
    pool: Pool,
    started: float,
    owner: str | None,
    work: Callable[..., T],
    arguments: tuple[Any, ...],
    writes: bool,
    repeatable: bool,
) -> T:
    for pause in (0.0, 0.08, 0.16, None):
        try:
            if time.monotonic() - started >= BUDGET:  # spent in the queue for a thread
                raise NotConnected("no time left")
            with pool.lend(started) as connection:
                return work(Session(connection, owner), *arguments)
        except (psycopg.OperationalError, psycopg.InternalError) as error:
            certain = isinstance(error, NotConnected) or error.sqlstate in ROLLED_BACK
            again = (
                isinstance(error, NotConnected)
                or error.sqlstate in ROLLED_BACK_REPEATABLE
                or (not certain and (repeatable or not writes))
            )
            out_of_time = time.monotonic() - started + 0.3 >= BUDGET
            if pause is None or out_of_time or not again:
                raise DatabaseUnavailable(outcome_unknown=writes and not certain) from error
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter
    raise AssertionError("the last pause is None")


def close() -> None:
    """Close idle connections: at shutdown, and before a snapshot is taken."""
    if (settings := load_settings()).DATABASE_URL:
        pool_of(settings).close()
