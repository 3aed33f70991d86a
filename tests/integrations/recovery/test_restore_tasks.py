"""`make restore-tasks`: what it brings back, what it leaves, and what it refuses."""

import os
import subprocess
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from dev.restore_tasks import Restored, restore_tasks
from migrations.errors import MigrationError
from tests.integrations.recovery.page import ROOT
from tests.support.databases import Cluster, Database

FILL = """INSERT INTO users (id, name, email) SELECT id, id, id || '@x.example'
FROM unnest(ARRAY['ada', 'bob']) AS id;
INSERT INTO tasks (user_id, title, description, completed, tags, priority, due_at)
SELECT 'ada', 'Task ' || n, 'Text', n = 1, '{a,b}', 3, '2027-01-01'
FROM generate_series(1, 3) AS n"""
LIVE = "SELECT id, title FROM tasks WHERE user_id = %s ORDER BY id"
KEPT = """SELECT id, user_id, title, description, completed, completed_at, tags, priority, due_at,
due_is_date, created_at FROM tasks ORDER BY id"""
LONG_AGO = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def admin(admin: Database) -> Database:
    admin.query(FILL)
    return admin


@pytest.fixture
def url(admin: Database, owned_database: Database) -> str:
    """Of an owner whom row-level security applies to."""
    return owned_database.admin_url


@pytest.fixture
def backup(admin: Database, url: str, cluster: Cluster) -> Generator[Database]:
    """The state of the beginning, in a database of the same owner."""
    with cluster.clone(admin.name) as clone:
        owner, password = (conninfo_to_dict(url)[name] for name in ("user", "password"))
        yield Database(clone.name, "", cluster.url(clone.name, str(owner), str(password)))


def test_a_task_comes_back_as_it_was_with_a_new_version(admin: Database, url: str) -> None:
    before = admin.query(KEPT)
    admin.query("DELETE FROM tasks")
    [(version, updated)] = admin.query("SELECT max(version), max(updated_at) FROM deleted_tasks")
    assert restore_tasks("ada", LONG_AGO, url) == Restored(3, 0, 0)
    assert admin.query(KEPT) == before
    assert admin.query("SELECT FROM deleted_tasks") == []
    newer = "SELECT bool_and(version > %s AND updated_at > %s) FROM tasks"
    assert admin.query(newer, version, updated) == [(True,)]
    assert restore_tasks("ada", LONG_AGO, url) == Restored(0, 0, 0)


def test_what_was_deleted_before_stays_deleted(admin: Database, url: str, backup: Database) -> None:
    admin.query("DELETE FROM tasks WHERE title = 'Task 1'")
    [(since,)] = admin.query("SELECT clock_timestamp()")
    admin.query("DELETE FROM tasks WHERE title = 'Task 2'")
    assert restore_tasks("ada", since, url, backup.admin_url) == Restored(1, 0, 0)
    assert [title for _, title in admin.query(LIVE, "ada")] == ["Task 2", "Task 3"]
    assert admin.query("SELECT title FROM deleted_tasks") == [("Task 1",)]


def test_the_trash_is_newer_than_the_backup(admin: Database, url: str, backup: Database) -> None:
    admin.query("UPDATE tasks SET title = 'edited' WHERE title = 'Task 1'")
    admin.query("DELETE FROM tasks")
    assert restore_tasks("ada", LONG_AGO, url, backup.admin_url) == Restored(3, 0, 0)
    assert "edited" in dict(admin.query(LIVE, "ada")).values()


def test_an_erased_task_continues_from_its_version(
    admin: Database, url: str, backup: Database
) -> None:
    admin.query("DELETE FROM tasks WHERE title = 'Task 1'")
    admin.query("UPDATE deleted_tasks SET title = '', version = 40, purged_at = now()")
    assert restore_tasks("ada", LONG_AGO, url) == Restored(0, 0, 0)
    assert restore_tasks("ada", LONG_AGO, url, backup.admin_url) == Restored(0, 1, 0)
    assert admin.query("SELECT version FROM tasks WHERE title = 'Task 1'") == [(41,)]
    assert admin.query("SELECT FROM deleted_tasks") == []


# As after a restore in place to a time before these tasks: the ids are given out again.
TAKEN = """TRUNCATE tasks RESTART IDENTITY;
INSERT INTO tasks (user_id, title) VALUES ('bob', 'live'), ('bob', 'deleted'), ('ada', 'other')"""


def test_tasks_whose_ids_are_taken_get_new_ones(
    admin: Database, url: str, backup: Database
) -> None:
    admin.query(TAKEN)
    admin.query("DELETE FROM tasks WHERE title = 'deleted'")
    for expected in (Restored(0, 3, 3), Restored(0, 0, 0)):
        assert restore_tasks("ada", LONG_AGO, url, backup.admin_url) == expected
        assert admin.query(LIVE, "ada") == [
            (3, "other"), (4, "Task 1"), (5, "Task 2"), (6, "Task 3"),
        ]  # fmt: skip
    assert admin.query(LIVE, "bob") == [(1, "live")]
    assert admin.query("SELECT id, user_id, title FROM deleted_tasks") == [(2, "bob", "deleted")]


