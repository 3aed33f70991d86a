"""A fault of the deployment is logged for operators, and is never reported as a client error."""

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import migrations
from lib.db import users
from lib.db.pool import close_pools
from migrations.runner import migrate
from tests.conftest import RequestLines, StartApi, bearer
from tests.support.databases import Cluster, Database

CRON_SECRET = "cron-secret-0123456789"
VERSIONS = Path(migrations.__file__).parent / "versions"

# Each with what the log line of a request names.
FAULTS = {
    "a column that was renamed": ("ALTER TABLE tasks RENAME COLUMN description TO other", "42703"),
    "a column that was dropped": (
        "ALTER TABLE idempotency_keys DROP COLUMN request_hash",
        '"request_hash" of relation "idempotency_keys"',
    ),
    "a new required column": ("ALTER TABLE tasks ADD COLUMN added int NOT NULL", "tasks.added"),
    "a new required column of keys": (
        "ALTER TABLE idempotency_keys ADD COLUMN added int NOT NULL",
        "idempotency_keys.added",
    ),
    "no INSERT on tasks": ("REVOKE INSERT ON tasks FROM task_api", "table tasks"),
    "no UPDATE on idempotency_keys": (
        "REVOKE UPDATE ON idempotency_keys FROM task_api",
        "table idempotency_keys",
    ),
    "no USAGE on the sequence": (
        "REVOKE USAGE ON SEQUENCE tasks_id_seq FROM task_api",
        "sequence tasks_id_seq",
    ),
    "no INSERT on users": (
        'REVOKE INSERT (id, name, email, "emailVerified") ON users FROM task_api',
        "table users",
    ),
    "other columns of users": (
        'ALTER TABLE users RENAME COLUMN "emailVerified" TO email_verified',
        "emailVerified",
    ),
    "no policy": ("DROP POLICY own_rows ON tasks", 'table "tasks"'),
    "a policy of another setting": (
        "ALTER POLICY own_rows ON tasks USING (user_id = current_setting('app.other', true))",
        'table "tasks"',
    ),
    "no table": ("DROP TABLE idempotency_keys", "idempotency_keys"),
    "a check": ("ALTER TABLE tasks ADD CONSTRAINT no_x CHECK (title <> 'x')", "tasks, no_x"),
    **{
        f"a trigger that skips new rows of {table}": (
            "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            f"CREATE TRIGGER t BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION skip()",
            "a trigger or a rule skipped the new row",
        )
        for table in ("tasks", "idempotency_keys", "users")
    },
    **{
        f"a trigger with the SQLSTATE {code}": (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
            f"BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$;"
            "CREATE TRIGGER t BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION refuse()",
            f"({code})",
        )
        for code in ("P0001", "ABC01", "02000", "01000")  # psycopg knows the first alone
    },
    "a shorter column": ("ALTER TABLE users ALTER name TYPE varchar(2)", "DataRightTruncation"),
}


# Readiness cannot know what a value will refer to.
NOT_SEEN_BY_READINESS = {
    "another reference to users": (
        "ALTER TABLE tasks ADD project_user_id text DEFAULT 'x' REFERENCES users (id)"
    ),
}


@pytest.fixture
def api(start_api: StartApi, fresh_database: Database) -> TestClient:
    return start_api(DATABASE_URL=fresh_database.app_url)


@pytest.mark.parametrize(("fault", "named"), FAULTS.values(), ids=FAULTS)
def test_a_deployment_fault_is_503_and_the_log_names_what_it_concerns(
    api: TestClient, fresh_database: Database, request_lines: RequestLines, fault: str, named: str
) -> None:
    assert api.get("/api/health/ready").status_code == 200
    fresh_database.query(fault)
    request_lines()
    statuses, reasons = set(), []
    for number, headers in enumerate(({}, {"Idempotency-Key": "k"})):
        user = f"newcomer-{number}"
        response = api.post(
            f"/api/{user}/tasks", json={"title": "x"}, headers=bearer(user) | headers
        )
        statuses.add(response.status_code)
        if response.status_code == 503:
            assert response.json()["detail"] == "The database is not prepared. Run the migrations."
            assert response.headers["retry-after"]
        reasons += [line["reason"] for line in request_lines() if line["status"] == 503]
    # One of the two requests may not need what is missing.
    assert 503 in statuses
    assert statuses <= {503, 201}
    assert reasons
    assert all(named in reason for reason in reasons)


