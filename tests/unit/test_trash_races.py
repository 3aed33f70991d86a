"""Two requests for one task at the same time, of which the first holds its locks.

The first runs on a connection of the test, which commits when the second waits.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, LiteralString

import psycopg
import pytest

from lib.db import compiled, tasks
from lib.db.pool import close_pools
from lib.errors import TaskChanged, TaskNotFound
from lib.schemas import AuthenticatedUser, Precondition, TaskCreate, TaskUpdate
from tests.support.databases import Database

USER = AuthenticatedUser("u", "n", None, email_verified=False)
ID = 1001
VALUES: dict[str, Any] = defaultdict(
    lambda: None, owner="u", task_id=ID, title="under way", tags=[], given=["title"],
    must_match=True, key="under way", request_hash="h",
)  # fmt: skip
ERASING = (compiled.LOCK_DELETED, compiled.DELETE, compiled.ERASE)
type Operation = Callable[[], Coroutine[Any, Any, Any]]


@pytest.fixture
def database(fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database with one task of one user."""
    monkeypatch.setenv("DATABASE_URL", fresh_database.app_url)
    # Longer than a busy machine takes until the second request waits.
    monkeypatch.setattr("lib.db.transaction.LOCK_TIMEOUT", 20.0)
    monkeypatch.setattr("lib.db.pool.BUDGET", 25.0)
    monkeypatch.setattr("lib.db.pool.COLD_BUDGET", 25.0)
    fresh_database.query("INSERT INTO users (id, name, email) VALUES ('u', 'n', 'u@x.example')")
    fresh_database.query(
        "INSERT INTO tasks (id, user_id, title, description) VALUES (%s, 'u', 'secret', 'secret')",
        ID,
    )
    yield fresh_database
    close_pools()


def wait_for_lock(database: Database, future: Future[Any]) -> None:
    """Wait until the request of `future` waits for a lock."""
    waiting = """SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database()"""
    deadline = time.monotonic() + 20
    while database.query(waiting) == [(0,)]:
        assert not future.done(), f"it did not wait: {future}"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run_second(database: Database, first: tuple[LiteralString, ...], second: Operation) -> Any:
    """Run `second` while `first` is not committed. Returns its result or its error."""
    with ThreadPoolExecutor(1) as thread, psycopg.connect(database.app_url) as connection:
        connection.execute("SELECT set_config('app.user_id', 'u', true)")
        for statement in first:
            connection.execute(statement.encode(), VALUES)
        future = thread.submit(lambda: asyncio.run(second()))
        wait_for_lock(database, future)
        connection.commit()
        return future.exception(30) or future.result()


def move_to_trash(database: Database) -> None:
    database.query("DELETE FROM tasks")


def erase() -> Coroutine[Any, Any, None]:
    return tasks.erase_task(USER, ID)


def restore(key: str | None = None) -> Coroutine[Any, Any, tasks.StoredTask]:
    return tasks.restore_task(USER, ID, idempotency_key=key)


def update_once() -> Coroutine[Any, Any, tasks.StoredTask]:
    return tasks.update_task(USER, ID, TaskUpdate(title="x"), idempotency_key="second")


def places(database: Database) -> list[str]:
    """Where the task is."""
    found = [("tasks", "true"), ("deleted_tasks", "purged_at IS NULL")]
    return [
        table
        for table, condition in found
        if database.query(f"SELECT id FROM {table} WHERE id = %s AND {condition}", ID)  # noqa: S608
    ]


def texts(database: Database) -> str:
    """Every text that the database has of the task."""
    return "".join(
        str(database.query(f"SELECT t::text FROM {table} AS t"))  # noqa: S608
        for table in ("tasks", "deleted_tasks", "idempotency_keys")
    )


def assert_erased(database: Database) -> None:
    assert places(database) == []
    assert "secret" not in texts(database)
    assert '"title"' not in texts(database)
    assert database.query("SELECT id FROM deleted_tasks WHERE purged_at IS NOT NULL") == [(ID,)]


def test_erasing_waits_for_a_restoration_and_erases_its_task(database: Database) -> None:
    move_to_trash(database)
    assert run_second(database, (compiled.RESTORE,), erase) is None
    assert_erased(database)


# Without a key, a restoration of a task outside the trash only reads it.
@pytest.mark.parametrize(("from_trash", "key"), [(True, None), (True, "2nd"), (False, "2nd")])
def test_a_restoration_waits_for_erasing_and_finds_nothing(
    database: Database, from_trash: bool, key: str | None
) -> None:
    if from_trash:
        move_to_trash(database)
    result = run_second(database, ERASING, lambda: restore(key))
    assert isinstance(result, TaskNotFound)
    assert database.query("SELECT key FROM idempotency_keys") == []
    assert_erased(database)


def test_erasing_waits_for_a_deletion_and_erases_its_task(database: Database) -> None:
    assert run_second(database, (compiled.DELETE,), erase) is None
    assert_erased(database)


@pytest.mark.parametrize("from_trash", [False, True])
def test_erasing_twice_finds_nothing_the_second_time(database: Database, from_trash: bool) -> None:
    if from_trash:
        move_to_trash(database)
    assert isinstance(run_second(database, ERASING, erase), TaskNotFound)
    assert_erased(database)