def test_later_tasks_do_not_get_the_restored_ids(
    admin: Database, url: str, backup: Database
) -> None:
    admin.query("TRUNCATE tasks RESTART IDENTITY")
    admin.query("INSERT INTO tasks (user_id, title) VALUES ('bob', 'first')")
    assert restore_tasks("ada", LONG_AGO, url, backup.admin_url) == Restored(0, 3, 1)
    admin.query("INSERT INTO tasks (user_id, title) VALUES ('bob', 'last')")
    assert [id_ for id_, _ in admin.query(LIVE, "ada")] == [2, 3, 4]
    assert admin.query(LIVE, "bob") == [(1, "first"), (5, "last")]


def test_a_task_that_its_user_restores_meanwhile_is_not_doubled(
    admin: Database, url: str, backup: Database
) -> None:
    admin.query("DELETE FROM tasks")
    move = "WITH moved AS (DELETE FROM deleted_tasks WHERE title = 'Task 1' RETURNING *)"
    names = "id, user_id, title, completed, created_at, updated_at, version"
    with ThreadPoolExecutor() as pool:
        with psycopg.connect(admin.admin_url) as other:
            text = f"{move} INSERT INTO tasks ({names}) SELECT {names} FROM moved"  # noqa: S608
            other.execute(text.encode())
            running = pool.submit(restore_tasks, "ada", LONG_AGO, url, backup.admin_url)
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while admin.query(waits + " AND datname = current_database()") == [(0,)]:
                assert not running.done()
        assert running.result(30) == Restored(2, 0, 0)
    assert [title for _, title in admin.query(LIVE, "ada")] == ["Task 1", "Task 2", "Task 3"]


def test_two_runs_at_the_same_time_restore_each_task_once(
    admin: Database, url: str, backup: Database
) -> None:
    [(taken, *_), *_] = admin.query(LIVE, "ada")
    admin.query("TRUNCATE tasks")
    # A run that has found what is missing waits for an id, before it restores anything.
    with psycopg.connect(admin.admin_url) as other, ThreadPoolExecutor(2) as pool:
        other.execute("INSERT INTO tasks (id, user_id, title) VALUES (%s, 'bob', 'x')", [taken])
        other.execute("DELETE FROM tasks")
        runs = [
            pool.submit(restore_tasks, "ada", LONG_AGO, url, backup.admin_url) for _ in range(2)
        ]
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while admin.query(waits + " AND datname = current_database()") != [(2,)]:
            assert not any(run.done() for run in runs)
        other.rollback()
        restored = sorted(run.result(30) for run in runs)
    assert restored == [Restored(0, 0, 0), Restored(0, 3, 0)]
    assert [title for _, title in admin.query(LIVE, "ada")] == ["Task 1", "Task 2", "Task 3"]


ADD_USER = "INSERT INTO users (id, name, email) VALUES ('ada', 'ada', 'ada@x.example')"


def test_a_user_who_was_erased_and_came_back_does_not_get_the_tasks_of_before(
    admin: Database, url: str, backup: Database
) -> None:
    admin.query("DELETE FROM users WHERE id = 'ada'")
    admin.query(ADD_USER)
    admin.query("INSERT INTO tasks (user_id, title) VALUES ('ada', 'since')")
    admin.query("DELETE FROM tasks")
    assert restore_tasks("ada", LONG_AGO, url, backup.admin_url) == Restored(1, 0, 0, erased=3)
    assert [title for _, title in admin.query(LIVE, "ada")] == ["since"]
    done = make(url, "SINCE=2026-11-01T00:00Z", "ALL_USERS=1", BACKUP_URL=backup.admin_url)
    assert done.stdout == (
        "ada: 3 tasks of the backup stay erased, because the user was erased after them.\n"
    )
    # A row that comes from the backup is of a user who was lost, not erased.
    admin.query("DELETE FROM users WHERE id = 'ada'")
    admin.query(ADD_USER)
    admin.query("UPDATE users SET \"createdAt\" = '2026-01-01'")
    assert restore_tasks("ada", LONG_AGO, url, backup.admin_url) == Restored(0, 3, 0)


def test_a_user_without_a_row_gets_nothing(admin: Database, url: str, backup: Database) -> None:
    admin.query("DELETE FROM users WHERE id = 'ada'")
    with pytest.raises(MigrationError, match="Nothing was restored: ada was erased at 20"):
        restore_tasks("ada", LONG_AGO, url, backup.admin_url)


