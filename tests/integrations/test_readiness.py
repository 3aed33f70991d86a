"""Readiness is 503 whenever the database refuses what requests do, and changes nothing."""

import psycopg
import pytest
import time_machine

from lib.db import readiness
from tests.conftest import RequestLines, StartApi, bearer
from tests.support.databases import Database

READY = "/api/health/ready"
NONE = "SELECT 1"
SHARED_USERS = (
    "BEGIN READ WRITE; "
    'CREATE TABLE session (token text, "userId" text REFERENCES users (id)); COMMIT'
)
RAISING = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
    "BEGIN RAISE EXCEPTION 'archive is full'; END $$;"
)
SILENT = "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"

# A fault of tasks or idempotency_keys, and what the log line names.
FAULTS = {
    # The catalogs.
    "a renamed column": (
        "ALTER TABLE tasks RENAME description TO other",
        "column tasks.description of type text",
    ),
    "a dropped column": (
        "ALTER TABLE idempotency_keys DROP request_hash",
        "column idempotency_keys.request_hash of type text",
    ),
    "a column that only lists read": (
        "ALTER TABLE tasks DROP title_key",
        "column tasks.title_key of type text",
    ),
    "two dropped columns": (
        "ALTER TABLE tasks DROP description, DROP version",
        "column tasks.description of type text, column tasks.version of type bigint",
    ),
    "a dropped table": ("DROP TABLE idempotency_keys", "table idempotency_keys"),
    "no USAGE on the schema": (
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC, task_api",
        "USAGE on a schema of search_path",
    ),
    **{
        f"no {privilege} on {table}": (
            f"REVOKE {privilege} ON {table} FROM task_api",
            f"{privilege} on {table}",
        )
        for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
        for table in ("tasks", "deleted_tasks", "idempotency_keys")
    },
    "no SELECT on database_history": (
        "REVOKE SELECT ON database_history FROM task_api",
        "SELECT on database_history",
    ),
    "no SELECT on erased_users": (
        "REVOKE SELECT ON erased_users FROM task_api",
        "SELECT on erased_users",
    ),
    "no database_history": ("DROP TABLE database_history", "table database_history"),
    "a role that only reads": (
        "REVOKE INSERT, UPDATE, DELETE ON tasks, idempotency_keys FROM task_api",
        "INSERT on tasks",
    ),
    "no USAGE on the sequence": (
        "REVOKE USAGE ON SEQUENCE tasks_id_seq FROM task_api",
        "USAGE on the sequence of tasks.id",
    ),
    "a dropped identity": ("ALTER TABLE tasks ALTER id DROP IDENTITY", "the sequence of tasks.id"),
    "no row-level security": (
        "ALTER TABLE deleted_tasks DISABLE ROW LEVEL SECURITY",
        "row-level security on deleted_tasks",
    ),
    "no policy": ("DROP POLICY own_rows ON tasks", "policy own_rows on tasks"),
    "a policy of another setting": (
        "ALTER POLICY own_rows ON tasks USING (user_id = current_setting('app.other', true))",
        "policy own_rows on tasks",
    ),
    "a policy that lets everybody": (
        "ALTER POLICY own_rows ON tasks USING (true) WITH CHECK (true)",
        "policy own_rows on tasks",
    ),
    "a new required column": (
        "ALTER TABLE tasks ADD added int NOT NULL",
        "a default for tasks.added",
    ),
    "a new required column of keys": (
        "ALTER TABLE idempotency_keys ADD added int NOT NULL",
        "a default for idempotency_keys.added",
    ),
    # The retention job.
    "no function of the job": ("DROP FUNCTION remove_expired", "remove_expired(integer)"),
    "a function of the job that may not be called": (
        "REVOKE EXECUTE ON FUNCTION remove_expired FROM task_api",
        "EXECUTE on remove_expired",
    ),
    "no second function of the job": (
        "DROP FUNCTION remove_erased_users",
        "EXECUTE on remove_erased_users",
    ),
    "another owner of the job's function": (
        "DO $$ BEGIN EXECUTE format('CREATE ROLE %I', current_database());"
        " EXECUTE format('ALTER FUNCTION remove_expired OWNER TO %I', current_database()); END $$",
        "the retention job (InsufficientPrivilege(42501)",
    ),
    # What only a try shows, also where users are not provisioned.
    "a restrictive policy": (
        "CREATE POLICY closed ON tasks AS RESTRICTIVE WITH CHECK (false)",
        'row-level security policy "closed" for table "tasks"',
    ),
    "a restrictive policy of keys": (
        "CREATE POLICY closed ON idempotency_keys AS RESTRICTIVE USING (false)",
        'row-level security policy "closed" for table "idempotency_keys"',
    ),
    "a policy that is never true": (
        "ALTER POLICY own_rows ON tasks"
        " WITH CHECK (user_id = (SELECT current_setting('app.user_id', true)) AND false)",
        'row-level security policy for table "tasks"',
    ),
    "a check": ("ALTER TABLE tasks ADD CONSTRAINT short CHECK (length(title) < 150)", '"short"'),
    "a check of keys": (
        "ALTER TABLE idempotency_keys ADD CONSTRAINT upper_case CHECK (key = upper(key))",
        '"upper_case"',
    ),
    "a trigger that raises": (
        f"{RAISING} CREATE TRIGGER t BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION refuse()",
        "RaiseException(P0001): archive is full",
    ),
    "a trigger of the statement": (
        f"{RAISING} CREATE TRIGGER t BEFORE INSERT ON tasks EXECUTE FUNCTION refuse()",
        "archive is full",
    ),
    "a shorter column": ("ALTER TABLE tasks ALTER description TYPE varchar(10)", "varying(10)"),
    "a number for a text": (
        "ALTER TABLE idempotency_keys ALTER request_hash TYPE int USING 0",
        "column idempotency_keys.request_hash of type text",
    ),
    "a text for a number": (
        "ALTER TABLE tasks ALTER version DROP DEFAULT, ALTER version TYPE text",
        "column tasks.version of type bigint",
    ),
    "keys without their primary key": (
        "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey",
        "no unique or exclusion constraint matching the ON CONFLICT specification",
    ),
    "a sequence behind the ids": (
        "INSERT INTO users (id, name, email) VALUES ('u', 'n', 'e');"
        "INSERT INTO tasks (id, user_id, title) SELECT n, 'u', 't' FROM generate_series(1, 50) n;"
        "ALTER SEQUENCE tasks_id_seq RESTART",
        '"tasks_pkey"',
    ),
    "a sequence at its end": (
        "ALTER SEQUENCE tasks_id_seq MAXVALUE 2 RESTART 2; SELECT nextval('tasks_id_seq')",
        "reached maximum value",
    ),
    "an id that is always generated": (
        "ALTER TABLE tasks ALTER id SET GENERATED ALWAYS",
        'column "id"',
    ),
    "a function that may not be called": (
        "REVOKE EXECUTE ON FUNCTION pg_catalog.row_to_json(record) FROM PUBLIC",
        "function row_to_json",
    ),
    "a read-only database": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',"
        " current_database()); END $$",
        "ReadOnlySqlTransaction(25006)",
    ),
    "a read-only view": (
        "ALTER TABLE tasks RENAME TO t; CREATE VIEW tasks AS SELECT DISTINCT * FROM t",
        'view "tasks"',
    ),
}
# Faults that show only where the user of the try has a row.
FAULTS_WITH_A_USER = {
    "an empty database_history": ("DELETE FROM database_history", "reading the changes"),
    "a trash that cannot be emptied": (
        f"{SILENT} CREATE TRIGGER skip BEFORE DELETE ON deleted_tasks"
        " FOR EACH ROW EXECUTE FUNCTION skip()",
        "restoring a task",
    ),
    "a trash that cannot be erased": (
        f"{SILENT} CREATE TRIGGER skip BEFORE UPDATE ON deleted_tasks"
        " FOR EACH ROW EXECUTE FUNCTION skip()",
        "erasing a task",
    ),
    "a policy that hides every row": (
        "ALTER POLICY own_rows ON tasks"
        " USING (user_id = (SELECT current_setting('app.user_id', true)) AND false)",
        'row-level security policy for table "tasks"',
    ),
    "a policy against reading": (
        "CREATE POLICY closed ON tasks AS RESTRICTIVE FOR SELECT USING (false)",
        'row-level security policy "closed" for table "tasks"',
    ),
    "a policy against changes": (
        "CREATE POLICY closed ON tasks AS RESTRICTIVE FOR UPDATE USING (false)",
        "changing a task",
    ),
    "a policy against deleting": (
        "CREATE POLICY closed ON tasks AS RESTRICTIVE FOR DELETE USING (false)",
        "deleting a task",
    ),
    "a check of short texts": ("ALTER TABLE tasks ADD CHECK (length(title) > 1)", "title_check"),
    "a required description": ("ALTER TABLE tasks ALTER description SET NOT NULL", "description"),
    "a unique title": ("CREATE UNIQUE INDEX unique_title ON tasks (title)", '"unique_title"'),
    "one task for each user": ("CREATE UNIQUE INDEX one_task ON tasks (user_id)", '"one_task"'),
    "one key for each user": (
        "CREATE UNIQUE INDEX one_key ON idempotency_keys (user_id)",
        '"one_key"',
    ),
    "a trigger that raises after changes": (
        f"{RAISING} CREATE TRIGGER t AFTER UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION refuse()",
        "changing a task (RaiseException(P0001): archive is full",
    ),
    "a trigger that raises after deleting": (
        f"{RAISING} CREATE TRIGGER t AFTER DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION refuse()",
        "deleting a task (RaiseException(P0001): archive is full",
    ),
    "a trigger that raises at the end": (
        f"{RAISING} CREATE CONSTRAINT TRIGGER t AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION refuse()",
        "the end of the transaction (RaiseException(P0001): archive is full",
    ),
    "a trigger that skips new tasks": (
        f"{SILENT} CREATE TRIGGER t BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION skip()",
        "creating a task",
    ),
    "a trigger that skips changes": (
        f"{SILENT} CREATE TRIGGER t BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION skip()",
        "changing a task",
    ),
    "a trigger that skips deleting": (
        f"{SILENT} CREATE TRIGGER t BEFORE DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION skip()",
        "deleting a task",
    ),
    "a trigger of another table": (
        f"{RAISING} CREATE TABLE audit (task bigint REFERENCES tasks);"  # noqa: S608
        "CREATE TRIGGER t BEFORE INSERT ON audit EXECUTE FUNCTION refuse();"
        "CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " 'BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NEW; END';"
        "CREATE TRIGGER t AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION log()",
        "archive is full",
    ),
}
FAULTS_OF_USERS = {
    "a required column": ("ALTER TABLE users ADD phone text NOT NULL", '"phone"'),
    "no INSERT": ("REVOKE INSERT (email) ON users FROM task_api", "INSERT on users.email"),
    "other names": (
        'ALTER TABLE users RENAME "emailVerified" TO email_verified',
        "INSERT on users.emailVerified",
    ),
    "row-level security": ("ALTER TABLE users ENABLE ROW LEVEL SECURITY", 'table "users"'),
    "an address of another type": (
        "ALTER TABLE users ALTER email TYPE int USING 0",
        'column "email" is of type integer',
    ),
    "numbers for ids": (
        "ALTER TABLE tasks DROP CONSTRAINT tasks_user_id_fkey;"
        "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_user_id_fkey;"
        "ALTER TABLE users ALTER id TYPE int USING 0",
        'column "id" is of type integer',
    ),
    "short ids": ("ALTER TABLE users ALTER id TYPE varchar(10)", "varying(10)"),
    "a check of addresses": (
        "ALTER TABLE users ADD CONSTRAINT ours CHECK (email LIKE '%@ours.example')",
        '"ours"',
    ),
    "a trigger that skips": (
        f"{SILENT} CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION skip()",
        "_user_id_fkey",
    ),
    "no table": ("DROP TABLE users CASCADE", "table users"),
}


