"""The statements of release 0.1.0, which serves requests during a deployment or after a rollback.

They are shortened to what they write and read. They use neither the fields of revision 0003 nor
the trash.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psycopg
import pytest

from dev.local_database import create_app_role
from lib.db.changes import list_changes
from lib.db.pool import close_pools
from lib.db.tasks import restore_task
from lib.schemas import AuthenticatedUser, FeedPosition
from migrations.runner import migrate
from tests.integrations.migrations.conftest import RunMigrations
from tests.support.databases import Cluster, Database

CREATE = """INSERT INTO tasks (user_id, title, description, completed)
    VALUES (%(user)s, %(title)s, null, %(completed)s) RETURNING id"""
TOGGLE = """UPDATE tasks SET completed = NOT completed, version = version + 1,
    updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
    WHERE id = %(id)s AND user_id = %(user)s RETURNING id"""
EDIT = """UPDATE tasks SET title = %(title)s, version = version + 1,
    updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
    WHERE id = %(id)s AND user_id = %(user)s RETURNING id"""
DELETE = "DELETE FROM tasks WHERE id = %(id)s AND user_id = %(user)s RETURNING id"
LIST = "SELECT id FROM tasks WHERE user_id = %(user)s ORDER BY title, id"

STATE = "SELECT completed, completed_at, updated_at FROM tasks WHERE id = %s"
COUNT = "SELECT count(*) FROM {}"
FIELDS = "SELECT priority, due_at::text, due_is_date, tags FROM tasks"
KEPT = "SELECT version, id, user_id, title, completed, priority, tags, title_key FROM {}"
CHANGE = "SELECT changed_in::text::bigint FROM {} WHERE id = %s"


class PreviousRelease:
    """Statements of one user with the rights of the API, each in its own transaction."""

    def __init__(self, connection: psycopg.Connection, user: str) -> None:
        self.connection = connection
        self.user = user

    def run(self, statement: str, **values: Any) -> list[int]:
        with self.connection.transaction():
            self.connection.execute("SELECT set_config('app.user_id', %s, true)", [self.user])
            rows = self.connection.execute(statement.encode(), {"user": self.user, **values})
            return [row[0] for row in rows]


@pytest.fixture
def previous(fresh_database: Database) -> Iterator[PreviousRelease]:
    with psycopg.connect(fresh_database.app_url, autocommit=True) as connection:
        release = PreviousRelease(connection, f"previous-{uuid.uuid4().hex[:8]}")
        fresh_database.query(
            "INSERT INTO users (id, name, email) VALUES (%s, 'n', %s)", release.user, release.user
        )
        yield release


def test_its_completions_have_the_time_of_the_change(
    previous: PreviousRelease, fresh_database: Database
) -> None:
    [task] = previous.run(CREATE, title="New", completed=False)
    assert fresh_database.query(STATE, task)[0][:2] == (False, None)
    previous.run(TOGGLE, id=task)
    [(completed, completed_at, updated_at)] = fresh_database.query(STATE, task)
    assert completed
    assert completed_at == updated_at
    previous.run(EDIT, id=task, title="Edited")
    assert fresh_database.query(STATE, task)[0][1] == completed_at
    previous.run(TOGGLE, id=task)
    assert fresh_database.query(STATE, task)[0][:2] == (False, None)
    [task] = previous.run(CREATE, title="Done", completed=True)
    [(_, completed_at, updated_at)] = fresh_database.query(STATE, task)
    assert completed_at == updated_at


def test_its_changes_do_not_touch_fields_that_it_does_not_know(
    previous: PreviousRelease, fresh_database: Database
) -> None:
    [task] = previous.run(CREATE, title="New", completed=False)
    new = (3, "2026-12-24 00:00:00+00", True, ["a", "b"])
    fresh_database.query(
        "UPDATE tasks SET (priority, due_at, due_is_date, tags) = (%s, %s::timestamptz, %s, %s)",
        *new,
    )
    previous.run(EDIT, id=task, title="Edited")
    previous.run(TOGGLE, id=task)
    assert fresh_database.query(FIELDS) == [new]


def test_every_change_of_it_names_its_transaction(
    previous: PreviousRelease, fresh_database: Database
) -> None:
    [task] = previous.run(CREATE, title="New", completed=False)
    [(last,)] = fresh_database.query(CHANGE.format("tasks"), task)
    assert last > 0
    for statement in (TOGGLE, EDIT, TOGGLE):
        previous.run(statement, id=task, title="Edited")
        [(change,)] = fresh_database.query(CHANGE.format("tasks"), task)
        assert change > last
        last = change
    previous.run(DELETE, id=task)
    [(change,)] = fresh_database.query(CHANGE.format("deleted_tasks"), task)
    assert change > last


def test_what_it_deletes_is_in_the_trash_and_not_in_its_lists(
    previous: PreviousRelease, fresh_database: Database
) -> None:
    kept, deleted = (previous.run(CREATE, title=t, completed=False)[0] for t in ("b", "a"))
    fresh_database.query("UPDATE tasks SET tags = '{x}', priority = 4 WHERE id = %s", deleted)
    [(version, *before)] = fresh_database.query(KEPT.format("tasks WHERE id = %s"), deleted)
    assert previous.run(DELETE, id=deleted) == [deleted]
    assert previous.run(LIST) == [kept]
    assert previous.run(DELETE, id=deleted) == []
    assert fresh_database.query(KEPT.format("deleted_tasks")) == [(version + 1, *before)]
    moved = "SELECT deleted_at = updated_at AND updated_at > created_at FROM deleted_tasks"
    assert fresh_database.query(moved) == [(True,)]


def test_a_client_that_follows_the_changes_sees_what_it_does(
    previous: PreviousRelease, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", fresh_database.app_url)
    user = AuthenticatedUser(previous.user, "n", None, email_verified=False)

    def changes(position: FeedPosition | None) -> tuple[list[int], list[int], FeedPosition]:
        page = asyncio.run(list_changes(user, position, 500))
        assert not page.more
        return [json.loads(task)["id"] for task in page.tasks], page.deleted, page.next

    try:
        kept, toggled, deleted = (
            previous.run(CREATE, title=title, completed=False)[0] for title in "abc"
        )
        first, _, position = changes(None)
        assert first == [kept, toggled, deleted]
        previous.run(TOGGLE, id=toggled)
        previous.run(DELETE, id=deleted)
        assert changes(position)[:2] == ([toggled], [deleted])
        # It edits, and deletes again, what this version has restored.
        asyncio.run(restore_task(user, deleted))
        assert previous.run(EDIT, id=deleted, title="edited") == [deleted]
        *_, position = changes(position)
        assert previous.run(DELETE, id=deleted) == [deleted]
        assert changes(position)[:2] == ([], [deleted])
        assert previous.run(LIST) == [kept, toggled]
    finally:
        close_pools()


def test_its_deletion_that_is_rolled_back_leaves_no_trash(
    previous: PreviousRelease, fresh_database: Database
) -> None:
    [task] = previous.run(CREATE, title="New", completed=False)
    with pytest.raises(psycopg.errors.DivisionByZero):
        previous.run(DELETE + ", 1 / 0", id=task)
    assert fresh_database.query(COUNT.format("tasks")) == [(1,)]
    assert fresh_database.query(COUNT.format("deleted_tasks")) == [(0,)]


def test_deleting_a_user_deletes_the_trash_too(
    previous: PreviousRelease, fresh_database: Database
) -> None:
    for title in ("live", "deleted"):
        [task] = previous.run(CREATE, title=title, completed=False)
    previous.run(DELETE, id=task)
    fresh_database.query("DELETE FROM users WHERE id = %s", previous.user)
    for table in ("tasks", "deleted_tasks"):
        assert fresh_database.query(COUNT.format(table)) == [(0,)]


def test_a_plain_owner_who_deletes_a_user_deletes_only_that_users_trash(
    owned_database: Database, cluster: Cluster
) -> None:
    migrate(owned_database.admin_url)
    admin = cluster.database(owned_database.name)
    for user in ("alice", "bob"):
        admin.query("INSERT INTO users (id, name, email) VALUES (%s, 'n', %s)", user, user)
        admin.query("INSERT INTO tasks (user_id, title) VALUES (%s, 'x')", user)
    admin.query("DELETE FROM tasks")
    owned_database.query("DELETE FROM users WHERE id = 'alice'")
    assert admin.query("SELECT user_id FROM deleted_tasks") == [("bob",)]


@pytest.mark.parametrize("as_owner", [False, True], ids=["superuser", "plain owner"])
def test_tasks_that_were_completed_before_the_field_existed_have_their_last_change(
    empty_database: Database, owned_database: Database, as_owner: bool
) -> None:
    database = owned_database if as_owner else empty_database
    migrate(database.admin_url, revision="0002")
    admin = Database(
        database.name, "", empty_database.admin_url.replace(empty_database.name, database.name)
    )
    admin.query("INSERT INTO users (id, name, email) VALUES ('u', 'n', 'u@example.com')")
    admin.query(
        """INSERT INTO tasks (user_id, title, completed, updated_at)
        SELECT 'u', 'Title ' || n, n % 2 = 0, now() - n * interval '1 hour'
        FROM generate_series(1, 100) AS n"""
    )
    migrate(database.admin_url)
    shown = "SELECT completed, count(*), bool_and(completed_at = updated_at), count(completed_at)"
    assert admin.query(f"{shown} FROM tasks GROUP BY completed ORDER BY completed") == [
        (False, 50, None, 0),
        (True, 50, True, 50),
    ]
    defaults = (
        "SELECT DISTINCT priority, due_at::text, due_is_date, tags, changed_in::text FROM tasks"
    )
    assert admin.query(defaults) == [(0, "infinity", False, [], "0")]
    assert admin.query("SELECT bool_and(title_key = lower(title)) FROM tasks") == [(True,)]


def test_a_trigger_that_is_missing_or_disabled_is_reported(
    fresh_database: Database, run_migrations: RunMigrations
) -> None:
    fresh_database.query("ALTER TABLE tasks DISABLE TRIGGER before_write")
    fresh_database.query("DROP TRIGGER after_delete ON tasks")
    done = run_migrations(fresh_database.admin_url)
    assert done.returncode == 1
    assert "(trigger before_write on tasks, trigger after_delete on tasks)" in done.stderr


def test_the_migration_runs_while_it_serves_requests(empty_database: Database) -> None:
    migrate(empty_database.admin_url, revision="0002")
    create_app_role(empty_database.admin_url)
    users = [f"user-{number}" for number in range(3)]
    for user in ("old", *users):
        empty_database.query("INSERT INTO users (id, name, email) VALUES (%s, 'n', %s)", user, user)
    empty_database.query(
        """INSERT INTO tasks (user_id, title, completed)
        SELECT 'old', 'Title ' || n, n % 2 = 0 FROM generate_series(1, 20000) AS n"""
    )
    over = Event()

    def serve(user: str) -> int:
        with psycopg.connect(
            empty_database.app_url, autocommit=True, prepare_threshold=None
        ) as connection:
            release = PreviousRelease(connection, user)
            [kept] = release.run(CREATE, title="kept", completed=False)
            toggles = 0
            while not over.is_set():
                [task] = release.run(CREATE, title="new", completed=True)
                assert release.run(EDIT, id=task, title="edited") == [task]
                assert release.run(TOGGLE, id=kept) == [kept]
                toggles += 1
                assert release.run(LIST) == [task, kept]
                assert release.run(DELETE, id=task) == [task]
            return toggles

    with ThreadPoolExecutor(len(users)) as threads:
        futures = [threads.submit(serve, user) for user in users]
        try:
            time.sleep(0.5)
            migrate(empty_database.admin_url)
            time.sleep(0.5)
        finally:
            over.set()
        toggles = {user: each.result(30) for user, each in zip(users, futures, strict=True)}
    versions = "SELECT user_id, version - 1 FROM tasks WHERE user_id <> 'old'"
    assert dict(empty_database.query(versions)) == toggles
    wrong = "SELECT count(*) FROM tasks WHERE completed <> (completed_at IS NOT NULL)"
    assert empty_database.query(wrong) == [(0,)]
    # What was deleted after the migration.
    [(trash,)] = empty_database.query(COUNT.format("deleted_tasks"))
    assert 0 < trash < sum(toggles.values())
