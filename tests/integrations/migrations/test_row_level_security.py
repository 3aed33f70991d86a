"""Backfills, backup and restore by an owner whom FORCE ROW LEVEL SECURITY applies to.

The owner is neither a superuser nor a role with BYPASSRLS, as on a managed PostgreSQL.
"""

import os
import subprocess
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from dev import postgres
from dev.new_history import begin_history
from migrations.errors import MigrationError
from migrations.runner import migrate
from tests.integrations.migrations.conftest import RunMigrations, add_revision
from tests.support.databases import Cluster, Database

UPDATE = "op.execute(\"UPDATE tasks SET description = 'filled'\")"
FILLED = "SELECT count(*) FROM tasks WHERE description = 'filled'"
FORCED_TABLES = "SELECT relname FROM pg_class WHERE relforcerowsecurity ORDER BY relname"
FORCED = "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = 'tasks'"


@pytest.fixture
def populated(owned_database: Database, cluster: Cluster) -> Database:
    """100 tasks of 10 users, as `owned_database`."""
    migrate(owned_database.admin_url)
    admin = cluster.database(owned_database.name)
    admin.query(
        "INSERT INTO users (id, name, email) SELECT 'u' || n, 'n', n || '@example.com'"
        " FROM generate_series(1, 10) AS n"
    )
    admin.query(
        "INSERT INTO tasks (user_id, title) SELECT 'u' || n % 10 + 1, 't' || n"
        " FROM generate_series(1, 100) AS n"
    )
    return owned_database


def test_the_owner_is_subject_to_row_level_security(populated: Database) -> None:
    assert populated.query("SELECT count(*) FROM tasks") == [(0,)]


@pytest.mark.parametrize(
    "statement",
    [
        UPDATE,
        'op.execute("DELETE FROM tasks")',
        'op.execute("CREATE TABLE copied AS SELECT * FROM tasks")',
        "with op.get_context().autocommit_block(): " + UPDATE,
    ],
)
def test_a_backfill_that_misses_rows_fails(
    populated: Database, scripts: Path, cluster: Cluster, statement: str
) -> None:
    add_revision(scripts, statement)
    with pytest.raises(MigrationError, match="would be affected by row-level security policy"):
        migrate(populated.admin_url, scripts=str(scripts))
    admin = cluster.database(populated.name)
    assert admin.query(FILLED) == [(0,)]
    assert admin.query("SELECT count(*) FROM tasks") == [(100,)]


def test_a_backfill_with_all_rows_changes_every_row(
    populated: Database, scripts: Path, cluster: Cluster
) -> None:
    add_revision(scripts, f"with all_rows('tasks', 'idempotency_keys'): {UPDATE}")
    migrate(populated.admin_url, scripts=str(scripts))
    admin = cluster.database(populated.name)
    assert admin.query(FILLED) == [(100,)]
    assert admin.query(FORCED) == [(True,)]


def test_a_backfill_that_fails_leaves_row_level_security_on(
    populated: Database, scripts: Path, cluster: Cluster
) -> None:
    add_revision(scripts, f"with all_rows('tasks'): {UPDATE}; op.execute('SELECT 1 / 0')")
    with pytest.raises(MigrationError, match="division by zero"):
        migrate(populated.admin_url, scripts=str(scripts))
    admin = cluster.database(populated.name)
    assert admin.query(FILLED) == [(0,)]
    assert admin.query(FORCED) == [(True,)]


def test_all_rows_is_refused_where_other_sessions_would_see_it(
    populated: Database, scripts: Path, cluster: Cluster
) -> None:
    body = "with op.get_context().autocommit_block(), all_rows('tasks'): pass"
    add_revision(scripts, body)
    with pytest.raises(RuntimeError, match="all_rows needs a transaction"):
        migrate(populated.admin_url, scripts=str(scripts))
    assert cluster.database(populated.name).query(FORCED) == [(True,)]


# docs/recovery.md has these commands.
BACKUP = ("pg_dump", "--format=custom", "--no-owner")
RESTORE = ("pg_restore", "--no-owner", "--exit-on-error", "--single-transaction")


