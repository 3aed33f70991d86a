"""A request that is cancelled leaves no open transaction, no lost slot and no leaked connection.

Servers cancel the task of a request at shutdown, and some when its client disconnects.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import ExitStack
from typing import Any

import pytest

from lib.db import pool as database
from lib.db import waiting
from lib.db.pool import Pool
from lib.db.transaction import run_transaction
from lib.settings import load_settings
from tests.conftest import StartApi, bearer
from tests.resilience.faults.catalogue import tasks_locked
from tests.resilience.faults.lab import Lab, asgi_request, open_connections, running_lab
from tests.support import tcp_proxy
from tests.support.databases import Cluster

POOL_SIZE = database.POOL_SIZE["local"]
SHARE = database.share_of(POOL_SIZE)
USER = "cancelled"
SELECT_1 = ("SELECT 1", {})
SLEEP = ("SELECT pg_sleep(30)", {})


@pytest.fixture(scope="module")
def lab(cluster: Cluster) -> Generator[Lab]:
    with running_lab(cluster) as lab:
        yield lab


@pytest.fixture(autouse=True)
def _api(lab: Lab, start_api: StartApi) -> None:
    start_api(DATABASE_URL=lab.url)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def descriptors() -> int:
    """The number of open files and sockets of this process, with those of the proxy."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        assert not task.done()
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, asyncio.CancelledError), outcome


async def assert_intact(pool: Pool, lab: Lab) -> None:
    """Nothing is held, no transaction is open, and all slots can be used at the same time."""
    assert (pool._in_use, pool._waiting) == ({}, {})
    assert all(each.idle and not each.closed for each in pool._idle)
    await asyncio.to_thread(lab.await_sessions, len(pool._idle), "true")
    await asyncio.to_thread(lab.await_sessions, 0, "state <> 'idle'")
    async with asyncio.timeout(5):
        await open_connections(pool)
        # Each connection gives the response to its own request, and to no earlier one.
        users = [f"user-{number}" for number in range(POOL_SIZE)]
        statement = ("SELECT current_setting('app.user_id')", {})
        rows = await asyncio.gather(*(run_transaction(user, statement) for user in users))
    assert rows == [[[(user,)]] for user in users]
    assert len(pool._idle) == POOL_SIZE


def run(main: Callable[[Pool], Coroutine[Any, Any, None]], lab: Lab) -> None:
    async def check() -> None:
        pool = database.get_pool(load_settings())
        await main(pool)
        await assert_intact(pool, lab)

    asyncio.run(check(), debug=True)


