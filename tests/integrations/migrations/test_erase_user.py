"""`make erase-user`: nothing remains of the user, and everything of the others."""

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import BigInteger, Column, Table, Text
from sqlmodel import SQLModel

from dev import erase_user as command
from migrations.runner import migrate
from tests.support.databases import Cluster, Database

ROOT = Path(__file__).parents[3]
# The tables with data of users, found by their column so that none is forgotten.
TABLES = """SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
    AND attname IN ('user_id', 'userId') ORDER BY 1"""
FILL = """INSERT INTO users (id, name, email) SELECT id, id, id || '@x.example'
FROM unnest(ARRAY['ada', 'bob']) AS id;
INSERT INTO tasks (user_id, title) SELECT id, 'Task ' || n FROM users, generate_series(1, 5) AS n;
DELETE FROM tasks WHERE title IN ('Task 4', 'Task 5');
INSERT INTO idempotency_keys SELECT id, 'key', 'hash', '{"title": "Task"}', 1, 1 FROM users"""
ERASED = {"tasks": 3, "deleted_tasks": 2, "idempotency_keys": 1, "users": 1}

type RunCommand = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def admin(owned_database: Database, cluster: Cluster) -> Database:
    migrate(owned_database.admin_url)
    admin = cluster.database(owned_database.name)
    admin.query(FILL)
    return admin


def rows_of(database: Database, user: str) -> dict[str, int]:
    counts = {"users": database.query("SELECT count(*) FROM users WHERE id = %s", user)[0][0]}
    for (table,) in database.query(TABLES):
        [(count,)] = database.query(f"SELECT count(*) FROM {table} WHERE user_id = %s", user)  # noqa: S608
        counts[table] = count
    return known(counts)


def known(counts: dict[str, int]) -> dict[str, int]:
    """The counts without empty tables that other changes have added."""
    return {table: count for table, count in counts.items() if count or table in ERASED}


def erase_user(url: str, user: str) -> dict[str, int]:
    return known(command.erase_user(url, user))


def test_every_table_with_rows_of_users_is_counted(admin: Database) -> None:
    assert rows_of(admin, "ada") == ERASED


def test_deleting_the_row_in_users_erases_everything(
    admin: Database, owned_database: Database
) -> None:
    """As the hook of Better Auth deletes it, by an owner without BYPASSRLS."""
    owned_database.query("DELETE FROM users WHERE id = 'ada'")
    assert rows_of(admin, "ada") == dict.fromkeys(ERASED, 0)
    assert rows_of(admin, "bob") == ERASED


def test_a_role_that_may_only_delete_users_erases_everything(
    admin: Database, cluster: Cluster
) -> None:
    """The role and the statement that docs/better-auth.md shows."""
    page = (ROOT / "docs" / "better-auth.md").read_text()
    role = f"eraser_{uuid.uuid4().hex[:12]}"
    [create, delete] = re.findall(r"^```sql\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for statement in (
        create.strip().replace("task_eraser", role).replace("'...'", "'plain'").split(";")
    ):
        if statement:
            admin.query(statement)
    try:
        eraser = Database(admin.name, "", cluster.url(admin.name, role, "plain"))
        eraser.query(delete.replace("$1", "%s"), "ada")
    finally:
        admin.query(f"DROP OWNED BY {role}")
        admin.query(f"DROP ROLE {role}")
    assert rows_of(admin, "ada") == dict.fromkeys(ERASED, 0)
    assert rows_of(admin, "bob") == ERASED


def test_the_command_erases_one_user(admin: Database, owned_database: Database) -> None:
    assert erase_user(owned_database.admin_url, "ada") == ERASED
    assert rows_of(admin, "ada") == dict.fromkeys(ERASED, 0)
    assert rows_of(admin, "bob") == ERASED


def add_drafts(admin: Database) -> Table:
    """Add a table that no command names, with a row of ada and no reference to `users`."""
    admin.query("CREATE TABLE drafts (id bigint PRIMARY KEY, user_id text NOT NULL)")
    admin.query("INSERT INTO drafts VALUES (1, 'ada'), (2, 'bob')")
    admin.query("GRANT SELECT, DELETE ON drafts TO PUBLIC")
    identity = Column("id", BigInteger, primary_key=True)
    return Table("drafts", SQLModel.metadata, identity, Column("user_id", Text))


def test_a_table_that_was_added_is_erased(admin: Database, owned_database: Database) -> None:
    drafts = add_drafts(admin)
    try:
        assert erase_user(owned_database.admin_url, "ada") == ERASED | {"drafts": 1}
    finally:
        SQLModel.metadata.remove(drafts)
    assert admin.query("SELECT user_id FROM drafts") == [("bob",)]


def test_the_sessions_of_better_auth_in_the_same_database_are_erased(
    admin: Database, owned_database: Database
) -> None:
    admin.query(
        'CREATE TABLE session (id text, "userId" text REFERENCES users (id) ON DELETE CASCADE);'
        " INSERT INTO session VALUES ('1', 'ada'), ('2', 'bob')"
    )
    erase_user(owned_database.admin_url, "ada")
    assert admin.query("SELECT id FROM session") == [("2",)]


