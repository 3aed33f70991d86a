"""Runs the local database: embedded PostgreSQL, migrated, with the API's role as in production."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from dev import postgres
from migrations.errors import MigrationError
from migrations.runner import migrate

DATABASE = "tasks"
ROLE = "task_app"
PASSWORD = "local"  # noqa: S105 - reachable from this machine only


@dataclass(frozen=True)
class Urls:
    """libpq URLs of one database.

    `app` has the role that serves requests. `admin` has the superuser, which owns the tables and
    bypasses row-level security.
    """

    app: str
    admin: str


@contextmanager
def local_database(folder: Path) -> Generator[Urls]:
    """Run the local database until the end of the `with` block. Its data stays in `folder`.

    Raises postgres.PostgresError.
    """
    with postgres.running(folder / "postgres", durable=True) as server:
        try:
            _create_database(server.url())
            migrate(server.url(DATABASE))
            create_app_role(server.url(DATABASE))
        except (psycopg.Error, MigrationError) as error:
            if postgres.reports_full_disk(str(error)):
                raise postgres.PostgresError(postgres.DISK_FULL) from error
            if not isinstance(error, MigrationError):
                raise
            raise postgres.PostgresError(
                f"{error} The data is in {folder / 'postgres'}: delete this folder to"
                " start with an empty database."
            ) from error
        yield Urls(server.url(DATABASE, user=ROLE, password=PASSWORD), server.url(DATABASE))


def _create_database(admin_url: str) -> None:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        names = connection.execute("SELECT datname FROM pg_database").fetchall()
        if (DATABASE,) not in names:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def create_app_role(admin_url: str) -> None:
    """Create the role that serves requests, as docs/database.md describes it for operators."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
            return
        role = sql.Identifier(ROLE)
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE task_api").format(
                role, sql.Literal(PASSWORD)
            )
        )
        connection.execute(
            sql.SQL("ALTER ROLE {} SET idle_in_transaction_session_timeout = '5s'").format(role)
        )
        connection.execute(sql.SQL("ALTER ROLE {} SET transaction_timeout = '15s'").format(role))
