"""The function remove_expired: what it removes, for which owners, and with which rights."""

import threading
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as sql_errors
from psycopg.conninfo import conninfo_to_dict

from dev.local_database import PASSWORD, ROLE
from migrations.errors import MigrationError
from migrations.runner import migrate
from tests.support.databases import Cluster, Database

# The ages of rows of each kind, in hours, on both sides of the limits.
FILL = """
INSERT INTO users (id, name, email) SELECT id, id, id || '@example.com'
FROM unnest(ARRAY['ada', 'bob']) AS id;
INSERT INTO idempotency_keys
SELECT id, 'key-' || hours, 'hash', '{"title": "text"}', 1, 1, now() - hours * interval '1 hour'
FROM users, unnest(ARRAY[0, 23, 25, 49]) AS hours;
INSERT INTO tasks (user_id, title, description, priority, due_at, due_is_date, tags, completed)
SELECT users.id, 'Title ' || days, 'Description', 3, now(), true, '{tag}', true
FROM users, unnest(ARRAY[0, 29, 32]) AS days;
DELETE FROM tasks;
INSERT INTO tasks (user_id, title) SELECT id, 'Kept' FROM users;
UPDATE deleted_tasks SET deleted_at = now() - substr(title, 7)::integer * interval '1 day';
"""
KEYS = "SELECT DISTINCT key FROM idempotency_keys ORDER BY key"
TEXTS = "SELECT title FROM deleted_tasks ORDER BY title"


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> Iterator[Database]:
    """A database with expired rows; `admin_url` is of an owner without BYPASSRLS."""
    owner = f"owner_{uuid.uuid4().hex[:12]}"
    with cluster.clone("template0") as clone:
        clone.query(f"CREATE ROLE {owner} LOGIN PASSWORD 'plain'")
        clone.query(f"ALTER DATABASE {clone.name} OWNER TO {owner}")
        migrate(cluster.url(clone.name, owner, "plain"))
        clone.query(FILL)
        yield Database(clone.name, clone.app_url, cluster.url(clone.name, owner, "plain"))
        clone.query(f"REASSIGN OWNED BY {owner} TO postgres")
        clone.query(f"DROP OWNED BY {owner}")
        clone.query(f"DROP ROLE {owner}")


@pytest.fixture
def populated(template: Database, cluster: Cluster) -> Iterator[Database]:
    """A copy for one test."""
    owner = owner_of(template)
    cluster.database("postgres").query(f"ALTER ROLE {owner} NOSUPERUSER NOBYPASSRLS")
    with cluster.clone(template.name) as clone:
        yield Database(clone.name, clone.app_url, cluster.url(clone.name, owner, "plain"))


@pytest.fixture
def admin(populated: Database, cluster: Cluster) -> Database:
    """The same, as a superuser."""
    return cluster.database(populated.name)


def run_job(database: Database, max_rows: int = 100) -> tuple[int, ...]:
    """Call the function as the role of the API does. Returns the removed and the left rows."""
    with psycopg.connect(database.app_url) as connection:
        row = connection.execute("SELECT * FROM remove_expired(%s)", [max_rows]).fetchone()
    assert row
    return row[:6]


def owner_of(database: Database) -> str:
    return str(conninfo_to_dict(database.admin_url)["user"])


@pytest.mark.parametrize("right", ["NOBYPASSRLS", "BYPASSRLS", "SUPERUSER"])
def test_rows_of_all_users_are_removed_when_they_have_expired(
    populated: Database, admin: Database, right: str
) -> None:
    admin.query(f"ALTER ROLE {owner_of(populated)} {right}")
    # The texts of 32 days are erased, and then their ids are removed.
    assert run_job(populated) == (4, 2, 2, 0, 0, 0)
    assert admin.query(KEYS) == [("key-0",), ("key-23",)]
    assert admin.query(TEXTS) == [("Title 0",)] * 2 + [("Title 29",)] * 2
    assert admin.query("SELECT count(*) FROM tasks") == [(2,)]
    assert run_job(populated) == (0, 0, 0, 0, 0, 0)


