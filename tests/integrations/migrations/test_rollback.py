"""Earlier code on a later database: the deploy command of a rollback finds nothing to migrate."""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from dev.local_database import local_database
from dev.postgres import PostgresError
from migrations.runner import migrate
from tests.integrations.migrations.conftest import HEAD, RunMigrations, add_revision, assert_refused
from tests.support.databases import Database

VERSION = "SELECT version_num FROM task_api_alembic_version"


@pytest.fixture
def later_database(fresh_database: Database, scripts: Path) -> Database:
    """A database that code with one more revision has migrated; `scripts` lacks it again."""
    added = "ALTER TABLE {} ADD COLUMN later text"
    statements = "; ".join(added.format(table) for table in ("tasks", "deleted_tasks"))
    add_revision(scripts, f"op.execute('{statements}')")
    migrate(fresh_database.admin_url, scripts=str(scripts))
    (scripts / "versions" / "test3.py").unlink()
    return fresh_database


def test_earlier_code_leaves_a_later_database_alone(
    later_database: Database, run_migrations: RunMigrations
) -> None:
    done = run_migrations(later_database.admin_url)
    assert (done.returncode, done.stderr) == (0, "")
    sentence = "The database is newer than this code. Nothing to migrate.\n"
    assert done.stdout.endswith(f" ...\n{sentence}")
    assert later_database.query(VERSION) == [("test3",)]
    # The later code continues where it was.
    assert later_database.query("SELECT count(later) FROM tasks") == [(0,)]


def test_code_without_the_newest_released_revision_leaves_the_database_alone(
    fresh_database: Database, scripts: Path, run_migrations: RunMigrations
) -> None:
    newest = ScriptDirectory(str(scripts)).get_revision(HEAD)
    Path(newest.path).unlink()
    done = run_migrations(fresh_database.admin_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("The database is newer than this code. Nothing to migrate.\n")


def test_a_later_database_that_lacks_what_earlier_code_needs_is_refused(
    later_database: Database, run_migrations: RunMigrations
) -> None:
    later_database.query("ALTER TABLE tasks DROP COLUMN description")
    done = run_migrations(later_database.admin_url)
    assert_refused(done, "The database is newer than this code and lacks what this code needs (")
    assert "column tasks.description" in done.stderr


def test_a_revision_that_only_the_version_table_names_is_newer(
    fresh_database: Database, run_migrations: RunMigrations
) -> None:
    """Whatever a later release changes, its revision alone tells earlier code to do nothing."""
    fresh_database.query("UPDATE task_api_alembic_version SET version_num = '9999'")
    fresh_database.query("CREATE TABLE later (id int); ALTER TABLE tasks ADD later text[]")
    done = run_migrations(fresh_database.admin_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("The database is newer than this code. Nothing to migrate.\n")


def test_make_dev_names_the_folder_of_a_database_that_does_not_fit(tmp_path: Path) -> None:
    with local_database(tmp_path) as urls:
        Database("tasks", urls.app, urls.admin).query("ALTER TABLE tasks DROP COLUMN description")
    with (
        pytest.raises(PostgresError, match=r"column tasks\.description.*: delete this folder"),
        local_database(tmp_path),
    ):
        pass
