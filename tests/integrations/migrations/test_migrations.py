"""Migrations: four at once, on an empty database or on Better Auth's, agreeing with the tables."""

import subprocess
import sys
import uuid
from collections.abc import Generator

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from lib.db import compiled as sql
from lib.db.models import SQLModel
from migrations.__main__ import migrate
from migrations.ownership import include_object
from tests.support.databases import Cluster, Database

BETTER_AUTHS_USERS = """create table "users" ("id" text not null primary key,
  "name" text not null, "email" text not null unique, "emailVerified" boolean not null,
  "image" text, "createdAt" timestamptz default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamptz default CURRENT_TIMESTAMP not null)"""


@pytest.fixture
def empty_database(cluster: Cluster) -> Generator[Database]:
    with cluster.clone("template0") as clone:
        yield clone


def test_four_at_once_are_one_that_migrates(empty_database: Database) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "migrations"],
            env={"DATABASE_URL_UNPOOLED": empty_database.admin_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    scripts = ScriptDirectory("migrations")
    names = ", ".join(script.revision for script in reversed(list(scripts.walk_revisions())))
    whole = f"Current revision: none; pending: {names}.\nIt is at the newest revision.\n"
    assert any(words.endswith(whole) for words in said)
    newest = scripts.get_current_head()
    assert empty_database.query("SELECT version_num FROM alembic_version") == [(newest,)]


def test_the_tables_and_the_migrations_agree(fresh_database: Database) -> None:
    engine = create_engine(fresh_database.admin_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": include_object})
        differences = compare_metadata(context, SQLModel.metadata)
    engine.dispose()
    assert differences == []


def test_a_users_table_that_better_auth_made_before_is_used(empty_database: Database) -> None:
    empty_database.query(BETTER_AUTHS_USERS)
    empty_database.query("INSERT INTO users VALUES ('u1', 'U', 'u@example.com', true)")
    migrate(empty_database.admin_url)
    empty_database.query("INSERT INTO tasks (user_id, title) VALUES ('u1', 'kept')")
    empty_database.query("DELETE FROM users WHERE id = 'u1'")
    assert empty_database.query("SELECT count(*) FROM tasks") == [(0,)]


def test_our_users_table_is_the_one_that_better_auth_would_make(
    empty_database: Database, fresh_database: Database
) -> None:
    empty_database.query(BETTER_AUTHS_USERS)
    shape = """SELECT column_name, data_type, is_nullable FROM information_schema.columns
        WHERE table_name = 'users' ORDER BY column_name"""
    assert fresh_database.query(shape) == empty_database.query(shape)


def test_a_users_table_with_other_ids_is_refused_in_a_sentence(empty_database: Database) -> None:
    empty_database.query("CREATE TABLE users (id uuid PRIMARY KEY)")
    with pytest.raises(SystemExit, match="The table users has an id of type UUID"):
        migrate(empty_database.admin_url)
    assert empty_database.query("SELECT to_regclass('tasks')") == [(None,)]


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://u:p@ep-x-pooler.eu.example/db", "Migrations need the direct URL"),
        ("postgresql://u:p%zz@db.example/db", "DATABASE_URL: must be a valid URL"),
        ("postgresql://u:p@zz@127.0.0.1/db", "DATABASE_URL: must be a valid URL"),
        ("postgresql://u:p[zz@127.0.0.1/db", "DATABASE_URL: must be a valid URL"),
        ("postgresql://u:p#zz@127.0.0.1/db", "DATABASE_URL: must be a valid URL"),
        ("postgresql://u:p@127.0.0.1:1/db", "Nothing was migrated: connection failed"),
    ],
)
def test_a_url_that_cannot_work_is_refused_in_a_sentence(url: str, sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "migrations"],
        env={"DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1
    assert "zz" not in done.stderr + done.stdout


@pytest.mark.parametrize("sort", ["created_at", "updated_at", "title"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_every_list_order_is_read_from_an_index(
    fresh_database: Database, sort: str, order: str
) -> None:
    """Pages of a long list: an index scan that starts at the cursor, and nothing sorted."""
    user = f"planned-{uuid.uuid4().hex[:8]}"
    fresh_database.query(
        "INSERT INTO users (id, name, email) VALUES (%s, 'n', %s)", user, f"{user}@example.com"
    )
    fresh_database.query(
        """INSERT INTO tasks (user_id, title, created_at, updated_at)
        SELECT %s, 'task ' || n, now() - n * interval '1 s', now() - n * interval '1 s'
        FROM generate_series(1, 5000) AS n""",
        user,
    )
    fresh_database.query("ANALYZE tasks")
    values = {"owner": user, "completed": None, "pattern": None, "limit": 20, "count": False}
    values |= {"after": "2020-01-01T00:00:00Z" if sort != "title" else "task 3", "after_id": 10}
    with psycopg.connect(fresh_database.app_url, prepare_threshold=None) as connection:
        connection.execute("SELECT set_config('app.user_id', %s, true)", [user])
        plan = "\n".join(
            row[0]
            for row in connection.execute(
                b"EXPLAIN " + sql.LIST_PAGE[f"{sort} {order}"].encode(), values
            )
        )
    assert f"using tasks_by_{sort}" in plan
    assert "Sort" not in plan
