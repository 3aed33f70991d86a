"""Brings a database to a revision and checks that it has what requests need."""

import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from psycopg import Error
from psycopg import errors as sql_errors
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError

from lib.db.url import connection_parameters
from migrations.errors import MigrationError, advice_for, first_line
from migrations.requirements import find_missing

SCRIPTS = str(Path(__file__).parent)
LOCK_TIMEOUT = 60.0  # seconds during which the migration retries if a table is locked
RETRY_INTERVAL = 1.0  # seconds between attempts, in which waiting requests can proceed


def migrate(
    url: str,
    *,
    scripts: str = SCRIPTS,
    revision: str = "head",
    ca_bundle: str | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> None:
    """Apply the pending revisions up to `revision`, all of them or none.

    A database at a revision that `scripts` does not have is newer than this code and stays as it
    is. `ca_bundle` is the path of a PEM file, certifi's if None. `announce` receives one sentence
    per step. Raises MigrationError, and SettingsError if the URL cannot be read.
    """
    engine = create_engine(
        "postgresql+psycopg://",
        # psycopg would return bytes from a database with the encoding SQL_ASCII.
        connect_args={**connection_parameters(url, ca_bundle), "client_encoding": "utf8"},
        poolclass=NullPool,
    )
    config = Config()
    # ConfigParser would interpolate a per cent sign.
    config.set_main_option("script_location", scripts.replace("%", "%%"))
    # Each attempt would announce the same sentence again.
    announce = functools.cache(announce)
    config.attributes |= {"announce": announce, "lock_timeout": LOCK_TIMEOUT}
    is_connected = False
    try:
        with engine.connect() as connection, warnings.catch_warnings():
            # Alembic skips one of two files with the same revision.
            warnings.filterwarnings("error", "Revision .* is present more than once", UserWarning)
            is_connected = True
            # A statement that row-level security would filter raises an error instead.
            connection.exec_driver_sql("SET row_security = off")
            connection.commit()
            config.attributes["connection"] = connection
            _upgrade(connection, config, revision)
            if revision == "head":
                _check(connection, is_newer=config.attributes["is_newer"])
    except DBAPIError as error:
        raise MigrationError(_explain(error, is_connected=is_connected)) from error
    except UnicodeError as error:
        # Raised by the resolver for a label of more than 63 bytes.
        raise MigrationError("Nothing was migrated: the URL's host name is not valid.") from error
    except (CommandError, UserWarning) as error:
        raise MigrationError(f"Nothing was migrated: {str(error).rstrip('.')}.") from error
    if config.attributes["is_newer"]:
        announce("The database is newer than this code. Nothing to migrate.")
    elif revision == "head":
        announce("The database is at the newest revision.")


def _upgrade(connection: Connection, config: Config, revision: str) -> None:
    give_up = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            command.upgrade(config, revision)
            connection.commit()
        except OperationalError as error:
            connection.rollback()
            is_blocked = isinstance(
                error.orig, sql_errors.LockNotAvailable | sql_errors.DeadlockDetected
            )
            if not is_blocked or time.monotonic() >= give_up:
                raise
            config.attributes["announce"](
                "Another session holds a lock on a table:"
                f" trying again for up to {LOCK_TIMEOUT:.0f} seconds."
            )
            time.sleep(RETRY_INTERVAL)
        else:
            return


def _check(connection: Connection, *, is_newer: bool) -> None:
    """Check the database itself, not only the version table. Raises MigrationError."""
    missing = find_missing(connection)
    if missing and is_newer:
        raise MigrationError(
            "The database is newer than this code and lacks what this code needs"
            f" ({', '.join(missing)}): deploy code that is not older than the database, or"
            " grant or create it by hand."
        )
    if missing:
        raise MigrationError(
            "The revisions are recorded as applied, but the database lacks what requests need"
            f" ({', '.join(missing)}): restore it from a backup, or grant or create it by hand."
        )


def _explain(error: DBAPIError, *, is_connected: bool) -> str:
    cause = error.orig
    if isinstance(cause, sql_errors.LockNotAvailable):
        if "pg_advisory_xact_lock" in (error.statement or ""):
            return (
                "Nothing was migrated: another migration is running; try again when it has ended."
            )
        return (
            f"Nothing was migrated: another session held a lock on a table for"
            f" {LOCK_TIMEOUT:.0f} seconds; end that session or try again later."
        )
    sqlstate = cause.sqlstate if isinstance(cause, Error) else None
    if is_connected and (sqlstate is None or error.connection_invalidated):
        return (
            "The connection was lost during the migration"
            f" ({first_line(cause)}): run make migrate again to complete it or to see that it was"
            " applied."
        )
    return f"Nothing was migrated: {first_line(cause)}{advice_for(cause)}."