def readiness_reason(
    start_api: StartApi, request_lines: RequestLines, **variables: str
) -> tuple[int, str]:
    response = start_api(**variables).get(READY)
    if response.status_code == 503:
        assert response.json()["detail"] in (
            "The database is not prepared. Run the migrations.",
            "The database is unavailable. Nothing was changed. Try again.",
        )
        assert response.headers["retry-after"]
    [line] = request_lines()
    return response.status_code, line.get("reason") or ""


@pytest.mark.parametrize(("fault", "named"), FAULTS.values(), ids=FAULTS)
def test_a_fault_that_requests_would_meet_is_503_and_logged(
    start_api: StartApi,
    fresh_database: Database,
    request_lines: RequestLines,
    fault: str,
    named: str,
) -> None:
    """Also where users are not provisioned, by the setting or because Better Auth fills users."""
    fresh_database.query(fault)
    for change, provision in ((NONE, "true"), (NONE, "false"), (SHARED_USERS, "true")):
        fresh_database.query(change)
        variables = {"DATABASE_URL": fresh_database.app_url, "PROVISION_USERS": provision}
        status, reason = readiness_reason(start_api, request_lines, **variables)
        assert status == 503
        assert named in reason


@pytest.mark.parametrize(
    ("fault", "named"),
    [*FAULTS_WITH_A_USER.values(), *FAULTS_OF_USERS.values()],
    ids=[*FAULTS_WITH_A_USER, *FAULTS_OF_USERS],
)
def test_a_fault_that_provisioned_users_would_meet_is_503(
    start_api: StartApi,
    fresh_database: Database,
    request_lines: RequestLines,
    fault: str,
    named: str,
) -> None:
    fresh_database.query(fault)
    url = fresh_database.app_url
    status, reason = readiness_reason(start_api, request_lines, DATABASE_URL=url)
    assert status == 503
    assert named in reason