@pytest.mark.parametrize(
    "trigger", ["before_write on tasks", "after_delete on tasks", "users_after_delete on users"]
)
@pytest.mark.parametrize(
    "change", ["DROP TRIGGER {name} ON {table}", "ALTER TABLE {table} DISABLE TRIGGER {name}"]
)
def test_a_missing_trigger_is_seen_by_readiness(
    api: TestClient,
    fresh_database: Database,
    request_lines: RequestLines,
    trigger: str,
    change: str,
) -> None:
    name, _, table = trigger.split()
    fresh_database.query(change.format(name=name, table=table))
    assert api.get("/api/health/ready").status_code == 503
    [line] = request_lines()
    assert f"trigger {trigger}" in line["reason"]


EARLIER_REVISIONS = sorted(path.name[:4] for path in VERSIONS.glob("0*.py"))[:-1]
REQUESTS = [
    ("GET", "", None),
    ("GET", "?limit=5&priority=high", None),
    ("GET", "/stats", None),
    ("POST", "", {"title": "x"}),
    ("PUT", "/1", {"title": "x"}),
    ("PATCH", "/1/complete", None),
    ("GET", "/1", None),
    ("GET", "?status=deleted", None),
    ("GET", "/changes", None),
    ("POST", "/1/restore", None),
    ("DELETE", "/1", None),
    ("DELETE", "/1?permanent=true", None),
]


def test_this_version_on_the_schema_of_the_previous_one_is_not_prepared(
    cluster: Cluster, start_api: StartApi
) -> None:
    with cluster.clone("template0") as database:
        migrate(database.admin_url, revision="0002")
        database.query("INSERT INTO users (id, name, email) VALUES ('eve', 'E', 'e@x.example')")
        database.query("INSERT INTO tasks (user_id, title) VALUES ('eve', 'kept')")
        api, eve = start_api(DATABASE_URL=database.app_url), bearer("eve")
        assert api.get("/api/health/ready").status_code == 503
        for method, path, body in REQUESTS:
            for headers in ({}, {"Idempotency-Key": "k"}):
                response = api.request(
                    method, f"/api/eve/tasks{path}", json=body, headers=eve | headers
                )
                assert response.status_code == 503, (method, path)
                detail = response.json()["detail"]
                assert detail == "The database is not prepared. Run the migrations."
        migrate(database.admin_url)
        assert [task["title"] for task in api.get("/api/eve/tasks", headers=eve).json()] == ["kept"]


@pytest.mark.parametrize("revision", EARLIER_REVISIONS)
def test_a_migration_that_is_missing_is_never_the_clients_fault(
    cluster: Cluster, start_api: StartApi, revision: str
) -> None:
    with cluster.clone("template0") as database:
        migrate(database.admin_url, revision=revision)
        database.query("INSERT INTO users (id, name, email) VALUES ('eve', 'E', 'e@x.example')")
        api = start_api(DATABASE_URL=database.app_url, CRON_SECRET=CRON_SECRET)
        cron = {"Authorization": f"Bearer {CRON_SECRET}"}
        statuses = {api.get("/api/retention", headers=cron).status_code}
        for user in ("eve", "newcomer"):
            for method, path, body in REQUESTS:
                for headers in ({}, {"Idempotency-Key": f"{method}{path}"}):
                    response = api.request(
                        method,
                        f"/api/{user}/tasks{path}",
                        json=body,
                        headers=bearer(user) | headers,
                    )
                    # A newer part of the schema may be needed by other requests only.
                    allowed = {200, 201, 503} if path in ("", "/stats") else {200, 204, 404, 503}
                    assert response.status_code in allowed, (user, method, path)
                    statuses.add(response.status_code)
        ready = api.get("/api/health/ready").status_code
        assert (ready == 503) == (503 in statuses), "readiness tells what requests meet"
        close_pools()


def test_a_record_that_a_trigger_skips_is_not_a_failed_precondition(
    api: TestClient, fresh_database: Database
) -> None:
    headers = bearer("keyed")
    task = api.post("/api/keyed/tasks", json={"title": "x"}, headers=headers).json()
    fresh_database.query(FAULTS["a trigger that skips new rows of idempotency_keys"][0])
    path = f"/api/keyed/tasks/{task['id']}/complete"
    response = api.patch(path, headers=headers | {"Idempotency-Key": "k"})
    assert response.status_code == 503


