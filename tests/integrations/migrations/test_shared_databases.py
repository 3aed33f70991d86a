"""Migrations in a database that other applications use, or that its owner may not do all in."""

import re

import pytest

from dev import postgres
from migrations.errors import MigrationError
from migrations.runner import migrate
from tests.integrations.migrations.conftest import HEAD, REVISIONS, RunMigrations, assert_refused
from tests.support.databases import Cluster, Database

VERSION = "SELECT version_num FROM task_api_alembic_version"
BETTER_AUTH_USERS = """CREATE TABLE users (id text PRIMARY KEY, name text NOT NULL,
    email text NOT NULL UNIQUE, "emailVerified" boolean NOT NULL, image text)"""
DRIZZLE_USERS = """CREATE TABLE users (id text PRIMARY KEY, name text NOT NULL,
    email text NOT NULL UNIQUE, email_verified boolean DEFAULT false NOT NULL, image text,
    created_at timestamp DEFAULT now() NOT NULL, updated_at timestamp DEFAULT now() NOT NULL)"""


@pytest.mark.parametrize("revision", ["0001", "0002", "9f3c2ab1d0e4"])
def test_the_version_table_of_another_application_is_left_alone(
    empty_database: Database, run_migrations: RunMigrations, revision: str
) -> None:
    empty_database.query("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    empty_database.query("INSERT INTO alembic_version VALUES (%s)", revision)
    done = run_migrations(empty_database.admin_url)
    assert done.returncode == 0, done.stderr
    assert f"Current revision: none; pending: {', '.join(REVISIONS)}." in done.stdout
    assert empty_database.query("SELECT count(*) FROM tasks") == [(0,)]
    assert empty_database.query(VERSION) == [(HEAD,)]
    assert empty_database.query("SELECT version_num FROM alembic_version") == [(revision,)]


def test_a_version_table_that_may_not_be_read_is_another_applications(
    owned_database: Database, cluster: Cluster
) -> None:
    as_superuser = cluster.database(owned_database.name)
    as_superuser.query("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    migrate(owned_database.admin_url)
    assert owned_database.query(VERSION) == [(HEAD,)]


def test_the_version_table_of_an_earlier_release_is_adopted_once(
    released_database: Database,
) -> None:
    sentences: list[str] = []
    migrate(released_database.admin_url, announce=sentences.append)
    assert sentences[0] == f"Current revision: 0001; pending: {', '.join(REVISIONS[1:])}."
    assert released_database.query(VERSION) == [(HEAD,)]
    # The earlier release finds its revision here after a rollback.
    assert released_database.query("SELECT version_num FROM alembic_version") == [("0001",)]

    # From now on the default table may belong to another application.
    released_database.query("UPDATE alembic_version SET version_num = '9f3c2ab1d0e4'")
    migrate(released_database.admin_url, announce=sentences.append)
    assert sentences[2] == f"Current revision: {HEAD}; pending: none."


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alembic_version SET version_num = '9f3c2ab1d0e4'",
        "INSERT INTO alembic_version VALUES ('9f3c2ab1d0e4')",
        "DROP POLICY own_rows ON tasks",
        "DROP TABLE idempotency_keys",
        "DROP TABLE alembic_version",
    ],
)
def test_a_version_table_that_is_not_certainly_ours_is_not_adopted(
    released_database: Database, statement: str
) -> None:
    released_database.query(statement)
    with pytest.raises(MigrationError, match="A table tasks exists that these migrations did not"):
        migrate(released_database.admin_url)
    absent = "SELECT to_regclass('task_api_alembic_version')"
    assert released_database.query(absent) == [(None,)]