def run(command: tuple[str, ...], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program, *options = command
    return subprocess.run(
        [postgres.find_program(program), *options, *map(str, arguments)],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )


def back_up(url: str, file: Path) -> subprocess.CompletedProcess[str]:
    return run(BACKUP, f"--file={file}", url)


def test_a_backup_that_would_miss_rows_fails(populated: Database, tmp_path: Path) -> None:
    done = back_up(populated.admin_url, tmp_path / "backup")
    assert done.returncode == 1
    assert "row-level security policy" in done.stderr


@pytest.mark.parametrize("way", ["BYPASSRLS", "a role for backups", "NO FORCE"])
def test_a_backup_is_restored_whole(
    populated: Database,
    cluster: Cluster,
    other_server: postgres.Server,
    run_migrations: RunMigrations,
    tmp_path: Path,
    way: str,
) -> None:
    admin, file = cluster.database(populated.name), tmp_path / "backup"
    admin.query("DELETE FROM tasks WHERE title = 't1'")
    admin.query("UPDATE deleted_tasks SET deleted_at = now() - interval '40 days'")
    admin.query("INSERT INTO idempotency_keys VALUES ('u1', 'k', 'h', '{}', 1, 1)")
    # The server of the backup has used more transaction ids.
    admin.query("ALTER TABLE tasks DISABLE TRIGGER before_write")
    for table in ("tasks", "deleted_tasks"):
        admin.query(f"UPDATE {table} SET changed_in = '9000000000'")  # noqa: S608
    admin.query("ALTER TABLE tasks ENABLE TRIGGER before_write")
    url, owner = populated.admin_url, conninfo_to_dict(populated.admin_url)["user"]
    forced = [name for (name,) in admin.query(FORCED_TABLES)]
    assert {"tasks", "idempotency_keys"} <= set(forced)
    if way == "BYPASSRLS":
        admin.query(f"ALTER ROLE {owner} BYPASSRLS")
    elif way == "a role for backups":
        admin.query(
            "CREATE ROLE task_backup LOGIN BYPASSRLS PASSWORD 'plain' IN ROLE pg_read_all_data"
        )
        url = cluster.url(populated.name, "task_backup", "plain")
    else:
        for table in forced:
            populated.query(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    try:
        done = back_up(url, file)
    finally:
        if way == "a role for backups":
            admin.query("DROP ROLE task_backup")
    assert (done.returncode, done.stderr) == (0, "")

    # Into a database of another server, by an owner without special rights.
    server = Database("postgres", "", other_server.url())
    server.query("CREATE ROLE task_api NOLOGIN")
    server.query("CREATE DATABASE restored OWNER owner")
    try:
        target = other_server.url("restored", user="owner", password="plain")
        done = run(RESTORE, f"--dbname={target}", file)
        assert (done.returncode, done.stderr) == (0, "")
        restored = Database("restored", "", other_server.url("restored"))
        for table in ("users", "tasks", "deleted_tasks", "idempotency_keys"):
            everything = f"SELECT t::text FROM {table} AS t ORDER BY 1"  # noqa: S608
            assert restored.query(everything) == admin.query(everything) != []
        if way == "NO FORCE":
            for table in forced:
                restored.query(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        # The same command checks what was restored, and finds nothing to migrate.
        done = run_migrations(target)
        assert (done.returncode, done.stderr) == (0, "")
        # No row is ahead of the new server: each poll of the changes would repeat it.
        previous = restored.query("SELECT id FROM database_history")
        assert begin_history(target)[1] == 100
        for table in ("tasks", "deleted_tasks"):
            ahead = "changed_in >= pg_snapshot_xmax(pg_current_snapshot())"
            assert restored.query(f"SELECT FROM {table} WHERE {ahead}") == []
        assert restored.query("SELECT id FROM database_history") != previous
        assert restored.query("SELECT removed_ids FROM remove_expired(10)") == [(1,)]
        [(last,)] = admin.query("SELECT last_value FROM tasks_id_seq")
        assert restored.query("SELECT nextval('tasks_id_seq')") == [(last + 1,)]
    finally:
        server.query("DROP DATABASE restored")
        server.query("DROP ROLE task_api")
