"""Every reason not to migrate is one sentence on standard error, with exit status 1."""

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from migrations import __main__ as command
from migrations import owner_url, preflight, runner
from migrations.errors import MigrationError
from migrations.runner import migrate
from tests.integrations.migrations.conftest import HEAD, RunMigrations, add_revision, assert_refused
from tests.support.databases import Cluster, Database

type Refusal = Callable[[str], str]


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Refusal:
    """The sentence with which `make migrate` refuses this URL."""

    def run(url: str) -> str:
        monkeypatch.setattr(owner_url, "ENV_FILE", tmp_path / "absent")
        monkeypatch.setenv("DATABASE_URL_UNPOOLED", url)
        with pytest.raises(SystemExit) as refused:
            command.main()
        sentence = refused.value.code
        assert isinstance(sentence, str)
        assert "\n" not in sentence
        assert sentence.endswith(".")
        return sentence

    return run


@pytest.mark.parametrize(
    ("url", "beginning"),
    [
        ("postgresql://u:p@ep-x-pooler.eu.example/db", "This command needs the direct URL"),
        ("postgresql://u:p%zz@db.example/db", "DATABASE_URL_UNPOOLED: must be a valid URL"),
        ("postgresql://u:p@[::1/db", "DATABASE_URL_UNPOOLED: must be a valid URL"),
        ("mysql://u:p@db.example/db", "DATABASE_URL_UNPOOLED"),
        ("postgresql://u:p@127.0.0.1:1/db", "Nothing was migrated: connection failed"),
        ("postgresql://u:p@127.0.0.1:abc/db", "DATABASE_URL_UNPOOLED: must be a valid URL"),
        ("postgresql://u:p@127.0.0.1:1/db?connect_timeout=abc", "Nothing was migrated: "),
        (f"postgresql://u:p@{'a' * 70}.invalid/db", "Nothing was migrated: "),
        ("postgresql://u:p@name.invalid/db", "Nothing was migrated: "),
        ("postgresql://u:p%00q@127.0.0.1:1/db", "DATABASE_URL_UNPOOLED: must not contain NUL"),
    ],
)
def test_a_url_that_cannot_work_is_refused(refusal: Refusal, url: str, beginning: str) -> None:
    assert refusal(url).startswith(beginning)


def test_a_refusal_is_written_to_standard_error(run_migrations: RunMigrations) -> None:
    done = run_migrations("postgresql://u:p@127.0.0.1:1/db")
    assert_refused(done, "Nothing was migrated: connection failed")
    assert done.stdout == "Migrating db at 127.0.0.1 ...\n"


def test_a_missing_url_is_named(run_migrations: RunMigrations) -> None:
    assert_refused(run_migrations(), "Set DATABASE_URL_UNPOOLED to the direct URL")


def test_a_wrong_password_is_refused(
    cluster: Cluster, empty_database: Database, refusal: Refusal
) -> None:
    sentence = refusal(cluster.url(empty_database.name, "postgres", "guessed-secret"))
    assert sentence.startswith("Nothing was migrated: connection failed")
    assert "password authentication failed" in sentence
    assert "guessed-secret" not in sentence


def test_a_database_that_does_not_exist_is_refused(cluster: Cluster, refusal: Refusal) -> None:
    sentence = refusal(cluster.url("absent"))
    assert sentence.startswith("Nothing was migrated: connection failed")
    assert 'database "absent" does not exist' in sentence


def test_a_read_only_database_is_refused(empty_database: Database, refusal: Refusal) -> None:
    empty_database.query(
        f"ALTER DATABASE {empty_database.name} SET default_transaction_read_only = on"
    )
    sentence = refusal(empty_database.admin_url)
    assert sentence.startswith("Nothing was migrated: ")
    assert "read-only transaction; put the URL of the primary into DATABASE_URL_UN" in sentence


def test_a_role_without_enough_rights_is_refused(
    empty_database: Database, refusal: Refusal
) -> None:
    assert refusal(empty_database.app_url) == (
        "Nothing was migrated: permission denied for schema public; put the owner of the database"
        " into DATABASE_URL_UNPOOLED."
    )


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_an_encoding_without_every_character_is_refused(
    empty_database: Database, refusal: Refusal, encoding: str
) -> None:
    name = f"{empty_database.name}_other"
    empty_database.query(
        f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    )
    try:
        sentence = refusal(empty_database.admin_url.replace(empty_database.name, name))
    finally:
        empty_database.query(f"DROP DATABASE {name} WITH (FORCE)")
    assert sentence == (
        f"Nothing was migrated: the database has the encoding {encoding}. Create it with ENCODING"
        " 'UTF8' TEMPLATE template0."
    )


