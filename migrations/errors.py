"""The error that a failed migration raises, and sentences about errors of the database."""

from psycopg import Error
from psycopg import errors as sql_errors

ADVICE: dict[type[Error], str] = {
    sql_errors.InsufficientPrivilege: "put the owner of the database into DATABASE_URL_UNPOOLED",
    sql_errors.ReadOnlySqlTransaction: "put the URL of the primary into DATABASE_URL_UNPOOLED",
    sql_errors.UndefinedTable: "run make migrate, or correct DATABASE_URL_UNPOOLED",
    sql_errors.UndefinedColumn: "run make migrate, or correct DATABASE_URL_UNPOOLED",
    sql_errors.LockNotAvailable: "another session uses the table: try again",
    sql_errors.DeadlockDetected: "other sessions use the same rows: try again",
    sql_errors.DiskFull: "make room on the disk of the database, then try again",
}


class MigrationError(Exception):
    """One sentence that says why the database was not migrated and what to do about it."""


def advice_for(cause: BaseException | None) -> str:
    """What to do about an error of the database, as the end of a sentence. May be empty."""
    return next((f"; {advice}" for kind, advice in ADVICE.items() if isinstance(cause, kind)), "")


def first_line(cause: BaseException | None) -> str:
    """The reason that an error of the database names, without its end."""
    # If psycopg tried several addresses, the first line names no reason: take the last one.
    lines = [line for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
    line = lines[-1] if lines[0].startswith("Multiple connection attempts failed") else lines[0]
    return line.removeprefix("- ").strip().rstrip(".")
