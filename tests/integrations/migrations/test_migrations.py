"""Migrations on an empty database or on Better Auth's, and the schema that they leave."""

import subprocess
import sys
import uuid

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from dev import postgres
from lib.db import compiled as sql
from lib.db.models import SQLModel
from migrations.__main__ import migrate
from migrations.ownership import include_object
from migrations.version_table import VERSION_TABLE
from tests.integrations.migrations.conftest import HEAD, REVISIONS
from tests.support.databases import Cluster, Database

BETTER_AUTH_USERS = """create table "users" ("id" text not null primary key,
  "name" text not null, "email" text not null unique, "emailVerified" boolean not null,
  "image" text, "createdAt" timestamptz default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamptz default CURRENT_TIMESTAMP not null)"""


def test_of_four_at_once_one_migrates_and_three_find_nothing_to_do(
    empty_database: Database,
) -> None:
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
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert sorted(output.splitlines()[1] for output in outputs) == [
        *[f"Current revision: {HEAD}; pending: none."] * 3,
        f"Current revision: none; pending: {', '.join(REVISIONS)}.",
    ]
    assert {output.splitlines()[2] for output in outputs} == {
        "The database is at the newest revision."
    }
    assert empty_database.query("SELECT version_num FROM task_api_alembic_version") == [(HEAD,)]


def test_the_tables_and_the_migrations_agree(fresh_database: Database) -> None:
    engine = create_engine(fresh_database.admin_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": include_object, "version_table": VERSION_TABLE}
        )
        differences = compare_metadata(context, SQLModel.metadata)
    engine.dispose()
    assert differences == []


def test_a_users_table_that_better_auth_created_first_is_used(empty_database: Database) -> None:
    empty_database.query(BETTER_AUTH_USERS)
    empty_database.query("INSERT INTO users VALUES ('u1', 'U', 'u@example.com', true)")
    migrate(empty_database.admin_url)
    empty_database.query("INSERT INTO tasks (user_id, title) VALUES ('u1', 'kept')")
    empty_database.query("DELETE FROM users WHERE id = 'u1'")
    assert empty_database.query("SELECT count(*) FROM tasks") == [(0,)]


def test_our_users_table_is_the_one_that_better_auth_would_create(
    empty_database: Database, fresh_database: Database
) -> None:
    empty_database.query(BETTER_AUTH_USERS)
    shape = """SELECT column_name, data_type, is_nullable FROM information_schema.columns
        WHERE table_name = 'users' ORDER BY column_name"""
    assert fresh_database.query(shape) == empty_database.query(shape)


def test_revision_0001_still_creates_what_its_release_created(
    cluster: Cluster, released_database: Database
) -> None:
    with cluster.clone("template0") as database:
        migrate(database.admin_url, revision="0001")
        assert dump_schema(database) == dump_schema(released_database)


def dump_schema(database: Database) -> list[str]:
    command = [
        postgres.find_program("pg_dump"),
        "--schema-only",
        "--exclude-table=*alembic_version",
    ]
    dump = subprocess.run(
        [*command, database.admin_url], capture_output=True, text=True, check=True
    ).stdout
    # Two lines, \restrict and \unrestrict, carry a random key.
    return [line for line in dump.splitlines() if not line.startswith("\\")]


@pytest.mark.parametrize("sort", ["created_at", "updated_at", "title"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_every_list_order_is_read_from_an_index(
    fresh_database: Database, sort: str, order: str
) -> None:
    """A page of a long list is an index scan that starts at the cursor, without a sort."""
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
    values = {
        "owner": user,
        "limit": 20,
    }
    values |= {"after": "2020-01-01T00:00:00Z" if sort != "title" else "task 3", "after_id": 10}
    with psycopg.connect(fresh_database.app_url, prepare_threshold=None) as connection:
        connection.execute("SELECT set_config('app.user_id', %s, true)", [user])
        plan = "\n".join(
            row[0]
            for row in connection.execute(
                b"EXPLAIN " + sql.LIST_NEXT_PAGE[f"{sort} {order}"].encode(), values
            )
        )
    assert f"using tasks_by_{sort}" in plan
    assert "Sort" not in plan
