"""Readiness checks are shared, so that they cannot occupy the database."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest
import time_machine

from api import health
from lib.errors import DatabaseUnavailable
from tests.conftest import StartApi
from tests.unit.test_lambda_handler import event

READY = "/api/health/ready"


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with each check of the database."""
    check, made = health._check_database, []

    async def counted() -> bool:
        made.append(None)
        return await check()

    monkeypatch.setattr(health, "_check_database", counted)
    return made


def test_requests_within_a_second_share_one_check(start_api: StartApi, checks: list[None]) -> None:
    api = start_api()
    with time_machine.travel("2026-01-01", tick=False) as clock:
        assert {api.get(READY).status_code for _ in range(20)} == {200}
        assert len(checks) == 1
        clock.shift(0.99)
        assert api.get(READY).status_code == 200
        assert len(checks) == 1
        clock.shift(0.02)
        assert api.get(READY).status_code == 200
        assert len(checks) == 2
        clock.shift(-3600)  # the clock was set back
        assert api.get(READY).status_code == 200
        assert len(checks) == 3


def test_a_failure_is_shared_and_no_longer_than_a_second(
    start_api: StartApi, checks: list[None]
) -> None:
    api = start_api(DATABASE_URL="postgresql://u:p@127.0.0.1:1/x")
    with time_machine.travel("2026-01-01", tick=False) as clock:
        for _ in range(3):
            response = api.get(READY)
            assert response.status_code == 503
            assert response.headers["retry-after"]
        assert len(checks) == 1
        clock.shift(1.01)
        assert api.get(READY).status_code == 503
        assert len(checks) == 2


def test_another_database_is_checked_at_once(start_api: StartApi) -> None:
    assert start_api().get(READY).status_code == 200
    assert start_api(DATABASE_URL="postgresql://u:p@127.0.0.1:1/x").get(READY).status_code == 503


def test_the_lambda_function_shares_checks(start_api: StartApi, checks: list[None]) -> None:
    start_api(AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001")
    with time_machine.travel("2026-01-01", tick=False) as clock:
        for expected in (1, 1, 2):
            assert health.lambda_handler(event(READY), None)["statusCode"] == 200
            assert len(checks) == expected
            clock.shift(0.6)


# Requests at the same time


def in_one_loop(
    scenario: Callable[[httpx2.AsyncClient, asyncio.Event], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
    outcome: Exception | None = None,
) -> int:
    """Run a scenario with a check that ends when the event is set. Gives the number of checks."""
    made = 0

    async def run() -> None:
        gate = asyncio.Event()

        async def check() -> bool:
            nonlocal made
            made += 1
            await gate.wait()
            if outcome:
                raise outcome
            return True

        monkeypatch.setattr(health, "_check_database", check)
        transport = httpx2.ASGITransport(app=health.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
            await scenario(client, gate)

    asyncio.run(run())
    return made


@pytest.mark.parametrize(
    ("outcome", "status"), [(None, 200), (DatabaseUnavailable(outcome_unknown=False), 503)]
)
def test_requests_at_the_same_time_join_the_check_under_way(
    outcome: Exception | None, status: int, start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_api()

    async def fifty(client: httpx2.AsyncClient, gate: asyncio.Event) -> None:
        requests = [asyncio.create_task(client.get(READY)) for _ in range(50)]
        await asyncio.sleep(0.05)
        gate.set()
        assert {response.status_code for response in await asyncio.gather(*requests)} == {status}

    assert in_one_loop(fifty, monkeypatch, outcome) == 1


def test_a_client_that_disconnects_leaves_the_check_to_the_others(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_api()

    async def first_leaves(client: httpx2.AsyncClient, gate: asyncio.Event) -> None:
        first, second = (asyncio.create_task(client.get(READY)) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert (await second).status_code == 200

    assert in_one_loop(first_leaves, monkeypatch) == 1
