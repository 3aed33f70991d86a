"""Migrations run while the API serves requests (expand, then contract), and no request fails."""

import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory
from starlette.testclient import TestClient

import migrations
from lib.db import pool as database
from migrations.__main__ import migrate
from tests.conftest import StartApi, bearer
from tests.support.databases import Database

TASKS = 20_000

EXPAND = '''"""Add an estimate to tasks, which new code writes and old code ignores."""

from alembic import op

revision, down_revision = "test2", "{head}"


def upgrade() -> None:
    # A constant default does not rewrite the table: the lock is held only briefly.
    for table in ("tasks", "deleted_tasks"):
        op.execute(f"ALTER TABLE {{table}} ADD COLUMN estimate integer DEFAULT 0")
    op.execute(
        "ALTER TABLE tasks ADD CONSTRAINT estimate_known CHECK (estimate IS NOT NULL) NOT VALID"
    )
'''
CONTRACT = '''"""Require the estimate, and drop an index that is not used any more."""

from alembic import op

revision, down_revision = "test3", "test2"


def upgrade() -> None:
    # Does not block reads and writes while it checks every row.
    op.execute("ALTER TABLE tasks VALIDATE CONSTRAINT estimate_known")
    # Uses the validated constraint instead of checking every row again.
    op.execute("ALTER TABLE tasks ALTER COLUMN estimate SET NOT NULL")
    op.execute("ALTER TABLE tasks DROP CONSTRAINT estimate_known")
    op.execute("DROP INDEX tasks_by_updated_at")
'''


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The migrations, and two more."""
    folder = tmp_path / "migrations"
    shutil.copytree(next(iter(migrations.__path__)), folder)
    head = ScriptDirectory(str(folder)).get_current_head()
    (folder / "versions" / "test2_expand.py").write_text(EXPAND.format(head=head))
    (folder / "versions" / "test3_contract.py").write_text(CONTRACT)
    return folder


@pytest.fixture
def populated(fresh_database: Database) -> Database:
    """A database with many tasks."""
    with psycopg.connect(fresh_database.admin_url) as connection:
        connection.execute("INSERT INTO users (id, name, email) VALUES ('old', 'Old', 'o@x')")
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO tasks (user_id, title)"
            " SELECT 'old', 'task ' || n FROM generate_series(1, %s) AS n",
            (TASKS,),
        )
    return fresh_database


def upgrade(database: Database, scripts: Path, revision: str) -> None:
    migrate(database.admin_url, scripts=str(scripts), revision=revision)


class Traffic:
    """Requests of users that create, change, toggle, list and delete until `over` is set."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.over = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0
        self.toggles: dict[str, int] = {}
        self.users: list[Future[None]] = []

    def stop(self) -> None:
        """Return when every user has deleted what they created."""
        self.over.set()
        for user in self.users:
            user.result(30)

    def request(self, user: str, method: str, path: str, **options: object) -> dict:
        started = time.monotonic()
        response = self.client.request(method, path, headers=bearer(user), **options)  # ty: ignore
        self.slowest = max(self.slowest, time.monotonic() - started)
        self.statuses[response.status_code] += 1
        return response.json() if response.content else {}

    def run_user(self, user: str) -> None:
        path = f"/api/{user}/tasks"
        kept = self.request(user, "POST", path, json={"title": "Kept"})
        self.toggles[user] = 0
        while not self.over.is_set():
            task = self.request(user, "POST", path, json={"title": "New"})
            self.request(user, "PUT", f"{path}/{task['id']}", json={"title": "Changed"})
            self.request(user, "PATCH", f"{path}/{kept['id']}/complete")
            self.toggles[user] += 1
            self.request(user, "GET", f"{path}?limit=5&sort=updated")
            self.request(user, "DELETE", f"{path}/{task['id']}")


@pytest.fixture
def traffic(start_api: StartApi, populated: Database) -> Iterator[Traffic]:
    traffic = Traffic(start_api(DATABASE_URL=populated.app_url))
    users = [f"user-{uuid.uuid4().hex}" for _ in range(4)]
    with ThreadPoolExecutor(len(users)) as threads:
        traffic.users = [threads.submit(traffic.run_user, user) for user in users]
        try:
            yield traffic
        finally:
            traffic.over.set()


def await_requests(traffic: Traffic, number: int) -> None:
    wanted = traffic.statuses.total() + number
    until = time.monotonic() + 30
    while traffic.statuses.total() < wanted:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_no_request_fails_during_an_upgrade(
    populated: Database, scripts: Path, traffic: Traffic
) -> None:
    await_requests(traffic, 20)
    upgrade(populated, scripts, "test2")
    await_requests(traffic, 20)
    upgrade(populated, scripts, "test3")
    await_requests(traffic, 20)
    traffic.stop()

    assert set(traffic.statuses) == {200, 201, 204}
    assert traffic.slowest < database.BUDGET
    assert populated.query("SELECT version_num FROM task_api_alembic_version") == [("test3",)]
    old = "SELECT count(*), min(estimate), max(version) FROM tasks WHERE user_id = 'old'"
    assert populated.query(old) == [(TASKS, 0, 1)]
    kept = populated.query("SELECT user_id, version - 1 FROM tasks WHERE user_id <> 'old'")
    assert dict(kept) == traffic.toggles


def test_an_upgrade_that_waits_for_a_lock_delays_requests_without_failures(
    populated: Database, scripts: Path, traffic: Traffic
) -> None:
    """A report reads for seconds. The migration waits for it, and requests wait for the migration.

    The migration gives up the lock before requests fail, and tries again.
    """
    await_requests(traffic, 10)
    with psycopg.connect(populated.admin_url) as report, ThreadPoolExecutor(1) as thread:
        report.execute("SELECT count(*) FROM tasks")
        migration = thread.submit(upgrade, populated, scripts, "test2")
        time.sleep(5)
        report.rollback()
        migration.result(30)
    await_requests(traffic, 10)
    traffic.over.set()
    assert set(traffic.statuses) == {200, 201, 204}
    assert 1.5 < traffic.slowest < database.BUDGET