@pytest.mark.parametrize("table", ["tasks", "idempotency_keys"])
@pytest.mark.parametrize("statement", ["CREATE TABLE {} (id int)", "CREATE VIEW {} AS SELECT 1"])
def test_a_table_of_another_application_is_refused(
    empty_database: Database, table: str, statement: str
) -> None:
    empty_database.query(statement.format(table))
    # A version table with a revision of ours does not make it ours.
    empty_database.query("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    empty_database.query("INSERT INTO alembic_version VALUES ('0001')")
    with pytest.raises(MigrationError, match=f"A table {table} exists that these migrations did"):
        migrate(empty_database.admin_url)
    assert empty_database.query("SELECT to_regclass('users')") == [(None,)]


@pytest.mark.parametrize(
    ("users", "beginning"),
    [
        (DRIZZLE_USERS, "The table users lacks emailVerified (it has email_verified"),
        ("CREATE TABLE users (id uuid PRIMARY KEY)", "The table users has an id of type uuid"),
        ("CREATE TABLE users (id serial PRIMARY KEY)", "The table users has an id of type integer"),
        ("CREATE TABLE users (id char(32) PRIMARY KEY)", "The table users has an id of type char"),
        ("CREATE TABLE users (user_id text)", "The table users has no column id"),
        ("CREATE VIEW users AS SELECT 'a'::text AS id", "users is not a table"),
        (
            BETTER_AUTH_USERS.replace("id text PRIMARY KEY", "id text"),
            "The table users has no unique index on id",
        ),
        (
            BETTER_AUTH_USERS.replace("PRIMARY KEY", "PRIMARY KEY DEFERRABLE"),
            "The table users has no unique index on id",
        ),
    ],
)
def test_a_users_table_that_tasks_cannot_refer_to_is_refused(
    empty_database: Database, users: str, beginning: str
) -> None:
    empty_database.query(users)
    with pytest.raises(MigrationError, match=f"^{re.escape(beginning)}"):
        migrate(empty_database.admin_url)
    assert empty_database.query("SELECT to_regclass('tasks')") == [(None,)]


def test_a_refused_table_is_reported_in_one_sentence(
    empty_database: Database, run_migrations: RunMigrations
) -> None:
    empty_database.query(DRIZZLE_USERS)
    done = run_migrations(empty_database.admin_url)
    assert_refused(done, "The table users lacks emailVerified (it has email_verified")


def test_a_users_table_of_another_owner_is_refused(
    owned_database: Database, cluster: Cluster
) -> None:
    cluster.database(owned_database.name).query(BETTER_AUTH_USERS)
    with pytest.raises(MigrationError, match=r"^The table users belongs to postgres"):
        migrate(owned_database.admin_url)


@pytest.mark.parametrize("id_type", ["text", "varchar", "varchar(36)"])
def test_a_users_table_as_better_auth_creates_it_is_used(
    empty_database: Database, id_type: str
) -> None:
    empty_database.query(BETTER_AUTH_USERS.replace("id text", f"id {id_type}"))
    migrate(empty_database.admin_url)
    assert empty_database.query("SELECT count(*) FROM tasks") == [(0,)]


def test_an_owner_without_createrole_migrates_where_the_role_exists(
    owned_database: Database, run_migrations: RunMigrations
) -> None:
    done = run_migrations(owned_database.admin_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert owned_database.query(VERSION) == [(HEAD,)]


def test_a_missing_role_that_may_not_be_created_names_the_statement_to_run(
    other_server: postgres.Server, run_migrations: RunMigrations
) -> None:
    admin = Database("postgres", "", other_server.url())
    admin.query("CREATE DATABASE plain OWNER owner")
    url = other_server.url("plain", user="owner", password="plain")
    done = run_migrations(url)
    assert_refused(done, "The role task_api is missing and owner may not create roles")
    assert "CREATE ROLE task_api NOLOGIN;" in done.stderr
    admin.query("CREATE ROLE task_api NOLOGIN")
    try:
        assert run_migrations(url).returncode == 0
    finally:
        admin.query("DROP DATABASE plain")
        admin.query("DROP ROLE task_api")


def test_a_schema_that_public_may_not_use_is_granted_to_the_role(
    empty_database: Database,
) -> None:
    empty_database.query("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    migrate(empty_database.admin_url)
    usage = "SELECT has_schema_privilege('task_api', 'public', 'USAGE')"
    assert empty_database.query(usage) == [(True,)]


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("DROP TABLE idempotency_keys", "(table idempotency_keys)"),
        ("ALTER TABLE tasks DROP COLUMN description", "column tasks.description"),
        ('ALTER TABLE users RENAME "emailVerified" TO ev', "column users.emailVerified"),
        ("REVOKE DELETE ON tasks FROM task_api", "DELETE on tasks for task_api"),
        ("REVOKE INSERT (email) ON users FROM task_api", "INSERT on users.email for task_api"),
        (
            "REVOKE USAGE ON SEQUENCE tasks_id_seq FROM task_api",
            "USAGE on the sequence of tasks.id",
        ),
        ("ALTER TABLE tasks DISABLE ROW LEVEL SECURITY", "row-level security on tasks"),
        ("ALTER TABLE tasks NO FORCE ROW LEVEL SECURITY", "row-level security on tasks"),
        ("DROP POLICY own_rows ON tasks", "policy own_rows on tasks"),
        ("REVOKE USAGE ON SCHEMA public FROM task_api, PUBLIC", "USAGE on the schema for task_api"),
    ],
)
def test_success_is_reported_only_if_requests_find_what_they_need(
    fresh_database: Database, statement: str, missing: str
) -> None:
    migrate(fresh_database.admin_url)
    fresh_database.query(statement)
    sentences: list[str] = []
    with pytest.raises(
        MigrationError, match="recorded as applied, but the database lacks"
    ) as error:
        migrate(fresh_database.admin_url, announce=sentences.append)
    assert missing in str(error.value)
    assert sentences == [f"Current revision: {HEAD}; pending: none."]
