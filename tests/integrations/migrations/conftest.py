"""Databases before their first migration, and copies of the revisions to add to or take from."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory

import migrations
from dev import postgres
from tests.support.databases import Cluster, Database

ROOT = Path(__file__).parents[3]
# Oldest first.
REVISIONS = [
    script.revision
    for script in reversed(list(ScriptDirectory(migrations.__path__[0]).walk_revisions()))
]
HEAD = REVISIONS[-1]

type RunMigrations = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def empty_database(cluster: Cluster) -> Generator[Database]:
    with cluster.clone("template0") as clone:
        yield clone


@pytest.fixture
def owned_database(cluster: Cluster) -> Generator[Database]:
    """An empty database; `admin_url` is of an owner without SUPERUSER, CREATEROLE and BYPASSRLS."""
    owner = f"owner_{uuid.uuid4().hex[:12]}"
    with cluster.clone("template0") as clone:
        clone.query(f"CREATE ROLE {owner} LOGIN PASSWORD 'plain'")
        clone.query(f"ALTER DATABASE {clone.name} OWNER TO {owner}")
        yield Database(clone.name, clone.app_url, cluster.url(clone.name, owner, "plain"))
        clone.query(f"REASSIGN OWNED BY {owner} TO postgres")
        clone.query(f"DROP OWNED BY {owner}")
        clone.query(f"DROP ROLE {owner}")


@pytest.fixture
def released_database(empty_database: Database) -> Database:
    """A database as the release with revision 0001 left it."""
    empty_database.query((Path(__file__).parent / "release_0001.sql").read_text())
    return empty_database


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[postgres.Server]:
    """A PostgreSQL without the role of the API: roles belong to the whole server."""
    with postgres.running(tmp_path_factory.mktemp("other"), durable=False) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE ROLE owner LOGIN PASSWORD 'plain'")
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder that `python -m migrations` runs in: a copy of the revisions, and no .env."""
    shutil.copytree(
        migrations.__path__[0],
        tmp_path / "migrations",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return tmp_path


@pytest.fixture
def scripts(project: Path) -> Path:
    """The copy of the revisions alone, as `migrate(scripts=...)` takes it."""
    return project / "migrations"


@pytest.fixture
def run_migrations(project: Path) -> RunMigrations:
    """Run `make migrate`'s command with this URL and these variables, and nothing else."""

    def run(url: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        named = {} if url is None else {"DATABASE_URL_UNPOOLED": url}
        return subprocess.run(
            [sys.executable, "-m", "migrations"],
            cwd=project,
            env={"PYTHONPATH": str(ROOT), "PATH": os.defpath, **named, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def assert_refused(done: subprocess.CompletedProcess[str], beginning: str) -> None:
    """One sentence on standard error, that begins like this, and exit status 1."""
    assert done.stderr.startswith(beginning), done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(".\n")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def add_revision(scripts: Path, body: str, *, revision: str = "test3", parent: str = HEAD) -> None:
    (scripts / "versions" / f"{revision}.py").write_text(
        '"""A revision of a test."""\n\nfrom alembic import op\n'
        "from migrations.backfill import all_rows\n\n"
        f'revision, down_revision = "{revision}", "{parent}"\n\n\ndef upgrade():\n    {body}\n'
    )
