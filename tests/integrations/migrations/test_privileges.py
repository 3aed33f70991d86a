"""The role of the API can do what requests need, and cannot read the table of users."""

from collections.abc import Iterator

import psycopg
import pytest

from migrations.runner import migrate
from tests.support.databases import Cluster, Database

# What the release with revision 0001 sends: it still serves while and after a migration runs.
PROVISION_IN_RELEASE_0001 = """
WITH account AS (
    INSERT INTO users (id, name, email, "emailVerified")
    SELECT 'u1' AS id, 'n' AS name, %(email)s AS email, true AS "emailVerified"
    WHERE NOT (EXISTS (SELECT * FROM pg_constraint WHERE pg_constraint.contype = 'f'
        AND pg_constraint.confrelid = 'users'::regclass AND (pg_constraint.conrelid
        NOT IN ('tasks'::regclass, 'idempotency_keys'::regclass))))
    ON CONFLICT DO NOTHING
), task AS (
    INSERT INTO tasks (user_id, title, description, completed) VALUES ('u1', 't', NULL, false)
    RETURNING tasks.id, tasks.user_id, tasks.title, tasks.version
) SELECT id, version FROM task"""
# A second address where the first is taken. RETURNING a constant reads no column.
PROVISION_WITH_RANDOM_ADDRESS = """
WITH first AS (
    INSERT INTO users (id, name, email, "emailVerified") VALUES ('u1', 'n', %(email)s, true)
    ON CONFLICT DO NOTHING RETURNING 1
)
INSERT INTO users (id, name, email, "emailVerified")
SELECT 'u1', 'n', 'random@users.invalid', false WHERE NOT EXISTS (SELECT FROM first)
ON CONFLICT DO NOTHING"""


@pytest.fixture
def taken(cluster: Cluster) -> Iterator[Database]:
    """A database in which another user has the e-mail address `taken@example.com`.

    At the revision that follows the release: a table of a later one may refer to `users`, and then
    that release provisions nobody.
    """
    with cluster.clone("template0") as database:
        migrate(database.admin_url, revision="0003")
        database.query(
            "INSERT INTO users (id, name, email) VALUES ('u2', 'n', 'taken@example.com')"
        )
        yield database


def run_as_api(database: Database, statement: str, email: str = "free@example.com") -> None:
    with psycopg.connect(database.app_url) as connection:
        connection.execute("SELECT set_config('app.user_id', 'u1', true)")
        connection.execute(statement.encode(), {"email": email})


def test_the_earlier_release_provisions_a_user_without_reading_users(taken: Database) -> None:
    for _ in range(2):
        run_as_api(taken, PROVISION_IN_RELEASE_0001)
    assert taken.query("SELECT email FROM users WHERE id = 'u1'") == [("free@example.com",)]
    assert taken.query("SELECT count(*) FROM tasks WHERE user_id = 'u1'") == [(2,)]


def test_the_earlier_release_notices_a_taken_address_without_reading_users(taken: Database) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        run_as_api(taken, PROVISION_IN_RELEASE_0001, "taken@example.com")


@pytest.mark.parametrize(
    ("email", "stored"),
    [("free@example.com", "free@example.com"), ("taken@example.com", "random@users.invalid")],
)
def test_a_taken_address_can_be_replaced_without_reading_users(
    taken: Database, email: str, stored: str
) -> None:
    for _ in range(2):
        run_as_api(taken, PROVISION_WITH_RANDOM_ADDRESS, email)
    assert taken.query("SELECT email FROM users WHERE id = 'u1'") == [(stored,)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM users",
        "SELECT email FROM users",
        "SELECT count(*) FROM users",
        "SELECT FROM users WHERE email = 'taken@example.com'",
        PROVISION_WITH_RANDOM_ADDRESS.replace("CONFLICT DO", "CONFLICT (email) DO"),
        PROVISION_WITH_RANDOM_ADDRESS + " RETURNING id",
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
