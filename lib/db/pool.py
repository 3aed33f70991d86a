"""The pool of connections of this process: bounded, fair to users, and without a timer.

Threads and timers stop while a function is frozen. So the pool checks whether a connection
is too old or was closed by the server when it is acquired, without a round trip.
"""

import asyncio
import math
import time
from collections import Counter, deque
from typing import Any

from lib.db.transport import Connection, Connector, NotConnected, OperationalError
from lib.errors import TooManyRequests
from lib.settings import Settings, database_transport, require

# The time budget of a request in seconds: it covers waiting for a connection, all statements and
# their retries. COLD_BUDGET applies where a connection has to be opened, because a suspended Neon
# database takes a few seconds to start. Both are shorter than the time limit of every platform.
BUDGET = 4.0
COLD_BUDGET = 8.0
# Neon's pooler and most firewalls drop a client that was silent for five minutes.
CONNECTION_LIFETIME = 240.0
# A connection that was idle for longer may be broken without notice: the network dropped it, or it
# ended while the sandbox was frozen. A write that cannot be repeated probes it first.
MAX_TRUSTED_IDLE = 15.0
PROBE_TIMEOUT = 1.0
# A request that gets a connection has at least this many seconds left for its statements.
MIN_TIME_LEFT = 0.3
# If no request of a user succeeded for this many seconds, the database may be unavailable.
MAX_SERVICE_GAP = 1.0
# Connections of one process, unless DATABASE_POOL_SIZE is set. A Lambda sandbox serves one request
# at a time, a server many.
POOL_SIZE = {"lambda": 1, "vercel": 8, "local": 8}
# The limit of requests of one user in one process at a time. More are refused with 429.
MAX_REQUESTS_PER_USER = 64


class Pool:
    """Connections, the most recently used first.

    One user has at most a quarter of them at once. If requests wait, users take turns. All requests
    that use it at the same time must run in one event loop. `prepares`
    is false after a prepared statement was lost, as behind some poolers.
    """

    def __init__(self, connect: Connector, size: int) -> None:
        self.prepares = True
        self._connect = connect
        self._size = size
        self._share = share_of(size)
        self._idle: deque[Connection] = deque()
        self._in_use: Counter[str] = Counter()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        # When a request of a user succeeded last (monotonic), while others of theirs wait.
        self._served_at: dict[str, float] = {}
        self._opening = 0
        # Since when no connection can be opened, by the wall clock.
        self._unreachable_since = math.inf

    async def acquire(self, user: str, started: float, *, probe: bool = False) -> Connection:
        """A connection with the deadline of a request that began at `started` (monotonic).

        With `probe`, one that was idle for MAX_TRUSTED_IDLE is tested first. Raises NotConnected,
        or TooManyRequests where the user has too many requests under way. Must be followed by
        `release`.
        """
        before = time.monotonic()
        # Where connections are being opened, a request may wait as long as those that open them.
        waits_for_database = self._opening > 0
        cold_deadline = started + COLD_BUDGET
        await self._take_slot(user, cold_deadline if waits_for_database else started + BUDGET)
        try:
            # The time to open connections does not count, up to the longer budget.
            opening = time.monotonic() - before if waits_for_database else 0.0
            deadline = min(started + BUDGET + opening, cold_deadline)
            connection = await self._idle_connection(deadline, probe=probe)
            if not connection:
                before = time.monotonic()
                connection = await self._open(cold_deadline)
                opening = COLD_BUDGET if connection.lazy_login else time.monotonic() - before
                deadline = min(deadline + opening, cold_deadline)
            connection.deadline = deadline
        except BaseException:
            self._release_slot(user)
            raise
        return connection

    async def _open(self, deadline: float) -> Connection:
        self._opening += 1
        try:
            connection = await self._connect(deadline)
        except NotConnected:
            self._unreachable_since = min(self._unreachable_since, time.time())
            raise
        finally:
            self._opening -= 1
        self._unreachable_since = math.inf
        return connection

    @property
    def is_unreachable(self) -> bool:
        """Whether no connection can be opened, for longer than a request waits."""
        return time.time() - self._unreachable_since > BUDGET

    def release(self, user: str, connection: Connection, *, succeeded: bool = True) -> None:
        """Keep the connection for the next request, unless it is still in use, or broken.

        `succeeded` says whether the request got a result. If none did, the user's next requests
        may wait for the database and not for others of theirs.
        """
        if connection.closed or not connection.idle:
            connection.close()
        else:
            connection.used_at = time.time()
            self._idle.append(connection)
            if succeeded and user in self._waiting:
                self._served_at[user] = time.monotonic()
        self._release_slot(user)

    async def _take_slot(self, user: str, deadline: float) -> None:
        queue = self._waiting.get(user, [])
        if self._in_use[user] + len(queue) >= MAX_REQUESTS_PER_USER:
            raise TooManyRequests
        if self._has_slot(user) and all(each.cancelled() for each in queue):
            self._in_use[user] += 1
            return
        slot = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user, queue).append(slot)
        try:
            async with asyncio.timeout(deadline - MIN_TIME_LEFT - time.monotonic()):
                await slot
        except BaseException as error:
            # The database serves this user, who has more requests under way than it can.
            served = time.monotonic() - self._served_at.get(user, -math.inf) < MAX_SERVICE_GAP
            busy = served and self._in_use[user] >= self._share
            if slot in queue:
                self._leave_queue(user, slot)
            else:  # it was granted while the request timed out or was cancelled
                self._release_slot(user)
            if not isinstance(error, TimeoutError):
                raise
            if busy:
                raise TooManyRequests from None
            raise NotConnected("no connection was free in time") from None

    def _leave_queue(self, user: str, slot: asyncio.Future[None]) -> None:
        self._waiting[user].remove(slot)
        if not self._waiting[user]:
            del self._waiting[user]
            self._served_at.pop(user, None)

    def _has_slot(self, user: str) -> bool:
        return self._in_use.total() < self._size and self._in_use[user] < self._share

    def _release_slot(self, user: str) -> None:
        self._in_use[user] -= 1
        if not self._in_use[user]:
            del self._in_use[user]
        for next_user, queue in list(self._waiting.items()):
            slot = next((each for each in queue if not each.cancelled()), None)
            if slot and self._has_slot(next_user):
                self._waiting[next_user] = self._waiting.pop(next_user)  # other users come first
                self._leave_queue(next_user, slot)
                self._in_use[next_user] += 1
                slot.set_result(None)
                return

    async def _idle_connection(self, deadline: float, *, probe: bool) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            now = time.time()
            if now - connection.opened_at >= CONNECTION_LIFETIME or connection.stale:
                connection.close()
            elif probe and now - connection.used_at >= MAX_TRUSTED_IDLE:
                if await _is_alive(connection, deadline):
                    return connection
                connection.close()
                self.close()  # the others were idle for even longer
            else:
                return connection
        return None

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


