"""Expired idempotency keys that are used again in parallel never deadlock."""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import pytest

from lib.db.pool import close_pools
from lib.db.tasks import complete_task, create_task, update_task
from lib.schemas import AuthenticatedUser, TaskCreate, TaskUpdate
from tests.support.databases import Database

KEYS, WORKERS = 400, 8


def test_expired_keys_in_parallel_never_deadlock(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", fresh_database.app_url)
    monkeypatch.setattr("lib.db.pool.MAX_REQUESTS_PER_USER", 1000)
    fresh_database.query("INSERT INTO users (id, name, email) VALUES ('u', 'n', 'u@x.example')")
    fresh_database.query(
        "INSERT INTO idempotency_keys (user_id, key, request_hash, task, task_id, version,"
        " created_at) SELECT 'u', 'k' || n, 'h', '{}', 1, 1, now() - interval '25 hours'"
        " FROM generate_series(1, %s) AS n",
        KEYS,
    )
    [(before,)] = fresh_database.query(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    user = AuthenticatedUser("u", "n", None, email_verified=False)

    async def use_all(seed: int) -> list[Any]:
        keys = [f"k{number}" for number in range(1, KEYS + 1)]
        random.Random(seed).shuffle(keys)
        return [await create_task(user, TaskCreate(title="x"), key) for key in keys]

    async def use_in_parallel() -> list[list[Any]]:
        return await asyncio.gather(*(use_all(seed) for seed in range(WORKERS)))

    try:
        results = asyncio.run(use_in_parallel())
    finally:
        close_pools()
    # The same key gave the same task to every worker, and each key made one task.
    documents = {each.body for tasks in results for each in tasks}
    assert len(documents) == KEYS
    assert fresh_database.query("SELECT count(*) FROM tasks") == [(KEYS,)]
    assert len({json.loads(document)["id"] for document in documents}) == KEYS
    [(after,)] = fresh_database.query(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert after == before


async def create(user: AuthenticatedUser, _: int) -> None:
    await create_task(user, TaskCreate(title="x"), "new")


async def update(user: AuthenticatedUser, task_id: int) -> None:
    await update_task(user, task_id, TaskUpdate(title="y"), idempotency_key="new")


async def complete(user: AuthenticatedUser, task_id: int) -> None:
    await complete_task(user, task_id, idempotency_key="new")


@pytest.mark.parametrize("change", [create, update, complete])
def test_a_request_skips_expired_keys_that_another_one_has_locked(
    fresh_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[AuthenticatedUser, int], Coroutine[Any, Any, None]],
) -> None:
    """If it waited for them, it would fail: the lock outlives its time budget."""
    monkeypatch.setenv("DATABASE_URL", fresh_database.app_url)
    fresh_database.query("INSERT INTO users (id, name, email) VALUES ('u', 'n', 'u@x.example')")
    fresh_database.query("INSERT INTO tasks (user_id, title) VALUES ('u', 'x')")
    [(task_id,)] = fresh_database.query("SELECT id FROM tasks")
    # The oldest have the lowest numbers.
    fresh_database.query(
        "INSERT INTO idempotency_keys (user_id, key, request_hash, task, task_id, version,"
        " created_at) SELECT 'u', 'k' || n, 'h', '{}', 1, 1, now() - interval '25 hours'"
        " + n * interval '1 second' FROM generate_series(1, 30) AS n"
    )
    locked = [("k1",), ("k2",), ("k3",)]
    user = AuthenticatedUser("u", "n", None, email_verified=False)
    with psycopg.connect(fresh_database.admin_url) as other:
        other.execute("SELECT FROM idempotency_keys WHERE key IN ('k1', 'k2', 'k3') FOR UPDATE")
        try:
            asyncio.run(change(user, task_id))
        finally:
            close_pools()
    left = fresh_database.query("SELECT key FROM idempotency_keys ORDER BY created_at")
    assert left[:3] == locked
    assert left[3:] == [*((f"k{n}",) for n in range(24, 31)), ("new",)]
