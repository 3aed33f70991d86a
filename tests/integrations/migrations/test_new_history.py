"""`make new-history`: tokens of the previous history end, and no restored row is repeated."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from dev.new_history import begin_history
from migrations.runner import migrate
from tests.support.databases import Cluster, Database

ROOT = Path(__file__).parents[3]
HISTORY = "SELECT id::text FROM database_history"
# Rows that each poll would return until the server reaches their transaction ids.
REPEATED = """SELECT 'tasks', count(*) FROM tasks
WHERE changed_in >= pg_snapshot_xmax(pg_current_snapshot())
UNION ALL SELECT 'deleted_tasks', count(*) FROM deleted_tasks
WHERE changed_in >= pg_snapshot_xmax(pg_current_snapshot()) ORDER BY 1"""
FORCED = """SELECT count(*) FROM pg_class
WHERE relname IN ('tasks', 'deleted_tasks') AND relrowsecurity AND relforcerowsecurity"""
# Transaction ids as a backup of an older server brings them. The trigger would replace them.
FROM_OLDER_SERVER = """ALTER TABLE tasks DISABLE TRIGGER before_write;
UPDATE tasks SET changed_in = '9000000000' WHERE title LIKE 'ahead%';
ALTER TABLE tasks ENABLE TRIGGER before_write;
UPDATE deleted_tasks SET changed_in = '9000000001' WHERE title LIKE 'ahead%'"""
STATE = """SELECT 'tasks', id, title, updated_at, version, completed_at FROM tasks
UNION ALL SELECT 'deleted', id, title, updated_at, version, completed_at FROM deleted_tasks
ORDER BY 1, 2"""
FILL = """INSERT INTO users (id, name, email) VALUES ('ada', 'Ada', 'a@x.example');
INSERT INTO tasks (user_id, title, completed) SELECT 'ada', title, true
FROM unnest(ARRAY['ahead 1', 'ahead 2', 'behind', 'ahead, deleted', 'behind, deleted']) AS title;
DELETE FROM tasks WHERE title LIKE '%deleted'"""

type RunCommand = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def admin(owned_database: Database, cluster: Cluster) -> Database:
    migrate(owned_database.admin_url)
    admin = cluster.database(owned_database.name)
    admin.query(FILL)
    admin.query(FROM_OLDER_SERVER)
    return admin


@pytest.fixture
def run_command(tmp_path: Path) -> RunCommand:
    """Run the command with this URL, in a folder without .env."""

    def run(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dev.new_history"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "DATABASE_URL_UNPOOLED": url},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("right", ["NOBYPASSRLS", "BYPASSRLS"])
def test_rows_ahead_of_the_server_are_repaired(
    admin: Database, owned_database: Database, right: str
) -> None:
    owner = conninfo_to_dict(owned_database.admin_url)["user"]
    admin.query(f"ALTER ROLE {owner} {right}")
    assert admin.query(REPEATED) == [("deleted_tasks", 1), ("tasks", 2)]
    before, [(previous,)] = admin.query(STATE), admin.query(HISTORY)
    history, repaired = begin_history(owned_database.admin_url)
    assert repaired == 3
    assert admin.query(REPEATED) == [("deleted_tasks", 0), ("tasks", 0)]
    # Versions and timestamps, and with them the ETags, stay.
    assert admin.query(STATE) == before
    assert admin.query(HISTORY) == [(history,)] != [(previous,)]
    assert admin.query(FORCED) == [(2,)]
    assert begin_history(owned_database.admin_url)[1] == 0
    assert admin.query("SELECT count(*) FROM database_history") == [(1,)]


def test_a_table_that_a_developer_added_is_repaired(
    admin: Database, owned_database: Database
) -> None:
    owner = conninfo_to_dict(owned_database.admin_url)["user"]
    admin.query("CREATE TABLE letters (changed_in xid8 NOT NULL)")
    admin.query(f"ALTER TABLE letters OWNER TO {owner}")
    admin.query("INSERT INTO letters VALUES ('9000000000'), ('1')")
    assert begin_history(owned_database.admin_url)[1] == 4
    ahead = (
        "SELECT count(*) FROM letters WHERE changed_in >= pg_snapshot_xmax(pg_current_snapshot())"
    )
    assert admin.query(ahead) == [(0,)]


def test_the_command_prints_one_sentence(
    admin: Database, owned_database: Database, run_command: RunCommand
) -> None:
    done = run_command(owned_database.admin_url)
    assert (done.returncode, done.stderr) == (0, "")
    [(history,)] = admin.query(HISTORY)
    assert done.stdout == (
        f"The database {admin.name} at 127.0.0.1 begins the history {history} (3 rows repaired):"
        " clients that follow the changes start again.\n"
    )


def test_a_role_that_is_not_the_owner_changes_nothing(
    admin: Database, run_command: RunCommand
) -> None:
    before = admin.query(HISTORY)
    done = run_command(admin.app_url)
    assert done.returncode == 1
    assert done.stderr.startswith("Nothing was changed: ")
    assert "Traceback" not in done.stderr
    assert admin.query(HISTORY) == before
    assert admin.query(FORCED) == [(2,)]


def test_a_locked_table_ends_the_command(
    admin: Database, owned_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = admin.query(HISTORY)
    monkeypatch.setattr("dev.new_history.LOCK_TIMEOUT", "100ms")
    with psycopg.connect(admin.admin_url) as other:
        other.execute("LOCK TABLE tasks IN ACCESS SHARE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            begin_history(owned_database.admin_url)
    assert admin.query(HISTORY) == before