def share_of(size: int) -> int:
    """How many of the connections of a pool one user may have at once.

    `make fairness` measures what other users notice.
    """
    return max(1, size // 4)


async def _is_alive(connection: Connection, deadline: float) -> bool:
    connection.deadline = min(time.monotonic() + PROBE_TIMEOUT, deadline)
    try:
        await connection.run(("SELECT 1", {}))
    except OperationalError:
        return False
    except BaseException:  # the request was cancelled
        connection.close()
        raise
    return True


def _transport(name: str) -> Any:
    """Import the module of a transport, but not the other one with what it needs."""
    if name == "http":
        from lib.db import http_connection  # noqa: PLC0415

        return http_connection
    from lib.db import connection  # noqa: PLC0415

    return connection


# Imported now and not by the first request: AWS Lambda starts functions with more CPU than it runs
# them, and takes snapshots before the first request.
try:
    _transport(database_transport())
except ModuleNotFoundError as error:
    if error.name != "psycopg":  # whose absence the settings report
        raise

_pools: dict[Any, Pool] = {}


def get_pool(settings: Settings) -> Pool:
    """The pool of this process. Raises SettingsError without a DATABASE_URL."""
    require(settings, "DATABASE_URL")
    target = (
        settings.DATABASE_TRANSPORT,
        settings.DATABASE_URL,
        settings.DATABASE_HTTP_URL,
        settings.SSL_CERT_FILE,
    )
    if target not in _pools:  # the first request, or the password was rotated
        connect: Connector = _transport(settings.DATABASE_TRANSPORT).connector(settings)
        close_pools()
        _pools.clear()
        size = settings.DATABASE_POOL_SIZE or POOL_SIZE[settings.platform]
        _pools[target] = Pool(connect, size)
    return _pools[target]


def close_pools() -> None:
    """Close idle connections: at shutdown, and before a snapshot is taken."""
    for pool in _pools.values():
        pool.close()