def test_an_expired_text_is_erased_and_its_id_stays_for_a_day(
    populated: Database, admin: Database
) -> None:
    admin.query(
        "UPDATE deleted_tasks SET deleted_at = now() - interval '30 days 1 hour'"
        " WHERE title = 'Title 29'"
    )
    kept = "SELECT id, user_id, created_at, updated_at, deleted_at, version, changed_in"
    of_id = f"{kept} FROM deleted_tasks WHERE deleted_at < now() - interval '30 days' ORDER BY id"
    admin.query("DELETE FROM deleted_tasks WHERE title = 'Title 32'")
    before = admin.query(of_id)
    assert len(before) == 2
    assert run_job(populated) == (4, 2, 0, 0, 0, 0)
    assert admin.query(of_id) == before
    # Every other column is as in a new row.
    columns = admin.query(
        """SELECT attname, pg_get_expr(adbin, adrelid), attgenerated FROM pg_attribute
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = 'tasks'::regclass AND attnum > 0 AND NOT attisdropped"""
    )
    names = [name for name, *_ in columns if name not in kept.replace(",", "").split()]
    assert {"title", "description", "tags", "due_at", "completed_at", "title_key"} <= set(names)
    admin.query("INSERT INTO tasks (user_id, title) VALUES ('ada', '')")
    for name in names:
        [(empty,)] = admin.query(f"SELECT {name}::text FROM tasks WHERE title = ''")  # noqa: S608
        erased = admin.query(
            f"SELECT {name}::text FROM deleted_tasks WHERE purged_at IS NOT NULL"  # noqa: S608
        )
        assert erased == [(empty,)] * 2, name
    # Removed a day later.
    admin.query("UPDATE deleted_tasks SET deleted_at = deleted_at - interval '1 day'")
    assert run_job(populated) == (0, 0, 2, 0, 0, 0)
    assert admin.query(of_id) == []


def test_columns_of_a_later_revision_are_erased(populated: Database, admin: Database) -> None:
    """They become as in a new task. The names need quotes, and one is a variable of the job."""
    columns = {
        "waiting for": ("varchar(20)", "NULL", "'a person'"),
        "erase": ("integer NOT NULL", "1", "2"),
        "labels": ("text[] NOT NULL", "'{}'", "'{private}'"),
        "text": ("text NOT NULL", "''", "'private'"),
    }
    for table in ("tasks", "deleted_tasks"):
        for name, (kind, default, _) in columns.items():
            admin.query(f'ALTER TABLE {table} ADD "{name}" {kind} DEFAULT {default}')
    computed = 'text GENERATED ALWAYS AS (lower("waiting for" || "text")) STORED'
    admin.query(f"ALTER TABLE tasks ADD found_by {computed}")
    admin.query("ALTER TABLE deleted_tasks ADD found_by text")
    texts = ", ".join(f'"{name}" = {text}' for name, (_, _, text) in columns.items())
    admin.query(f"UPDATE deleted_tasks SET {texts}, found_by = 'private'")  # noqa: S608
    admin.query(
        "UPDATE deleted_tasks SET deleted_at = now() - interval '30 days 1 hour'"
        " WHERE title = 'Title 29'"
    )
    assert run_job(populated)[1] == 4
    names = ", ".join(f'"{name}"' for name in columns)
    erased = admin.query(
        f"SELECT {names}, found_by FROM deleted_tasks WHERE purged_at IS NOT NULL"  # noqa: S608
    )
    assert erased == [(None, 1, [], "", None)] * 2
    assert admin.query("SELECT DISTINCT found_by FROM deleted_tasks WHERE purged_at IS NULL") == [
        ("private",)
    ]


def test_a_call_removes_a_limited_number_of_each_kind_and_counts_the_rest(
    populated: Database, admin: Database
) -> None:
    assert run_job(populated, 0) == (0, 0, 0, 4, 2, 0)
    assert run_job(populated, 1) == (1, 1, 1, 3, 1, 0)
    assert run_job(populated, 3) == (3, 1, 1, 0, 0, 0)


def test_the_oldest_rows_are_removed_first(populated: Database, admin: Database) -> None:
    assert run_job(populated, 2)[0] == 2
    assert admin.query(KEYS) == [("key-0",), ("key-23",), ("key-25",)]


