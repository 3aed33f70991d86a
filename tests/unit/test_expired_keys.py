"""Expired idempotency keys that are used again in parallel never deadlock."""

import asyncio
import json
import random
from typing import Any

import pytest

from lib.db.pool import close_pools
from lib.db.tasks import create_task
from lib.schemas import AuthenticatedUser, TaskCreate
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
    documents = {each.document for tasks in results for each in tasks}
    assert len(documents) == KEYS
    assert fresh_database.query("SELECT count(*) FROM tasks") == [(KEYS,)]
    assert len({json.loads(document)["id"] for document in documents}) == KEYS
    [(after,)] = fresh_database.query(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert after == before
