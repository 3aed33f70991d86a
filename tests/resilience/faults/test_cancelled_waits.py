"""A request that is cancelled at any of its waits leaves nothing behind.

A request is run again and again, and each time it is cancelled one wait later, until it completes.
After each cancellation the pool, the connection, the event loop and the database must be as if the
request had not been made, or had been completed.
"""

import asyncio
import itertools
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from psycopg import pq

from dev import postgres
from dev.local_database import PASSWORD, ROLE
from lib.db import connection as connections
from lib.db import pool as database
from lib.db import waiting
from lib.db.connection import Connection
from lib.db.pool import Pool
from lib.db.transaction import run_transaction, try_transaction
from lib.errors import DatabaseUnavailable
from lib.settings import load_settings
from tests.conftest import StartApi, bearer
from tests.resilience.faults.lab import asgi_request, running_lab
from tests.support import pgbouncer, tcp_proxy
from tests.support.databases import Cluster, Database
from tests.support.tcp_proxy import Fault, Proxy

OTHER = "somebody-else"
WHO = ("SELECT current_setting('app.user_id')", {})
# More than the buffers of the sockets hold.
LARGE = ("SELECT length(%(text)s::text)", {"text": "x" * 3_000_000})

# A request is cancelled during a wait, or when the wait has ended and the request has not yet
# continued: then it holds what it waited for.
type When = Literal["during", "after"]


class Stepped(Coroutine[Any, Any, Any]):
    """A coroutine that calls `waits` with each future that it waits for (None: the next turn)."""

    def __init__(
        self, wrapped: Coroutine[Any, Any, Any], waits: Callable[[Any, list[str]], None]
    ) -> None:
        self._wrapped = wrapped
        self._waits = waits

    def send(self, value: Any) -> Any:
        future = self._wrapped.send(value)
        self._waits(future, list(_functions(self._wrapped)))
        return future

    def throw(self, *error: Any) -> Any:
        return self._wrapped.throw(*error)

    def close(self) -> None:
        self._wrapped.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError


def _functions(awaited: Any) -> Iterator[str]:
    """The functions that wait, the outermost first."""
    while awaited is not None:
        if code := getattr(awaited, "cr_code", None) or getattr(awaited, "gi_code", None):
            yield code.co_name
        following = getattr(awaited, "cr_await", None)
        awaited = following if following is not None else getattr(awaited, "gi_yieldfrom", None)


@dataclass
class Target:
    """A database behind a proxy."""

    url: str
    proxy: Proxy
    database: Database


@dataclass
class Attempt:
    """One run of a request, which is cancelled at a wait, or completes before."""

    wait: int
    when: When
    at_wait: Callable[[list[str]], None]
    seen: list[list[str]] = field(default_factory=list)

    async def run(self, request: Coroutine[Any, Any, Any]) -> bool:
        """Whether the request was cancelled."""
        task = asyncio.create_task(Stepped(request, self._waits))
        self._task = task
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        return task.cancelled()

    def _waits(self, future: Any, functions: list[str]) -> None:
        self.seen.append(functions)
        if len(self.seen) != self.wait:
            self.at_wait(functions)
        elif self.when == "during" or future is None:
            self._task.cancel()
        else:
            # Called before the task continues.
            future.add_done_callback(lambda _: self._task.cancel())
            self.at_wait(functions)


# --- What is requested ---------------------------------------------------------------------------