@pytest.mark.parametrize(
    ("change", "provision"),
    [
        (NONE, "true"),
        (NONE, "false"),
        (SHARED_USERS, "true"),
        (SHARED_USERS, "false"),
        # Nobody is added to a table of users that Better Auth fills.
        (f"{SHARED_USERS}; ALTER TABLE users ADD phone text NOT NULL", "true"),
        ('REVOKE INSERT (id, name, email, "emailVerified") ON users FROM task_api', "false"),
        # Privileges on each column are enough.
        (
            "REVOKE SELECT, INSERT ON idempotency_keys FROM task_api; GRANT"
            " SELECT (user_id, key, request_hash, task, task_id, version, created_at),"
            " INSERT (user_id, key, request_hash, task, task_id, version, created_at)"
            " ON idempotency_keys TO task_api",
            "true",
        ),
        ("ALTER TABLE tasks ADD note text, ADD place text NOT NULL DEFAULT ''", "true"),
    ],
)
def test_a_database_that_serves_requests_is_ready_and_unchanged(
    start_api: StartApi,
    fresh_database: Database,
    request_lines: RequestLines,
    change: str,
    provision: str,
) -> None:
    fresh_database.query(change)
    variables = {"DATABASE_URL": fresh_database.app_url, "PROVISION_USERS": provision}
    assert readiness_reason(start_api, request_lines, **variables) == (200, "")
    for table in ("users", "tasks", "idempotency_keys"):
        assert fresh_database.query(f"TABLE {table}") == []


