"""One user cannot take all connections: users take turns, and too many requests are refused."""

import asyncio
import time
from typing import Any, cast

import pytest

from lib.db import pool
from lib.db.pool import Pool
from lib.db.transaction import RESPONSE_RESERVE
from lib.db.transport import Connection, NotConnected
from lib.errors import TooManyRequests
from tests.conftest import StartApi, bearer

SIZE = 8


class FakeConnection:
    """A connection that always works and is never closed by the server."""

    closed = stale = False
    idle = True
    lazy_login = False

    def __init__(self) -> None:
        self.opened_at = self.used_at = time.time()
        self.deadline = 0.0

    def close(self) -> None:
        self.closed = True


def new_pool() -> Pool:
    async def connect(_: float) -> Connection:
        return cast("Connection", FakeConnection())

    return Pool(connect, SIZE)


async def acquire(connections: Pool, user: str) -> Connection:
    return await connections.acquire(user, time.monotonic())


def test_one_user_has_at_most_a_quarter_of_the_connections() -> None:
    async def main() -> None:
        connections = new_pool()
        requests = [asyncio.create_task(acquire(connections, "greedy")) for _ in range(16)]
        await asyncio.sleep(0.01)
        assert sum(request.done() for request in requests) == pool.share_of(SIZE) == 2
        # So requests of a second and a third user get a connection immediately.
        for user in ("other", "third"):
            async with asyncio.timeout(0.5):
                await acquire(connections, user)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

    asyncio.run(main())


def test_users_take_turns_while_requests_wait() -> None:
    async def main() -> list[str]:
        connections, order = new_pool(), []
        held = [(f"user {n}", await acquire(connections, f"user {n}")) for n in range(SIZE)]

        async def request(user: str) -> None:
            connection = await acquire(connections, user)
            order.append(user)
            await asyncio.sleep(0)
            connections.release(user, connection)

        waiting = [asyncio.create_task(request("greedy")) for _ in range(16)]
        await asyncio.sleep(0)
        waiting += [asyncio.create_task(request(user)) for user in ("second", "third")]
        await asyncio.sleep(0)
        user, connection = held[0]
        connections.release(user, connection)
        await asyncio.gather(*waiting)
        return order

    order = asyncio.run(main())
    assert order[:3] == ["greedy", "second", "third"]
    assert order[3:] == ["greedy"] * 15


def test_requests_beyond_the_limit_of_a_user_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_REQUESTS_PER_USER", 10)

    async def main() -> list[Any]:
        connections = new_pool()
        requests = [asyncio.create_task(acquire(connections, "greedy")) for _ in range(12)]
        await asyncio.sleep(0.01)
        async with asyncio.timeout(0.5):
            await acquire(connections, "other")
        for each in requests:
            each.cancel()
        return await asyncio.gather(*requests, return_exceptions=True)

    results = asyncio.run(main())
    assert sum(isinstance(result, TooManyRequests) for result in results) == 2


