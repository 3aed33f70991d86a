"""The local database: a PostgreSQL server, migrated, with a role like the one in production."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from dev import postgres
from migrations.__main__ import migrate

DATABASE = "tasks"
ROLE = "task_app"
PASSWORD = "local"  # noqa: S105 - reachable from this machine only


@dataclass(frozen=True)
class Urls:
    """`app` connects as the functions' role, `admin` as a superuser, who sees the rows of all."""

    app: str
    admin: str


@contextmanager
def local_database(folder: Path) -> Generator[Urls]:
    """Run the database whose data is in `folder`. Raises postgres.PostgresError."""
    with postgres.running(folder / "postgres", durable=True) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            names = connection.execute("SELECT datname FROM pg_database").fetchall()
            if (DATABASE,) not in names:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        migrate(server.url(DATABASE))
        create_app_role(server.url(DATABASE))
        yield Urls(server.url(DATABASE, user=ROLE, password=PASSWORD), server.url(DATABASE))


def create_app_role(admin_url: str) -> None:
    """Create the functions' role unless it exists, in the way docs/database.md describes."""
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