def test_the_connection_stays_open_also_after_a_refusal(
    start_api: StartApi, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.health.RESULT_LIFETIME", 0)
    monkeypatch.setattr(readiness, "TRY_INTERVAL", 0)
    api = start_api(DATABASE_URL=fresh_database.app_url)
    backends = "SELECT pid, state FROM pg_stat_activity WHERE datname = %s AND usename = 'task_app'"
    assert api.get(READY).status_code == 200
    [(pid, state)] = fresh_database.query(backends, fresh_database.name)
    assert state == "idle"
    for statement, status in (
        (SHARED_USERS, 200),
        ("REVOKE INSERT ON tasks FROM task_api", 503),
        ("GRANT INSERT ON tasks TO task_api", 200),
    ):
        fresh_database.query(statement)
        assert api.get(READY).status_code == status
        assert fresh_database.query(backends, fresh_database.name) == [(pid, "idle")]


def test_the_requests_are_tried_every_ten_seconds_and_the_catalogs_every_time(
    start_api: StartApi, fresh_database: Database
) -> None:
    api = start_api(DATABASE_URL=fresh_database.app_url)
    [(before,)] = fresh_database.query("SELECT last_value FROM tasks_id_seq")
    with time_machine.travel("2026-01-01", tick=False) as clock:
        for _ in range(9):
            assert api.get(READY).status_code == 200
            clock.shift(1.1)
        [(after,)] = fresh_database.query("SELECT last_value FROM tasks_id_seq")
        assert after == before + 1  # the first call of nextval returns 1
        fresh_database.query("REVOKE DELETE ON tasks FROM task_api")
        assert api.get(READY).status_code == 503
        fresh_database.query("GRANT DELETE ON tasks TO task_api")
        clock.shift(1.1)
        assert api.get(READY).status_code == 200
        fresh_database.query("ALTER TABLE tasks ADD CHECK (false)")
        clock.shift(1.1)
        assert api.get(READY).status_code == 200
        clock.shift(9)
        assert api.get(READY).status_code == 503
        clock.shift(1.1)  # a failure is tried again at once
        assert api.get(READY).status_code == 503
        fresh_database.query("ALTER TABLE tasks DROP CONSTRAINT tasks_check")
        clock.shift(1.1)
        assert api.get(READY).status_code == 200


def test_each_check_skips_two_ids(start_api: StartApi, fresh_database: Database) -> None:
    api = start_api(DATABASE_URL=fresh_database.app_url)
    headers = bearer("alice")
    for expected in (3, 4):
        assert api.get(READY).status_code == 200  # the second shares the result of the first
        created = api.post("/api/alice/tasks", json={"title": "x"}, headers=headers)
        assert created.json()["id"] == expected


def test_a_check_neither_waits_for_other_transactions_nor_blocks_them(
    start_api: StartApi, fresh_database: Database
) -> None:
    api = start_api(DATABASE_URL=fresh_database.app_url)
    assert api.post("/api/a/tasks", json={"title": "x"}, headers=bearer("a")).is_success
    with psycopg.connect(fresh_database.admin_url) as connection:
        for table in ("users", "tasks"):
            connection.execute(f"SELECT FROM {table} FOR UPDATE".encode())
        connection.execute("INSERT INTO users (id, name, email) VALUES ('b', 'n', 'e')")
        assert api.get(READY).status_code == 200
        # The other tests run in databases of the same server.
        waiting = """SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database()"""
        assert fresh_database.query(waiting) == [(0,)]


def test_the_tried_texts_are_the_longest_that_requests_accept() -> None:
    long = readiness.LONG.model_dump()
    for field in ("title", "description"):
        with pytest.raises(ValueError, match="at most"):
            readiness.TaskCreate(**long | {field: long[field] + "x"})