def test_a_request_that_waits_too_long_for_others_of_its_user_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One user alone must not cause errors that look like a fault of the database."""
    monkeypatch.setattr(pool, "BUDGET", 0.4)

    async def main() -> None:
        connections = new_pool()
        held = [await acquire(connections, "greedy") for _ in range(pool.share_of(SIZE))]
        # The database may be the cause: none of the user's requests succeeded meanwhile.
        with pytest.raises(NotConnected):
            await acquire(connections, "greedy")
        failed, waiting = (asyncio.create_task(acquire(connections, "greedy")) for _ in range(2))
        await asyncio.sleep(0)
        connections.release("greedy", held.pop(), succeeded=False)
        held.append(await failed)
        with pytest.raises(NotConnected):
            await waiting
        first, second = (asyncio.create_task(acquire(connections, "greedy")) for _ in range(2))
        await asyncio.sleep(0)
        connections.release("greedy", held.pop())
        await first
        with pytest.raises(TooManyRequests):
            await second
        assert not connections._waiting
        assert not connections._served_at

    asyncio.run(main())


def test_a_request_that_gets_a_connection_has_time_for_its_statements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    async def main() -> None:
        connections = new_pool()
        held = [(str(n), await acquire(connections, str(n))) for n in range(SIZE)]
        loop = asyncio.get_running_loop()
        call_at = loop.call_at

        def record(when: float, *call: Any) -> asyncio.TimerHandle:
            waits.append(when - loop.time())
            return call_at(when, *call)

        monkeypatch.setattr(loop, "call_at", record)
        waiting = asyncio.create_task(acquire(connections, "late"))
        await asyncio.sleep(0)
        connections.release(*held[0])
        await waiting

    asyncio.run(main())
    [wait] = waits
    assert wait <= pool.BUDGET - RESPONSE_RESERVE


def test_a_wait_ends_with_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "BUDGET", 0.1)

    async def main() -> Pool:
        connections = new_pool()
        held = [(str(n), await acquire(connections, str(n))) for n in range(SIZE)]
        with pytest.raises(NotConnected, match="no connection was free"):
            await acquire(connections, "late")
        for user, connection in held:
            connections.release(user, connection)
        # The request that timed out holds nothing: all connections can be acquired again.
        for n in range(SIZE):
            await acquire(connections, f"next {n}")
        return connections

    connections = asyncio.run(main())
    assert not connections._waiting
    assert connections._in_use.total() == SIZE


def test_a_wait_that_is_abandoned_holds_nothing() -> None:
    """An event loop that ends closes the coroutines that still wait."""

    async def main() -> None:
        connections = new_pool()
        held = [(str(n), await acquire(connections, str(n))) for n in range(SIZE)]
        abandoned = acquire(connections, "late")
        abandoned.send(None)
        assert list(connections._waiting) == ["late"]
        abandoned.close()
        assert not connections._waiting
        for user, connection in held:
            connections.release(user, connection)
        assert not connections._in_use

    asyncio.run(main())


def test_a_slot_that_a_cancelled_request_did_not_get_is_free() -> None:
    async def main() -> None:
        connections = new_pool()
        held = [(str(n), await acquire(connections, str(n))) for n in range(SIZE)]
        waiting = asyncio.create_task(acquire(connections, "late"))
        await asyncio.sleep(0)
        waiting.cancel()  # it still stands in the queue, until the event loop runs it
        connections.release(*held[0])
        async with asyncio.timeout(0.5):
            await acquire(connections, "late")
        await asyncio.gather(waiting, return_exceptions=True)
        assert connections._in_use.total() == SIZE

    asyncio.run(main())


def test_requests_wait_for_a_database_that_starts_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait for a slot have the same time as those that open the connections."""
    monkeypatch.setattr(pool, "BUDGET", 0.3)
    monkeypatch.setattr(pool, "COLD_BUDGET", 60.0)
    users = [f"user {n}" for n in range(50)]

    async def main() -> list[float]:
        started = asyncio.Event()

        async def connect(_: float) -> Connection:
            await started.wait()
            return cast("Connection", FakeConnection())

        connections = Pool(connect, SIZE)

        async def request(user: str) -> float:
            connection = await acquire(connections, user)
            left = connection.deadline - time.monotonic()
            await asyncio.sleep(0)
            connections.release(user, connection)
            return left

        requests = [asyncio.create_task(request(user)) for user in users]
        await asyncio.sleep(0.4)
        started.set()
        return await asyncio.gather(*requests)

    assert min(asyncio.run(main())) > 0, "each has time left for its statements"


def test_the_refusal_is_429_with_retry_after(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MAX_REQUESTS_PER_USER", 0)
    response = start_api().get("/api/busy/tasks", headers=bearer("busy"))
    assert response.status_code == 429
    assert response.json() == {"detail": "Too many requests at once. Try again."}
    assert response.headers["retry-after"] == "1"
