"""Databases for tests: clones of one migrated template in the PostgreSQL of the test run."""

import os
import shutil
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from dev import postgres
from dev.local_database import PASSWORD, ROLE, create_app_role
from migrations.__main__ import migrate

TEMPLATE = "template_tasks"
MEMORY = "/dev/shm"  # noqa: S108 - only the parent of folders with random names
# More than all databases of a run and PostgreSQL's log take.
NEEDED_BYTES = 3 * 1024**3
FOLDER_PREFIX = "task-api-tests-"
START_SECONDS = 60  # in which PostgreSQL has started


@dataclass(frozen=True)
class Database:
    """A database with the URLs of a role as in production and of the superuser.

    Row-level security applies to the role of `app_url`, not to that of `admin_url`.
    """

    name: str
    app_url: str
    admin_url: str

    def query(self, text: str, *values: object) -> list[tuple]:
        """Run a statement as the superuser; returns its rows."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            cursor = connection.execute(text.encode(), values or None)
            return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True)
class Cluster:
    """The PostgreSQL of a test run: its port and the superuser's password."""

    port: int
    password: str

    def url(self, database: str, user: str = "postgres", password: str | None = None) -> str:
        secret = password or self.password
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def database(self, name: str) -> Database:
        return Database(name, self.url(name, ROLE, PASSWORD), self.url(name))

    @contextmanager
    def clone(self, template: str = TEMPLATE) -> Generator[Database]:
        """Create a database from the template, and drop it at the end."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._run("CREATE DATABASE {} TEMPLATE {}", name, template)
        try:
            yield self.database(name)
        finally:
            self._run("DROP DATABASE {} WITH (FORCE)", name)

    def _run(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def parent_folder() -> str | None:
    """Where to create the folder of a cluster: in memory if possible, or None for the usual place.

    To create a database takes 10 ms of processor time in memory, and 80 to 250 ms on a disk.
    """
    fits = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > NEEDED_BYTES
    return MEMORY if fits else None


def remove_leftovers(parent: Path = Path(MEMORY)) -> None:
    """Remove the folders of runs that were killed: in memory they would stay until a restart."""
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        running = (folder / "postgres" / "cluster" / "postmaster.pid").exists()
        with suppress(FileNotFoundError):  # another run ended and removed its folder
            if not running and time.time() - folder.stat().st_mtime > START_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_cluster(folder: Path) -> Generator[Cluster]:
    """Start PostgreSQL in a new folder and migrate the template."""
    with postgres.running(folder, durable=False) as server:
        cluster = Cluster(server.port, server.password)
        cluster._run("CREATE DATABASE {}", TEMPLATE)
        migrate(cluster.url(TEMPLATE))
        create_app_role(cluster.url(TEMPLATE))
        yield cluster