@pytest.mark.parametrize(
    ("statement", "from_trash"),
    [
        (compiled.UPDATE_ONCE, False),
        (compiled.COMPLETE_ONCE, False),
        (compiled.RESTORE_ONCE, False),
        (compiled.RESTORE_ONCE, True),
    ],
)
def test_erasing_waits_for_a_keyed_change_and_erases_its_record(
    database: Database, statement: LiteralString, from_trash: bool
) -> None:
    if from_trash:
        move_to_trash(database)
    assert run_second(database, (statement,), erase) is None
    assert database.query("SELECT key, task FROM idempotency_keys") == [("under way", "")]
    assert_erased(database)


def test_a_keyed_change_waits_for_erasing_and_records_nothing(database: Database) -> None:
    result = run_second(database, ERASING, update_once)
    assert isinstance(result, TaskNotFound)
    assert database.query("SELECT key FROM idempotency_keys") == []
    assert_erased(database)


@pytest.mark.parametrize("key", [None, "second"])
@pytest.mark.parametrize("first", [compiled.RESTORE, compiled.RESTORE_ONCE])
def test_of_two_restorations_the_second_returns_the_task_of_the_first(
    database: Database, key: str | None, first: LiteralString
) -> None:
    move_to_trash(database)
    task = run_second(database, (first,), lambda: restore(key))
    assert task.body == asyncio.run(tasks.get_task(USER, ID)).body
    assert places(database) == ["tasks"]
    if key:
        [(recorded,)] = database.query("SELECT task FROM idempotency_keys WHERE key = 'second'")
        assert recorded.encode() == task.body


@pytest.mark.parametrize("first", [compiled.DELETE, compiled.UPDATE, compiled.COMPLETE])
def test_a_deletion_waits_for_another_change(database: Database, first: LiteralString) -> None:
    result = run_second(database, (first,), lambda: tasks.delete_task(USER, ID))
    assert isinstance(result, TaskNotFound) == (first == compiled.DELETE)
    assert places(database) == ["deleted_tasks"]


def test_a_keyed_restoration_waits_for_a_deletion_and_restores_its_task(database: Database) -> None:
    restored = run_second(database, (compiled.DELETE,), lambda: restore("second"))
    assert isinstance(restored, tasks.StoredTask)
    assert places(database) == ["tasks"]


def test_a_keyed_change_waits_for_a_deletion_and_a_restoration(database: Database) -> None:
    changed = run_second(database, (compiled.DELETE, compiled.RESTORE), update_once)
    assert isinstance(changed, tasks.StoredTask)
    assert b'"title":"x"' in changed.body
    assert places(database) == ["tasks"]


def let_it_expire(database: Database) -> None:
    """Move the task to the trash, so long ago that the retention job has to erase its text."""
    move_to_trash(database)
    database.query("UPDATE deleted_tasks SET deleted_at = now() - interval '30 days 1 minute'")


def test_an_expired_task_that_the_retention_job_has_not_reached_can_be_erased(
    database: Database,
) -> None:
    let_it_expire(database)
    stale = Precondition(["0" * 32])
    with pytest.raises(TaskChanged):
        asyncio.run(tasks.erase_task(USER, ID, stale))
    assert "secret" in texts(database)
    asyncio.run(erase())
    assert_erased(database)
    with pytest.raises(TaskNotFound):
        asyncio.run(erase())


def test_an_expired_task_cannot_be_restored(database: Database) -> None:
    let_it_expire(database)
    for key in (None, "k"):
        with pytest.raises(TaskNotFound):
            asyncio.run(restore(key))
    assert places(database) == ["deleted_tasks"]


def test_a_new_task_waits_for_the_deletion_of_its_user_and_adds_the_user_again(
    database: Database,
) -> None:
    """As erase-user deletes: it locks the row, and deletes it later in the same transaction."""
    create = tasks.create_task(USER, TaskCreate(title="new"))
    with ThreadPoolExecutor(1) as thread, psycopg.connect(database.admin_url) as eraser:
        eraser.execute("SELECT FROM users WHERE id = 'u' FOR UPDATE")
        future = thread.submit(lambda: asyncio.run(create))
        wait_for_lock(database, future)
        eraser.execute("DELETE FROM users WHERE id = 'u'")
        eraser.commit()
        created = future.result(30)
    assert database.query("SELECT title FROM tasks WHERE id = %s", created.id) == [("new",)]


@pytest.mark.parametrize("key", [None, "k"])
def test_a_restoration_that_deadlocks_with_the_deletion_of_its_user_is_tried_again(
    database: Database, key: str | None
) -> None:
    """It locks its task, and then waits for the row in `users`."""
    move_to_trash(database)
    database.query(f"ALTER ROLE task_app IN DATABASE {database.name} SET deadlock_timeout = '3s'")
    with ThreadPoolExecutor(1) as thread, psycopg.connect(database.admin_url) as eraser:
        eraser.execute("SET deadlock_timeout = '1min'")
        eraser.execute("SELECT FROM users WHERE id = 'u' FOR UPDATE")
        future = thread.submit(lambda: asyncio.run(restore(key)))
        wait_for_lock(database, future)
        eraser.execute("DELETE FROM users WHERE id = 'u'")
        eraser.commit()
        assert isinstance(future.exception(30), TaskNotFound)
    assert texts(database) == "[][][]"