def test_the_oldest_row_says_how_late_the_job_is(populated: Database) -> None:
    overdue = "SELECT overdue_seconds FROM remove_expired({})"
    with psycopg.connect(populated.app_url, autocommit=True) as connection:
        # The text of 32 days is two days overdue, the key of 49 hours one day and an hour.
        for limit, hours in ((0, 48), (2, 1), (4, 0)):
            [(seconds,)] = connection.execute(overdue.format(limit).encode()).fetchall()
            assert seconds == pytest.approx(3600 * hours, abs=60)


def test_locked_rows_are_skipped(populated: Database, admin: Database) -> None:
    with psycopg.connect(admin.admin_url) as other:
        other.execute("SELECT FROM idempotency_keys WHERE user_id = 'ada' FOR UPDATE")
        other.execute("SELECT FROM deleted_tasks WHERE user_id = 'ada' FOR UPDATE")
        assert run_job(populated) == (2, 1, 1, 2, 1, 0)
    assert run_job(populated) == (2, 1, 1, 0, 0, 0)


def test_runs_at_once_remove_each_row_once(populated: Database, admin: Database) -> None:
    admin.query(
        "INSERT INTO idempotency_keys SELECT 'ada', n::text, 'h', '{}', 1, 1,"
        " now() - interval '2 days' FROM generate_series(1, 2000) AS n"
    )
    removed: list[int] = []

    def run() -> None:
        while (latest := run_job(populated, 50)[0]) > 0:
            removed.append(latest)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(removed) == 2004


# Rights


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM idempotency_keys",
        "SELECT count(*) FROM deleted_tasks",
        # The owner alone has this right, and only in the function.
        "SET app.remove_expired = 'on'; SELECT count(*) FROM idempotency_keys",
        "SET app.remove_expired = 'on'; SELECT count(*) FROM deleted_tasks",
    ],
)
def test_the_api_still_sees_no_rows_without_a_user(populated: Database, statement: str) -> None:
    with psycopg.connect(populated.app_url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        while cursor.nextset():
            pass
        assert cursor.fetchall() == [(0,)]


def test_the_owner_still_sees_no_rows_outside_the_function(populated: Database) -> None:
    with psycopg.connect(populated.admin_url) as connection:
        connection.execute("SELECT remove_expired(0)")
        for table in ("tasks", "deleted_tasks", "idempotency_keys"):
            statement = f"SELECT count(*) FROM {table}"  # noqa: S608
            assert connection.execute(statement.encode()).fetchall() == [(0,)]


def test_only_the_role_of_the_api_may_call_it(populated: Database, admin: Database) -> None:
    admin.query("CREATE ROLE nobody_special LOGIN PASSWORD 'plain'")
    try:
        url = populated.app_url.replace(f"{ROLE}:{PASSWORD}", "nobody_special:plain")
        with (
            psycopg.connect(url) as connection,
            pytest.raises(sql_errors.InsufficientPrivilege, match="function remove_expired"),
        ):
            connection.execute("SELECT remove_expired(1)")
    finally:
        admin.query("DROP ROLE nobody_special")


@pytest.fixture
def caller_with_tables(populated: Database) -> Iterator[psycopg.Connection]:
    """A session of the API's role with temporary tables that have the names of ours."""
    with psycopg.connect(populated.app_url, autocommit=True) as connection:
        for table in ("idempotency_keys", "deleted_tasks"):
            connection.execute(f"CREATE TEMP TABLE {table} (LIKE public.{table})".encode())
        yield connection


def test_temporary_tables_of_the_caller_are_not_used(
    caller_with_tables: psycopg.Connection,
) -> None:
    caller_with_tables.execute(
        "INSERT INTO pg_temp.idempotency_keys VALUES ('x', 'x', 'x', 'x', 1, 1, '2000-01-01')"
    )
    [row] = caller_with_tables.execute("SELECT * FROM remove_expired(100)").fetchall()
    assert row[:6] == (4, 2, 2, 0, 0, 0)
    assert caller_with_tables.execute("SELECT key FROM pg_temp.idempotency_keys").fetchall()


def test_temporary_tables_are_not_used_when_a_user_is_deleted(
    populated: Database, admin: Database
) -> None:
    with psycopg.connect(admin.admin_url, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE deleted_tasks (LIKE public.deleted_tasks)")
        connection.execute("DELETE FROM users WHERE id = 'ada'")
    assert admin.query("SELECT DISTINCT user_id FROM deleted_tasks") == [("bob",)]


# Owners


def test_the_job_works_after_the_owner_has_changed(
    populated: Database, admin: Database, cluster: Cluster
) -> None:
    admin.query("CREATE ROLE second_owner LOGIN PASSWORD 'plain'")
    try:
        admin.query(f"REASSIGN OWNED BY {owner_of(populated)} TO second_owner")
        assert run_job(populated) == (4, 2, 2, 0, 0, 0)
        migrate(cluster.url(populated.name, "second_owner", "plain"))
    finally:
        admin.query(f"REASSIGN OWNED BY second_owner TO {owner_of(populated)}")
        admin.query("DROP ROLE second_owner")


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE idempotency_keys OWNER TO postgres",
        "ALTER TABLE deleted_tasks OWNER TO postgres",
        "DROP POLICY expired_rows ON idempotency_keys",
        "DROP POLICY expired_rows ON deleted_tasks",
    ],
)
def test_a_job_that_would_find_no_rows_fails(
    populated: Database, admin: Database, change: str
) -> None:
    admin.query(f"GRANT ALL ON idempotency_keys, deleted_tasks TO {owner_of(populated)}")
    admin.query(change)
    with pytest.raises(sql_errors.InsufficientPrivilege, match="needs the owner of its tables"):
        run_job(populated)
    # And `make migrate` names the cause.
    with pytest.raises(MigrationError, match="policy expired_rows on "):
        migrate(admin.admin_url)


