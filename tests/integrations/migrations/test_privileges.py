"""The role of the API can do what requests need, and cannot read the table of users."""

import psycopg
import pytest

from lib.db import compiled as sql
from tests.support.databases import Database

VALUES = {
    "owner": "u1",
    "title": "t",
    "description": None,
    "completed": False,
    "account_name": "n",
    "account_email": "u1@example.com",
    "account_email_verified": True,
    "key": "k",
    "request_hash": "h",
}
INSERT = """INSERT INTO users (id, name, email, "emailVerified") VALUES ('u1', 'n', '{}', true)
    ON CONFLICT DO NOTHING"""


def run_as_api(database: Database, *statements: str, values: dict | None = None) -> list[tuple]:
    with psycopg.connect(database.app_url) as connection:
        connection.execute("SELECT set_config('app.user_id', 'u1', true)")
        for statement in statements:
            cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def taken(fresh_database: Database) -> Database:
    """A database in which another user has the e-mail address `taken@example.com`."""
    fresh_database.query(
        "INSERT INTO users (id, name, email) VALUES ('u2','n','taken@example.com')"
    )
    return fresh_database


@pytest.mark.parametrize("statement", [sql.CREATE_WITH_ACCOUNT, sql.CREATE_ONCE_WITH_ACCOUNT])
def test_a_user_is_provisioned_without_reading_users(taken: Database, statement: str) -> None:
    run_as_api(taken, statement, values=VALUES)
    assert taken.query("SELECT email FROM users WHERE id = 'u1'") == [("u1@example.com",)]
    assert taken.query("SELECT count(*) FROM tasks WHERE user_id = 'u1'") == [(1,)]


def test_a_conflicting_address_is_noticed_without_reading_users(taken: Database) -> None:
    second = INSERT.format("random@users.invalid")
    statement = f"WITH first AS ({INSERT.format('taken@example.com')} RETURNING 1) {second}"
    run_as_api(taken, statement, statement, "INSERT INTO tasks (user_id, title) VALUES ('u1', 't')")
    assert taken.query("SELECT email FROM users WHERE id = 'u1'") == [("random@users.invalid",)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM users",
        "SELECT email FROM users",
        "SELECT count(*) FROM users",
        "SELECT FROM users WHERE email = 'taken@example.com'",
        INSERT.format("taken@example.com").replace("CONFLICT", "CONFLICT (email)"),
        INSERT.format("taken@example.com") + " RETURNING id",
        "UPDATE users SET name = 'x'",
        "DELETE FROM users",
        "SELECT FROM task_api_alembic_version",
        "SELECT setval('tasks_id_seq', 1)",
        "TRUNCATE tasks",
        "ALTER TABLE tasks DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE mine (id int)",
    ],
)
def test_nothing_else_is_allowed(taken: Database, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run_as_api(taken, statement)