def test_an_error_at_the_end_of_the_transaction_has_changed_nothing(
    api: TestClient, fresh_database: Database, request_lines: RequestLines
) -> None:
    """A deferred constraint fails at COMMIT, so the transaction is certainly rolled back."""
    fresh_database.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
        "BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$"
    )
    fresh_database.query(
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON tasks"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    response = api.post("/api/late/tasks", json={"title": "x"}, headers=bearer("late"))
    assert response.status_code == 503
    assert "Nothing was changed" in response.json()["detail"]
    assert fresh_database.query("SELECT count(*) FROM tasks") == [(0,)]


# --- Users -----------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_an_email_of_another_row_does_not_prevent_creating_tasks(
    api: TestClient, fresh_database: Database, headers: dict[str, str]
) -> None:
    for user in ("first", "second", "third"):
        claims = bearer(user, email="same@x.example", emailVerified=True) | headers
        for _ in range(2):
            response = api.post(f"/api/{user}/tasks", json={"title": "x"}, headers=claims)
            assert response.status_code == 201
    rows = fresh_database.query('SELECT id, email, "emailVerified" FROM users ORDER BY id')
    assert rows[0] == ("first", "same@x.example", True)
    assert all(email.endswith("@users.invalid") for _, email, _ in rows[1:])
    assert len({email for _, email, _ in rows}) == 3


def test_no_placeholder_email_can_be_claimed_in_advance(
    api: TestClient, fresh_database: Database
) -> None:
    attacker = bearer("attacker", email="victim@users.invalid")
    assert api.post("/api/attacker/tasks", json={"title": "x"}, headers=attacker).is_success
    victim = bearer("victim")
    assert api.post("/api/victim/tasks", json={"title": "x"}, headers=victim).status_code == 201


@pytest.mark.parametrize("email", ["x" * 5600 + "@x.example", "", "a\0b@x.example", 7, None])
def test_an_unusable_email_is_replaced(
    api: TestClient, fresh_database: Database, email: object
) -> None:
    headers = bearer("odd", email=email)
    assert api.post("/api/odd/tasks", json={"title": "x"}, headers=headers).status_code == 201
    [(stored,)] = fresh_database.query("SELECT email FROM users")
    assert stored.endswith("@users.invalid")


def test_an_unrelated_table_that_references_users_changes_nothing(
    api: TestClient, fresh_database: Database
) -> None:
    for table in ("projects", "accounts", "session"):
        fresh_database.query(f"CREATE TABLE {table} (id int, owner text REFERENCES users (id))")
    headers = bearer("newcomer")
    assert api.post("/api/newcomer/tasks", json={"title": "x"}, headers=headers).is_success


@pytest.mark.parametrize("table", ["session", "sessions", "account", "accounts"])
def test_a_log_line_explains_why_no_user_is_added_to_the_table_of_better_auth(
    api: TestClient, fresh_database: Database, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    users._warn_that_users_are_shared.cache_clear()
    fresh_database.query(f'CREATE TABLE {table} (token text, "userId" text REFERENCES users (id))')
    for _ in range(2):
        response = api.post("/api/gone/tasks", json={"title": "x"}, headers=bearer("gone"))
        assert response.status_code == 403
        assert "token" not in response.text
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len([line for line in lines if "Better Auth keeps its users" in line["message"]]) == 1


# --- Idempotency records -----------------------------------------------------------------------


def test_a_keyed_request_removes_a_bounded_number_of_expired_keys(
    api: TestClient, fresh_database: Database
) -> None:
    headers = bearer("forgetful") | {"Idempotency-Key": "new"}
    assert api.post("/api/forgetful/tasks", json={"title": "x"}, headers=headers).is_success
    fresh_database.query(
        "INSERT INTO idempotency_keys (user_id, key, request_hash, task, task_id, version,"
        " created_at) SELECT 'forgetful', 'old ' || n, 'h', '{}', 1, 1, now() - interval '25 hours'"
        " FROM generate_series(1, 1000) AS n"
    )
    headers["Idempotency-Key"] = "newer"
    assert api.post("/api/forgetful/tasks", json={"title": "x"}, headers=headers).is_success
    [(left,)] = fresh_database.query("SELECT count(*) FROM idempotency_keys WHERE key LIKE 'old%'")
    assert left == 980