def test_a_backup_of_another_release_is_refused(
    admin: Database, url: str, backup: Database
) -> None:
    admin.query("DELETE FROM tasks")
    backup.query("ALTER TABLE tasks DROP COLUMN due_is_date")
    with pytest.raises(MigrationError, match="Run make migrate with the URL of the backup"):
        restore_tasks("ada", LONG_AGO, url, backup.admin_url)
    assert admin.query("SELECT FROM tasks") == []
    assert admin.query("SELECT count(*) FROM deleted_tasks") == [(3,)]


def make(url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make with a recipe that needs no installation."""
    return subprocess.run(
        ["make", "--silent", "--assume-old=.venv/ready", "restore-tasks", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATABASE_URL_UNPOOLED": url, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


REFUSED: dict[tuple[str, ...], str] = {
    (): "Set SINCE=2026-11-23T02:30Z, and either USER_ID=... or ALL_USERS=1.",
    ("USER_ID=ada",): "Set SINCE=",
    ("SINCE=2026-11-23T02:30Z",): "Set SINCE=",
    ("SINCE=2026-11-23T02:30Z", "USER_ID=ada", "ALL_USERS=1"): "Set SINCE=",
    ("SINCE=half past two", "USER_ID=ada"): "SINCE is not a time: 'half past two'.",
    ("SINCE=2026-11-23T02:30", "USER_ID=ada"): "SINCE has no time zone: write 2026-11-23T02:30Z",
    ("SINCE=2026-11-23", "USER_ID=ada"): "SINCE has no time zone: write 2026-11-23T00:00Z",
    ("SINCE=0001-01-01T00:00+14:00", "USER_ID=ada"): "SINCE is not a time: '0001-01-01T00:00",
    ("SINCE=2999-01-01T00:00Z", "USER_ID=ada"): "SINCE is in the future: 2999-01-01T00:00:00Z.",
    ("SINCE=2026-01-01T00:00Z", "USER_ID=-x"): "Nothing was restored: -x has no row in users",
    (
        "SINCE=2026-01-01T00:00Z",
        "USER_ID=bob",
    ): "No task was lost since 2026-01-01T00:00:00Z in test_",
}


def test_a_command_that_names_too_little_changes_nothing(admin: Database, url: str) -> None:
    admin.query("DELETE FROM tasks")
    for arguments, beginning in REFUSED.items():
        done = make(url, *arguments, USER_ID="ada", SINCE="2026-11-01T00:00Z", ALL_USERS="1")
        assert done.returncode != 0
        assert done.stderr.startswith(beginning), done.stderr
        assert "Traceback" not in done.stderr
    assert admin.query("SELECT FROM tasks") == []


NEON_POOLER = "postgresql://u:p@ep-calm-1-pooler.us-east-1.aws.neon.tech/db"


def test_a_database_that_cannot_be_used_is_one_sentence(admin: Database, url: str) -> None:
    admin.query("DELETE FROM tasks")
    words = ("SINCE=2026-11-01T00:00Z", "USER_ID=ada")
    for done in (
        make("postgresql://u:p@127.0.0.1:1/x", *words),
        make(admin.app_url, *words),
        make(url, *words, BACKUP_URL="postgresql://u:p@127.0.0.1:1/x"),
        make(url, *words, BACKUP_URL="nonsense"),
        make(url, *words, BACKUP_URL=url),
        make(url, *words, BACKUP_URL=""),
        make(url, *words, BACKUP_URL=NEON_POOLER),
    ):
        assert done.returncode != 0
        assert "Traceback" not in done.stderr, done.stderr
        assert "restored" in done.stderr or "URL" in done.stderr, done.stderr
        assert admin.query("SELECT FROM tasks") == []


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("DROP TABLE tasks", 'relation "tasks" does not exist'),
        ("REVOKE ALL ON tasks FROM CURRENT_USER", "permission denied for table tasks"),
    ],
)
def test_the_sentence_names_the_backup_that_cannot_be_read(
    admin: Database, url: str, backup: Database, statement: str, reason: str
) -> None:
    admin.query("DELETE FROM tasks")
    backup.query(statement)
    done = make(url, "SINCE=2026-11-01T00:00Z", "USER_ID=ada", BACKUP_URL=backup.admin_url)
    assert done.stderr.splitlines()[0] == (
        f"Nothing was restored: the backup {backup.name} at 127.0.0.1 cannot be read ({reason})."
        " Correct BACKUP_URL."
    )
    assert admin.query("SELECT FROM tasks") == []


@pytest.mark.parametrize("has_backup", [True, False])
def test_the_sentence_names_the_database_that_has_no_tasks(
    admin: Database, url: str, backup: Database, has_backup: bool
) -> None:
    admin.query("DROP TABLE tasks")
    variables = {"BACKUP_URL": backup.admin_url} if has_backup else {}
    done = make(url, "SINCE=2026-11-01T00:00Z", "USER_ID=ada", **variables)
    assert done.stderr.splitlines()[0] == (
        f"Nothing was restored: {admin.name} at 127.0.0.1 has no table tasks. Restore the table"
        " first (docs/recovery.md), or correct DATABASE_URL_UNPOOLED."
    )