def test_a_name_that_is_taken_is_refused(empty_database: Database, refusal: Refusal) -> None:
    empty_database.query("CREATE TABLE tasks_by_title (id int)")
    sentence = 'Nothing was migrated: relation "tasks_by_title" already exists.'
    assert refusal(empty_database.admin_url) == sentence
    assert empty_database.query("SELECT to_regclass('tasks')") == [(None,)]


def test_a_table_that_stays_locked_is_refused(
    fresh_database: Database, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOCK_TIMEOUT", 3)
    add_revision(scripts, "op.execute('ALTER TABLE tasks ADD COLUMN extra text')")
    with psycopg.connect(fresh_database.admin_url) as report:
        report.execute("SELECT count(*) FROM tasks")
        sentences: list[str] = []
        with pytest.raises(MigrationError, match="another session held a lock on a table for 3"):
            migrate(fresh_database.admin_url, scripts=str(scripts), announce=sentences.append)
    assert sentences == [
        f"Current revision: {HEAD}; pending: test3.",
        "Another session holds a lock on a table: trying again for up to 3 seconds.",
    ]


def test_a_column_that_the_trash_would_lose_is_refused(
    fresh_database: Database, scripts: Path
) -> None:
    add_revision(scripts, "op.execute('ALTER TABLE tasks ADD COLUMN extra text')")
    with pytest.raises(MigrationError, match="Nothing was migrated: deleted_tasks lacks extra of"):
        migrate(fresh_database.admin_url, scripts=str(scripts))
    columns = "SELECT FROM pg_attribute WHERE attname = 'extra'"
    assert fresh_database.query(columns) == []
    # Added by hand, or by an earlier release.
    fresh_database.query("ALTER TABLE tasks ADD COLUMN extra text")
    with pytest.raises(MigrationError, match="deleted_tasks lacks extra of tasks"):
        migrate(fresh_database.admin_url)


def test_a_revision_that_leaves_out_what_requests_need_is_not_applied(
    fresh_database: Database, scripts: Path
) -> None:
    add_revision(scripts, "op.execute('ALTER TABLE tasks NO FORCE ROW LEVEL SECURITY')")
    expected = r"Nothing was migrated: .* \(row-level security on tasks\)\. Let the new revision"
    with pytest.raises(MigrationError, match=expected):
        migrate(fresh_database.admin_url, scripts=str(scripts))
    assert fresh_database.query("SELECT version_num FROM task_api_alembic_version") == [(HEAD,)]
    migrate(fresh_database.admin_url)


def test_a_migration_that_runs_already_is_waited_for_and_named(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOCK_TIMEOUT", 1)
    with psycopg.connect(fresh_database.admin_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(5237001)")
        with pytest.raises(MigrationError, match="another migration is running"):
            migrate(fresh_database.admin_url)


def test_a_connection_that_is_lost_does_not_claim_that_nothing_was_migrated(
    fresh_database: Database, scripts: Path
) -> None:
    add_revision(scripts, "op.execute('SELECT pg_terminate_backend(pg_backend_pid())')")
    with pytest.raises(MigrationError, match=r"^The connection was lost during the migration \("):
        migrate(fresh_database.admin_url, scripts=str(scripts))


def test_revisions_that_do_not_form_one_line_are_refused(
    fresh_database: Database, scripts: Path
) -> None:
    add_revision(scripts, "pass")
    add_revision(scripts, "pass", revision="test3b", parent="0001")
    with pytest.raises(MigrationError, match="Nothing was migrated: Multiple head revisions"):
        migrate(fresh_database.admin_url, scripts=str(scripts))


def test_two_revisions_of_one_name_are_refused(fresh_database: Database, scripts: Path) -> None:
    """Alembic warns, and silently skips one of the two."""
    add_revision(scripts, "pass")
    shutil.copy(scripts / "versions" / "test3.py", scripts / "versions" / "another.py")
    with pytest.raises(MigrationError, match=r"^Nothing was migrated: Revision .* more than once"):
        migrate(fresh_database.admin_url, scripts=str(scripts))


def test_the_certificates_of_ssl_cert_file_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()

    class Stop(Exception):
        pass

    def create_engine(*_: object, connect_args: dict[str, str], **__: object) -> None:
        raise Stop(connect_args["sslrootcert"])

    monkeypatch.setattr(runner, "create_engine", create_engine)
    monkeypatch.setenv("DATABASE_URL_UNPOOLED", "postgresql://u:p@db.example/db")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with pytest.raises(Stop, match=rf"^{bundle}$"):
        command.main()


class TestEnvFile:
    """`.env` is read, as by `make dev`, unless the environment names a database."""

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
            # A deployment must not depend on local settings.
            "LOG_LEVEL=LOUD\n"
        )
        done = run_migrations(**{name: fresh_database.admin_url})
        assert (done.returncode, done.stderr) == (0, "")

    def test_an_empty_value_counts_as_unset(
        self, project: Path, run_migrations: RunMigrations
    ) -> None:
        (project / ".env").write_text("DATABASE_URL_UNPOOLED=\n")
        assert_refused(run_migrations(), "Set DATABASE_URL_UNPOOLED")


def test_a_server_that_is_too_old_is_refused(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests have one server, so the requirement moves instead.
    monkeypatch.setattr(preflight, "MIN_SERVER_VERSION", 990000)
    with pytest.raises(MigrationError, match=r"^PostgreSQL 17 or later is required, and this serv"):
        migrate(empty_database.admin_url)
    assert empty_database.query("SELECT to_regclass('tasks')") == [(None,)]


ONE_ROW = "The table task_api_alembic_version must have one row"


@pytest.mark.parametrize(
    ("statement", "beginning"),
    [
        ("INSERT INTO {} VALUES ('0001')", f"{ONE_ROW}, the revision of the database, and has 2 ("),
        ("INSERT INTO {} VALUES ('9999')", ONE_ROW),
        ("UPDATE {} SET version_num = '9998'; INSERT INTO {} VALUES ('9999')", ONE_ROW),
        (
            "ALTER TABLE {} DROP CONSTRAINT task_api_alembic_version_pkc; INSERT INTO {} TABLE {}",
            ONE_ROW,
        ),
        (
            "ALTER TABLE {} DROP CONSTRAINT task_api_alembic_version_pkc,"
            " ALTER version_num DROP NOT NULL; UPDATE {} SET version_num = NULL",
            ONE_ROW,
        ),
        ("DELETE FROM {}", "The table task_api_alembic_version is empty, although"),
        (
            "ALTER TABLE {} ALTER version_num TYPE int USING 3",
            "The table task_api_alembic_version must have a column version_num of type varchar, and"
            " has one of type integer",
        ),
        ("ALTER TABLE {} RENAME version_num TO version", "The table task_api_alembic_version must"),
        ("DROP TABLE {}", "A table tasks exists that these migrations did not create"),
        (
            "CREATE TABLE old (version_num text); DROP TABLE {}; ALTER TABLE old RENAME TO {}",
            "The table task_api_alembic_version is empty, although",
        ),
    ],
)
def test_a_version_table_that_does_not_hold_one_revision_is_refused(
    fresh_database: Database, run_migrations: RunMigrations, statement: str, beginning: str
) -> None:
    fresh_database.query(statement.replace("{}", "task_api_alembic_version"))
    assert_refused(run_migrations(fresh_database.admin_url), beginning)


def test_an_empty_version_table_without_our_tables_counts_as_none(
    empty_database: Database,
) -> None:
    empty_database.query("CREATE TABLE task_api_alembic_version (version_num varchar(32))")
    migrate(empty_database.admin_url)
    version = "SELECT version_num FROM task_api_alembic_version"
    assert empty_database.query(version) == [(HEAD,)]


@pytest.mark.parametrize("privileges", ["", "SELECT", "SELECT, INSERT, UPDATE, DELETE"])
def test_a_version_table_of_another_role_is_refused_or_read(
    owned_database: Database, cluster: Cluster, run_migrations: RunMigrations, privileges: str
) -> None:
    migrate(owned_database.admin_url)
    owner = owned_database.admin_url.partition("//")[2].partition(":")[0]
    admin = cluster.database(owned_database.name)
    admin.query("ALTER TABLE task_api_alembic_version OWNER TO postgres")
    if not privileges:
        done = run_migrations(owned_database.admin_url)
        assert_refused(done, "Nothing was migrated: permission denied for table task_api_alembic")
    else:
        admin.query(f"GRANT {privileges} ON task_api_alembic_version TO {owner}")
        done = run_migrations(owned_database.admin_url)
        assert (done.returncode, done.stderr) == (0, "")