def start(*statements: Any, user: str = USER, **options: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(run_transaction(user, *statements, **options))


def test_while_it_waits_for_a_slot(lab: Lab) -> None:
    async def main(pool: Pool) -> None:
        held = [start(SLEEP) for _ in range(SHARE)]
        await until(lambda: pool._in_use[USER] == SHARE)
        queued = [start(SELECT_1) for _ in range(3)]
        await until(lambda: len(pool._waiting.get(USER, ())) == 3)
        await cancel(queued[1])
        assert len(pool._waiting[USER]) == 2
        await cancel(queued[0], queued[2])
        assert pool._waiting == {}
        await cancel(*held)

    run(main, lab)


def test_when_it_is_granted_a_slot_just_before(lab: Lab) -> None:
    async def main(pool: Pool) -> None:
        connections = [await pool.acquire(USER, time.monotonic()) for _ in range(SHARE)]
        first, second = start(SELECT_1), start(SELECT_1)
        await until(lambda: len(pool._waiting.get(USER, ())) == 2)
        pool.release(USER, connections.pop())
        assert (pool._in_use[USER], len(pool._waiting[USER])) == (SHARE, 1)  # the first is granted
        await cancel(first)  # before it runs: the second gets the slot
        async with asyncio.timeout(5):
            assert await second == [[(1,)]]
        for connection in connections:
            pool.release(USER, connection)

    run(main, lab)


def test_when_it_is_granted_a_slot_just_after(lab: Lab) -> None:
    async def main(pool: Pool) -> None:
        connections = [await pool.acquire(USER, time.monotonic()) for _ in range(SHARE)]
        first, second = start(SELECT_1), start(SELECT_1)
        await until(lambda: len(pool._waiting.get(USER, ())) == 2)
        first.cancel()
        pool.release(USER, connections.pop())
        async with asyncio.timeout(5):
            assert await second == [[(1,)]]
        assert first.cancelled()
        for connection in connections:
            pool.release(USER, connection)

    run(main, lab)


async def settled_descriptors() -> int:
    """Their number once the sockets of what happened before are closed."""
    count = descriptors()
    while True:
        await asyncio.sleep(0.3)
        if count == (count := descriptors()):
            return count


def test_while_the_server_does_not_respond_to_the_login(lab: Lab) -> None:
    async def main(pool: Pool) -> None:
        lab.proxy.ignore_connections()
        try:
            before, opened = await settled_descriptors(), lab.proxy.connections
            tasks = [start(SELECT_1, user=f"user-{number}") for number in range(POOL_SIZE)]
            await until(lambda: lab.proxy.connections - opened == POOL_SIZE)
            await until(lambda: descriptors() == before + 2 * POOL_SIZE)  # both ends of each
            await cancel(*tasks)
            # Each socket is closed at once, not when a garbage collection finds it.
            assert descriptors() == before + POOL_SIZE
        finally:
            lab.proxy.now(tcp_proxy.Fault.DROP)
            lab.proxy.accept_connections()

    run(main, lab)


def test_while_the_host_name_is_resolved(lab: Lab) -> None:
    async def main(pool: Pool) -> None:
        with ExitStack() as stack:
            resolved = asyncio.Event()
            loop = asyncio.get_running_loop()

            def resolve() -> list[Any]:
                asyncio.run_coroutine_threadsafe(resolved.wait(), loop).result(10)
                return original()

            original = lab.resolve
            lab.resolve = resolve
            stack.callback(setattr, lab, "resolve", original)
            task = start(SELECT_1)
            await until(lambda: pool._in_use[USER])
            await asyncio.sleep(0.05)
            await cancel(task)
            resolved.set()

    run(main, lab)


@pytest.mark.parametrize("writes", [False, True])
def test_while_a_statement_runs(lab: Lab, writes: bool) -> None:
    async def main(pool: Pool) -> None:
        await open_connections(pool)
        tasks = [start(SLEEP, user=f"user-{number}", writes=writes) for number in range(POOL_SIZE)]
        asleep = "query LIKE '%pg_sleep%' AND state = 'active'"
        await asyncio.to_thread(lab.await_sessions, POOL_SIZE, asleep)
        await cancel(*tasks)
        assert not pool._idle
        lab.as_owner(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        )

    run(main, lab)


def test_while_a_large_request_is_written(lab: Lab) -> None:
    async def main(pool: Pool) -> None:
        await open_connections(pool)
        text = "x" * 30_000_000  # more than the buffers of the sockets hold
        task = start(("SELECT length(%(text)s::text)", {"text": text}))
        await until(lambda: pool._in_use[USER])
        await asyncio.sleep(0)
        await cancel(task)
        assert len(pool._idle) == POOL_SIZE - 1

    run(main, lab)


def test_while_an_idle_connection_is_probed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MAX_TRUSTED_IDLE", 0.0)

    async def main(pool: Pool) -> None:
        await open_connections(pool)
        lab.proxy.now(tcp_proxy.Fault.SILENCE)
        before = descriptors()
        task = start(SELECT_1, writes=True)
        await until(lambda: pool._in_use[USER])
        await asyncio.sleep(0.1)
        await cancel(task)
        # The connection that was probed is closed: the response to the probe may still arrive.
        assert len(pool._idle) == POOL_SIZE - 1
        assert descriptors() == before - 1
        pool.close()
        lab.proxy.now(tcp_proxy.Fault.RESET)

    run(main, lab)
    monkeypatch.undo()


def test_between_two_attempts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = 0

    async def sleep(_: float) -> None:
        nonlocal pauses
        pauses += 1
        await asyncio.sleep(30)

    monkeypatch.setattr(waiting, "sleep", sleep)

    async def main(pool: Pool) -> None:
        lab.proxy.refuse_connections()
        try:
            task = start(SELECT_1)
            await until(lambda: pauses)
            await cancel(task)
        finally:
            lab.proxy.accept_connections()

    run(main, lab)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_request_whose_task_is_cancelled_changes_everything_or_nothing(
    lab: Lab, method: str
) -> None:
    """The whole application, with an idempotency key: the effect and its record belong together."""

    async def main(pool: Pool) -> None:
        await open_connections(pool)
        headers = [
            (name.lower().encode(), value.encode())
            for name, value in (bearer(USER) | {"Idempotency-Key": f"{method}-key"}).items()
        ]
        body = b'{"title": "New"}'
        created = await asgi_request("POST", f"/api/{USER}/tasks", headers[:1], body)
        assert created[0] == 201
        if method == "POST":
            arguments = ("POST", f"/api/{USER}/tasks", headers, body)
        else:
            path = f"/api/{USER}/tasks/{created[1]['id']}/complete"
            arguments = ("PATCH", path, headers, b"")
        with tasks_locked(lab) as locker:
            task = asyncio.create_task(asgi_request(*arguments))
            await asyncio.to_thread(lab.await_sessions, 1, "wait_event_type = 'Lock'")
            await cancel(task)
            locker.rollback()
        await asyncio.to_thread(lab.await_sessions, 0, "state <> 'idle'")
        before = effects(lab)
        status, task_after = await asgi_request(*arguments)
        assert status in (200, 201)
        # One effect, whether or not the first attempt had reached the database in time.
        assert effects(lab) in (before, (before[0] + 1, before[1] + 1))
        assert await asgi_request(*arguments) == (status, task_after)

    def effects(lab: Lab) -> tuple[int, int]:
        [(effect,)] = lab.database.query("SELECT sum(version) FROM tasks WHERE user_id = %s", USER)
        [(keys,)] = lab.database.query(
            "SELECT count(*) FROM idempotency_keys WHERE user_id = %s", USER
        )
        return int(effect), keys

    run(main, lab)
