"""The retention job beside traffic: no request fails or waits for it, and there is no deadlock."""

import asyncio

import pytest

from lib.db import retention, tasks
from lib.db.pool import close_pools
from lib.schemas import AuthenticatedUser, TaskComplete, TaskCreate
from lib.settings import forget_settings
from tests.support.databases import Database

RECORDS, CLIENTS, TASKS = 100_000, 4, 60
FILL = """INSERT INTO idempotency_keys
SELECT 'user-' || n % %s, 'key-' || n, 'hash', '{}', 1, 1, now() - interval '25 hours'
FROM generate_series(0, %s - 1) AS n"""
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def test_requests_beside_the_job_succeed(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client also uses keys that have expired and that the job is about to remove."""
    fresh_database.query(
        "INSERT INTO users (id, name, email) SELECT 'user-' || n, 'n', n || '@x.example'"
        " FROM generate_series(0, %s - 1) AS n",
        CLIENTS,
    )
    fresh_database.query(FILL.replace("% %s", "%% %s"), CLIENTS, RECORDS)
    monkeypatch.setenv("DATABASE_URL", fresh_database.app_url)
    monkeypatch.setattr(retention, "MAX_SECONDS", 600.0)
    forget_settings()

    async def use(number: int) -> None:
        user = AuthenticatedUser(f"user-{number}", "N", None, email_verified=False)
        for each in range(TASKS):
            # The newest of the expired keys: the job reaches them last.
            key = f"key-{RECORDS - CLIENTS * (each + 1) + number}"
            new = TaskCreate(title=f"Task {each}")
            created = await tasks.create_task(user, new, idempotency_key=key)
            again = await tasks.create_task(user, new, idempotency_key=key)
            assert (again.id, again.body) == (created.id, created.body)
            done = TaskComplete(completed=True)
            await tasks.complete_task(user, created.id, done, idempotency_key=f"done-{each}")
            if each % 2:
                await tasks.delete_task(user, created.id)

    async def run() -> list[retention.RetentionReport | None]:
        jobs = (retention.remove_expired(), retention.remove_expired())
        try:
            return await asyncio.gather(*jobs, *map(use, range(CLIENTS)))
        finally:
            close_pools()

    removed = [each.removed.idempotency_keys for each in asyncio.run(run()) if each]
    # Each request with a key removes up to 20 expired keys of its user.
    assert sum(removed) > RECORDS - CLIENTS * TASKS * 2 * 21
    assert min(removed) > 0
    assert fresh_database.query(DEADLOCKS) == [(0,)]
    expired = "SELECT count(*) FROM idempotency_keys WHERE created_at < now() - interval '1 day'"
    assert fresh_database.query(expired) == [(0,)]
    assert fresh_database.query("SELECT count(*) FROM tasks") == [(CLIENTS * TASKS // 2,)]
    assert fresh_database.query("SELECT count(*) FROM deleted_tasks") == [(CLIENTS * TASKS // 2,)]