@pytest.mark.parametrize(
    "change",
    ["DROP FUNCTION remove_expired", "REVOKE EXECUTE ON FUNCTION remove_expired FROM task_api"],
)
def test_a_missing_function_is_found(populated: Database, admin: Database, change: str) -> None:
    admin.query(change)
    with pytest.raises(MigrationError, match="EXECUTE on remove_expired for task_api"):
        migrate(admin.admin_url)


@pytest.mark.parametrize("table", ["idempotency_keys", "deleted_tasks"])
def test_the_policy_of_the_job_does_not_replace_that_of_users(
    populated: Database, admin: Database, table: str
) -> None:
    admin.query(f"DROP POLICY own_rows ON {table}")
    with pytest.raises(MigrationError, match=f"policy own_rows on {table}"):
        migrate(admin.admin_url)


# Plans


def test_every_batch_is_read_from_an_index(populated: Database, admin: Database) -> None:
    """However many rows there are: the blocks that a batch reads do not depend on it."""
    blocks = "SELECT sum(seq_tup_read) FROM pg_stat_xact_user_tables"
    admin.query(
        "INSERT INTO idempotency_keys SELECT 'ada', n::text, 'h', '{}', 1, 1,"
        " now() - CASE WHEN n % 2 = 0 THEN interval '2 days' ELSE interval '1 hour' END"
        " FROM generate_series(1, 20000) AS n"
    )
    admin.query(
        "INSERT INTO deleted_tasks (id, user_id, title, completed, created_at, updated_at, version,"
        " priority, due_at, due_is_date, tags, changed_in, deleted_at)"
        " SELECT 1000 + n, 'ada', 't', false, now(), now(), 1, 0, 'infinity', false, '{}', '0',"
        " now() - CASE WHEN n % 2 = 0 THEN interval '40 days' ELSE interval '1 day' END"
        " FROM generate_series(1, 20000) AS n"
    )
    for analyzed in (False, True):
        if analyzed:
            admin.query("ANALYZE idempotency_keys, deleted_tasks")
        with psycopg.connect(populated.app_url) as connection:
            connection.execute("SELECT remove_expired(100)")
            [(read,)] = connection.execute(blocks).fetchall()
        assert read == 0