@dataclass
class Case:
    """A request of a new user, who has one task, and how to check its effect afterwards."""

    target: Target
    kind: str
    user: str

    async def prepare(self) -> None:
        status, task = await self._request("POST", "", b'{"title": "Before"}')
        assert status == 201
        self.task = f"/{task['id']}"

    async def request(self) -> None:
        if self.kind == "large":
            assert await run_transaction(self.user, LARGE) == [[(len(LARGE[1]["text"]),)]]
            return
        if self.kind == "trial":
            assert await try_transaction(self.user, WHO) == ([[(self.user,)]], None)
            return
        status, _ = await self._send()
        assert status in (200, 201, 204), (self.kind, status)

    async def _send(self) -> tuple[int, Any]:
        body = b'{"title": "After"}'
        match self.kind:
            case "list":
                return await self._request("GET", "")
            case "get":
                return await self._request("GET", self.task)
            case "create" | "create once":
                return await self._request("POST", "", body)
            case "change" | "change once":
                return await self._request("PUT", self.task, body)
            case "toggle" | "toggle once":
                return await self._request("PATCH", f"{self.task}/complete")
            case "delete":
                return await self._request("DELETE", self.task)
        raise AssertionError(self.kind)

    async def _request(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        headers = bearer(self.user)
        if self.kind.endswith("once") and body != b'{"title": "Before"}':
            headers |= {"Idempotency-Key": "k"}
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return await asgi_request(method, f"/api/{self.user}/tasks{path}", encoded, body)

    async def check(self) -> None:
        """The change was applied once or not at all; with a key, exactly once after a repeat."""
        if self.kind.endswith("once"):
            first, second = await self._send(), await self._send()
            assert first == second
            assert first[0] in (200, 201)
            assert self._applied() == 1
            assert self._keys() == 1
        else:
            assert self._applied() in (0, 1)
            assert self._keys() == 0

    def _applied(self) -> int:
        counted = {
            "create": "count(*) - 1",
            "delete": "1 - count(*)",
        }.get(self.kind.removesuffix(" once"), "max(version) - 1")
        [(applied,)] = self.target.database.query(
            f"SELECT {counted} FROM tasks WHERE user_id = %s",  # noqa: S608
            self.user,
        )
        return applied

    def _keys(self) -> int:
        [(keys,)] = self.target.database.query(
            "SELECT count(*) FROM idempotency_keys WHERE user_id = %s", self.user
        )
        return keys


# --- The situations in which it waits ------------------------------------------------------------

# Returns what to call at each wait with the functions that wait, and what to call at the end.
type Situation = Callable[
    [Target, Pool, Case], Awaitable[tuple[Callable[[list[str]], None], Callable[[], None]]]
]


def nothing(*_: Any) -> None:
    pass


async def cold(target: Target, pool: Pool, case: Case) -> Any:
    """A connection must be opened."""
    pool.close()
    return nothing, nothing


async def warm(target: Target, pool: Pool, case: Case) -> Any:
    """The connection is open, and idle for so short a time that it is trusted."""
    return nothing, nothing


async def probed(target: Target, pool: Pool, case: Case) -> Any:
    """The connection was idle for so long that a write tests it first."""
    for connection in pool._idle:
        connection.used_at -= database.MAX_TRUSTED_IDLE
    return nothing, nothing


async def queued(target: Target, pool: Pool, case: Case) -> Any:
    """Another user holds the only connection until the request waits for it."""
    held = [await pool.acquire(OTHER, time.monotonic())]

    def release() -> None:
        while held:
            pool.release(OTHER, held.pop())

    def at_wait(functions: list[str]) -> None:
        if "_take_slot" in functions:
            asyncio.get_running_loop().call_soon(release)

    return at_wait, release


async def reset(target: Target, pool: Pool, case: Case) -> Any:
    """The connection fails when the request is sent, so the request is sent again."""
    target.proxy.before(case.user.encode(), Fault.RESET)
    return nothing, nothing


READS, WRITES = ("list", "get"), ("create", "change", "toggle", "delete")
ONCE = ("create once", "change once", "toggle once")
# With the functions that must have waited at least once.
SITUATIONS: list[tuple[Situation, tuple[str, ...], set[str]]] = [
    (cold, ("list", "create", "toggle once"), {"_log_in", "_results"}),
    (warm, (*READS, *WRITES, *ONCE, "large", "trial"), {"_results"}),
    (probed, WRITES, {"_is_alive", "_results"}),
    (queued, ("list", "create", "toggle once"), {"_take_slot", "_results"}),
    (reset, ("list", "create once", "toggle once"), {"_log_in", "_results", "sleep"}),
]
CASES = [(situation, kind, names) for situation, kinds, names in SITUATIONS for kind in kinds]


@pytest.fixture(scope="module")
def direct(cluster: Cluster) -> Generator[Target]:
    with running_lab(cluster) as lab:
        yield Target(lab.url, lab.proxy, lab.database)


@pytest.fixture(scope="module")
def pooled(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Generator[Target]:
    """Behind PgBouncer, with TLS."""
    with (
        cluster.clone() as clone,
        pgbouncer.running(
            postgres.Server(cluster.port, "", 0, Path()),
            users={ROLE: PASSWORD},
            folder=tmp_path_factory.mktemp("pooler"),
            settings={"default_pool_size": "3"},
        ) as pooler,
        tcp_proxy.running(pooler.port) as proxy,
    ):
        url = pooler.url(clone.name, user=ROLE, password=PASSWORD)
        yield Target(url.replace(f":{pooler.port}/", f":{proxy.port}/"), proxy, clone)


async def assert_nothing_is_left(target: Target, pool: Pool) -> None:
    assert (pool._in_use, pool._waiting, pool._opening) == ({}, {}, 0)
    loop: Any = asyncio.get_running_loop()
    assert list(loop._selector.get_map()) == [loop._ssock.fileno()], "a socket is still watched"
    states = [cast("Connection", each).pgconn.transaction_status for each in pool._idle]
    assert set(states) <= {pq.TransactionStatus.IDLE}
    async with asyncio.timeout(20):
        # If a connection was kept with an unread result, this request gets that one.
        assert await run_transaction(OTHER, WHO) == [[(OTHER,)]]
    assert len(pool._idle) == 1
    end = time.monotonic() + 5
    while target.proxy.open_connections != 1:
        assert time.monotonic() < end, "a connection is still open"
        await asyncio.sleep(0.002)


def cancel_at_every_wait(target: Target, kind: str, situation: Situation, when: When) -> set[str]:
    """Return the names of all functions that waited."""
    waited: set[str] = set()

    async def main() -> None:
        pool = database.get_pool(load_settings())
        for wait in itertools.count(1):
            case = Case(target, kind, f"{kind}-{uuid.uuid4().hex}".replace(" ", "-"))
            await case.prepare()
            at_wait, end = await situation(target, pool, case)
            attempt = Attempt(wait, when, at_wait)
            cancelled = await attempt.run(case.request())
            end()
            waited.update(*attempt.seen)
            await assert_nothing_is_left(target, pool)
            await case.check()
            if not cancelled:
                assert wait > len(attempt.seen), "the cancellation had no effect"
                break
        pool.close()

    asyncio.run(main())
    return waited


@pytest.mark.parametrize("when", ["during", "after"])
@pytest.mark.parametrize(("situation", "kind", "expected"), CASES)
def test_at_every_wait(
    direct: Target,
    start_api: StartApi,
    situation: Situation,
    kind: str,
    expected: set[str],
    when: When,
) -> None:
    start_api(DATABASE_URL=direct.url, DATABASE_POOL_SIZE="1")
    waited = cancel_at_every_wait(direct, kind, situation, when)
    expected = expected | ({"_resolve"} if situation is cold else set())
    assert expected <= waited


@pytest.mark.parametrize("when", ["during", "after"])
@pytest.mark.parametrize(
    ("situation", "kind", "expected"),
    [
        (cold, "list", {"_log_in", "_results"}),
        (warm, "toggle once", {"_results"}),
        (warm, "trial", {"_results"}),
        (probed, "create", {"_is_alive", "_results"}),
    ],
)
def test_at_every_wait_behind_a_pooler_with_tls(
    pooled: Target,
    start_api: StartApi,
    situation: Situation,
    kind: str,
    expected: set[str],
    when: When,
) -> None:
    start_api(DATABASE_URL=pooled.url, DATABASE_POOL_SIZE="1")
    assert expected <= cancel_at_every_wait(pooled, kind, situation, when)


# --- Faults that these tests must find -----------------------------------------------------------


def keeps_a_connection_with_an_unread_result(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Connection, "idle", True)


def keeps_the_connection_of_a_cancelled_request(patch: pytest.MonkeyPatch) -> None:
    release = Pool.release

    def keep(pool: Pool, user: str, connection: Connection) -> None:
        if not isinstance(sys.exception(), asyncio.CancelledError):
            release(pool, user, connection)

    patch.setattr(Pool, "release", keep)


def keeps_the_slot_of_a_request_that_opens_a_connection(patch: pytest.MonkeyPatch) -> None:
    release_slot = Pool._release_slot

    def keep(pool: Pool, user: str) -> None:
        if sys._getframe(1).f_code.co_name != "acquire":
            release_slot(pool, user)

    patch.setattr(Pool, "_release_slot", keep)


def keeps_a_slot_that_was_granted_too_late(patch: pytest.MonkeyPatch) -> None:
    release_slot = Pool._release_slot

    def keep(pool: Pool, user: str) -> None:
        if sys._getframe(1).f_code.co_name != "_take_slot":
            release_slot(pool, user)

    patch.setattr(Pool, "_release_slot", keep)


def keeps_a_connection_that_did_not_respond_to_a_probe(patch: pytest.MonkeyPatch) -> None:
    is_alive = database._is_alive

    async def keep(connection: Connection, deadline: float) -> bool:
        with patch.context() as during:
            during.setattr(connection, "close", lambda: None)
            try:
                return await is_alive(connection, deadline)
            except asyncio.CancelledError:
                database.get_pool(load_settings())._idle.append(connection)
                raise

    patch.setattr(database, "_is_alive", keep)


kept_open: list[int] = []


def leaves_a_connection_open_during_the_login(patch: pytest.MonkeyPatch) -> None:
    log_in = connections._log_in

    async def keep(pgconn: pq.abc.PGconn, *rest: float) -> str | None:
        try:
            return await log_in(pgconn, *rest)
        except asyncio.CancelledError:
            kept_open.append(os.dup(pgconn.socket))
            raise

    patch.setattr(connections, "_log_in", keep)


def continues_to_watch_a_socket(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(asyncio.SelectorEventLoop, "remove_reader", lambda *_: True, raising=False)


def ignores_the_cancellation(patch: pytest.MonkeyPatch) -> None:
    ready = waiting.ready

    async def ignore(*arguments: Any) -> bool:
        try:
            return await ready(*arguments)
        except asyncio.CancelledError:
            return await ready(*arguments)

    patch.setattr(waiting, "ready", ignore)


@pytest.mark.parametrize(
    ("mutant", "situation", "kind"),
    [
        (keeps_a_connection_with_an_unread_result, warm, "list"),
        (keeps_the_connection_of_a_cancelled_request, warm, "list"),
        (keeps_the_slot_of_a_request_that_opens_a_connection, cold, "list"),
        (keeps_a_slot_that_was_granted_too_late, queued, "list"),
        (keeps_a_connection_that_did_not_respond_to_a_probe, probed, "create"),
        (leaves_a_connection_open_during_the_login, cold, "list"),
        (continues_to_watch_a_socket, warm, "list"),
        (ignores_the_cancellation, warm, "list"),
    ],
)
def test_a_fault_is_found(
    cluster: Cluster,
    start_api: StartApi,
    monkeypatch: pytest.MonkeyPatch,
    mutant: Callable[[pytest.MonkeyPatch], None],
    situation: Situation,
    kind: str,
) -> None:
    with running_lab(cluster) as lab:
        target = Target(lab.url, lab.proxy, lab.database)
        start_api(DATABASE_URL=target.url, DATABASE_POOL_SIZE="1")
        mutant(monkeypatch)
        found = []
        for when in ("during", "after"):
            try:
                cancel_at_every_wait(target, kind, situation, when)
            except (AssertionError, TimeoutError, DatabaseUnavailable):
                found.append(when)
            database._pools.clear()
        assert found
        monkeypatch.undo()
        while kept_open:
            os.close(kept_open.pop())