def test_rows_without_a_row_in_users_are_erased(admin: Database, owned_database: Database) -> None:
    admin.query("ALTER TABLE users DISABLE TRIGGER users_after_delete")
    admin.query("DELETE FROM users WHERE id = 'ada'")
    admin.query("ALTER TABLE users ENABLE TRIGGER users_after_delete")
    erased = dict.fromkeys(ERASED, 0) | {"deleted_tasks": 2}
    assert erase_user(owned_database.admin_url, "ada") == erased
    assert rows_of(admin, "ada") == dict.fromkeys(ERASED, 0)


def test_a_deadlock_with_a_restoration_is_tried_again(
    admin: Database, owned_database: Database
) -> None:
    """The restoration has locked its task when the command locks the row in `users`."""
    owner = conninfo_to_dict(owned_database.admin_url)["user"]
    admin.query(f"ALTER ROLE {owner} SET deadlock_timeout = '3s'")
    waiting = """SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND usename = %s"""
    with psycopg.connect(admin.admin_url) as restoring, ThreadPoolExecutor(1) as thread:
        restoring.execute("SET deadlock_timeout = '1min'")
        restoring.execute("SELECT FROM deleted_tasks WHERE user_id = 'ada' FOR UPDATE")
        erased = thread.submit(erase_user, owned_database.admin_url, "ada")
        deadline = time.monotonic() + 20
        while admin.query(waiting, owner) == [(0,)]:
            assert not erased.done(), f"it did not wait: {erased}"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # It refers to the row in `users`.
        restoring.execute("INSERT INTO idempotency_keys VALUES ('ada', 'new', 'hash', '{}', 1, 1)")
        restoring.commit()
        assert erased.result(30) == ERASED | {"idempotency_keys": 2}
    assert rows_of(admin, "ada") == dict.fromkeys(ERASED, 0)


def make(url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make with a recipe that needs no installation."""
    return subprocess.run(
        ["make", "--silent", "--assume-old=.venv/ready", "erase-user", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATABASE_URL_UNPOOLED": url, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_confirms_what_it_erased(admin: Database, owned_database: Database) -> None:
    done = make(owned_database.admin_url, "USER_ID=ada")
    assert (done.returncode, done.stderr) == (0, "")
    confirmed, warned = done.stdout.splitlines()
    expected = (
        f"Erased the user ada in {admin.name} at 127.0.0.1."
        " Rows removed: users 1, tasks 3, deleted tasks 2, idempotency keys 1"
    )
    # A table of an endpoint group that was added follows, without a row.
    assert re.fullmatch(rf"{re.escape(expected)}(, [a-z ]+ 0)*\.", confirmed)
    assert warned.startswith("A token of this user that has not expired can still create the row")
    done = make(owned_database.admin_url, "USER_ID=ada")
    assert done.returncode != 0
    assert done.stderr.startswith("Nothing is stored of the user ada in test_")


@pytest.mark.parametrize("arguments", [(), ("USER_ID=",)])
def test_a_variable_of_the_shell_selects_no_user(
    admin: Database, owned_database: Database, arguments: tuple[str, ...]
) -> None:
    done = make(owned_database.admin_url, *arguments, USER_ID="ada")
    assert done.returncode != 0
    assert done.stderr.startswith("Name the user: make erase-user USER_ID=...")
    assert rows_of(admin, "ada") == ERASED


def test_a_user_id_is_not_run_by_the_shell(
    admin: Database, owned_database: Database, tmp_path: Path
) -> None:
    touch = f"touch {tmp_path / 'created'}"
    user_id = f"\"; {touch}; ' `{touch}` $({touch}) $(shell {touch})"
    admin.query("INSERT INTO users (id, name, email) VALUES (%s, 'n', 'e@x.example')", user_id)
    done = make(owned_database.admin_url, f"USER_ID={user_id}")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "created").exists()
    assert rows_of(admin, user_id)["users"] == 0


@pytest.mark.parametrize(
    "user_id", ["ada$bob", "ada$(bob)", "ada$$", "100%", "O'Brien", "two\nlines", "back\\", "#1"]
)
def test_exactly_the_named_user_is_erased(
    admin: Database, owned_database: Database, user_id: str
) -> None:
    admin.query("INSERT INTO users (id, name, email) VALUES (%s, 'n', 'e@x.example')", user_id)
    done = make(owned_database.admin_url, f"USER_ID={user_id}")
    assert (done.returncode, done.stderr) == (0, "")
    assert admin.query("SELECT id FROM users ORDER BY 1") == [("ada",), ("bob",)]


def test_a_user_id_that_is_not_utf_8_is_one_sentence(
    admin: Database, owned_database: Database
) -> None:
    done = make(owned_database.admin_url, "USER_ID=\udcff")
    assert done.stderr.startswith("Nothing was erased: the user id is not valid UTF-8.\n")
    assert rows_of(admin, "ada") == ERASED


def test_a_role_that_is_not_the_owner_erases_nothing(admin: Database) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dev.erase_user", "ada"],
        cwd=ROOT,
        env={"DATABASE_URL_UNPOOLED": admin.app_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Nothing was erased: permission denied")
    assert rows_of(admin, "ada") == ERASED
