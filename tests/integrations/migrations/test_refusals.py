"""Every reason not to migrate is one sentence on standard error, with exit status 1."""

from pathlib import Path

import psycopg
import pytest

from migrations import runner
from migrations.errors import MigrationError
from migrations.runner import migrate
from tests.integrations.migrations.conftest import RunMigrations, add_revision, assert_refused
from tests.support.databases import Cluster, Database


@pytest.mark.parametrize(
    ("url", "beginning"),
    [
        ("postgresql://u:p@ep-x-pooler.eu.example/db", "Migrations need the direct URL"),
        ("postgresql://u:p%zz@db.example/db", "The database URL cannot be read"),
        ("postgresql://u:p@[::1/db", "The database URL cannot be read"),
        ("mysql://u:p@db.example/db", "DATABASE_URL_UNPOOLED"),
        ("postgresql://u:p@127.0.0.1:1/db", "Nothing was migrated: connection failed"),
        ("postgresql://u:p@127.0.0.1:abc/db", "Nothing was migrated: "),
        ("postgresql://u:p@127.0.0.1:1/db?connect_timeout=abc", "Nothing was migrated: "),
        (f"postgresql://u:p@{'a' * 70}.invalid/db", "Nothing was migrated: "),
        ("postgresql://u:p@name.invalid/db", "Nothing was migrated: "),
        ("postgresql://u:p%00q@127.0.0.1:1/db", "The database URL cannot be read"),
    ],
)
def test_a_url_that_cannot_work_is_refused(
    run_migrations: RunMigrations, url: str, beginning: str
) -> None:
    assert_refused(run_migrations(url), beginning)


def test_a_missing_url_is_named(run_migrations: RunMigrations) -> None:
    assert_refused(run_migrations(), "Set DATABASE_URL_UNPOOLED to the direct URL")


def test_a_wrong_password_is_refused(
    cluster: Cluster, empty_database: Database, run_migrations: RunMigrations
) -> None:
    done = run_migrations(cluster.url(empty_database.name, "postgres", "guessed-secret"))
    assert_refused(done, "Nothing was migrated: connection failed")
    assert "password authentication failed" in done.stderr
    assert "guessed-secret" not in done.stderr


def test_a_database_that_does_not_exist_is_refused(
    cluster: Cluster, run_migrations: RunMigrations
) -> None:
    done = run_migrations(cluster.url("absent"))
    assert_refused(done, "Nothing was migrated: connection failed")
    assert 'database "absent" does not exist' in done.stderr


def test_a_read_only_database_is_refused(
    empty_database: Database, run_migrations: RunMigrations
) -> None:
    empty_database.query(
        f"ALTER DATABASE {empty_database.name} SET default_transaction_read_only = on"
    )
    done = run_migrations(empty_database.admin_url)
    assert_refused(done, "Nothing was migrated: ")
    assert "read-only transaction; put the URL of the primary into DATABASE_URL" in done.stderr


def test_a_role_without_enough_rights_is_refused(
    empty_database: Database, run_migrations: RunMigrations
) -> None:
    done = run_migrations(empty_database.app_url)
    assert_refused(done, "Nothing was migrated: permission denied for schema public; put the owner")


def test_a_name_that_is_taken_is_refused(
    empty_database: Database, run_migrations: RunMigrations
) -> None:
    empty_database.query("CREATE TABLE tasks_by_title (id int)")
    done = run_migrations(empty_database.admin_url)
    assert_refused(done, 'Nothing was migrated: relation "tasks_by_title" already exists.')


def test_a_table_that_stays_locked_is_refused(
    fresh_database: Database, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOCK_PATIENCE", 1)
    add_revision(scripts, "op.execute('ALTER TABLE tasks ADD COLUMN extra text')")
    with psycopg.connect(fresh_database.admin_url) as report:
        report.execute("SELECT count(*) FROM tasks")
        with pytest.raises(MigrationError, match="another session held a lock on a table for 1"):
            migrate(fresh_database.admin_url, scripts=str(scripts))


def test_a_migration_that_runs_already_is_waited_for_and_named(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOCK_PATIENCE", 1)
    with psycopg.connect(fresh_database.admin_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(5237001)")
        with pytest.raises(MigrationError, match="another migration is running"):
            migrate(fresh_database.admin_url)


def test_a_connection_that_is_lost_does_not_claim_that_nothing_was_migrated(
    fresh_database: Database, scripts: Path, run_migrations: RunMigrations
) -> None:
    add_revision(scripts, "op.execute('SELECT pg_terminate_backend(pg_backend_pid())')")
    done = run_migrations(fresh_database.admin_url)
    assert_refused(done, "The connection was lost during the migration (")


def test_revisions_that_do_not_form_one_line_are_refused(
    fresh_database: Database, scripts: Path, run_migrations: RunMigrations
) -> None:
    add_revision(scripts, "pass")
    add_revision(scripts, "pass", revision="test3b", parent="0001")
    assert_refused(run_migrations(fresh_database.admin_url), "Nothing was migrated: ")


class TestEnvFile:
    """`.env` is read as `make dev` and `make token` read it."""

    def test_its_url_is_used(
        self, project: Path, fresh_database: Database, run_migrations: RunMigrations
    ) -> None:
        (project / ".env").write_text(f"DATABASE_URL_UNPOOLED={fresh_database.admin_url}\n")
        done = run_migrations()
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URL_UNPOOLED"])
    def test_a_database_that_the_environment_names_wins(
        self, project: Path, fresh_database: Database, run_migrations: RunMigrations, name: str
    ) -> None:
        (project / ".env").write_text(
            "DATABASE_URL_UNPOOLED=postgresql://u:p@127.0.0.1:1/db\n"
            "DATABASE_URL=postgresql://u:p@127.0.0.1:1/db\n"
        )
        done = run_migrations(**{name: fresh_database.admin_url})
        assert (done.returncode, done.stderr) == (0, "")

    def test_an_empty_value_counts_as_unset(
        self, project: Path, run_migrations: RunMigrations
    ) -> None:
        (project / ".env").write_text("DATABASE_URL_UNPOOLED=\n")
        assert_refused(run_migrations(), "Set DATABASE_URL_UNPOOLED")
