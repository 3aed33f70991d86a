"""What the commands share that act as the owner of the tables, as `make migrate` does."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from lib.db.url import connection_parameters
from lib.settings import SettingsError
from migrations.errors import MigrationError, advice_for, first_line

AGAIN = "Run the command again: it does what is left, or says that nothing is."


class ConnectionLost(Exception):
    """A connection ended before the command did. The text says why."""


@contextmanager
def connect(
    url: str, ca_bundle: str | None = None, user_id: str | None = None
) -> Generator[psycopg.Connection]:
    """A connection whose transaction is committed at the end of the block.

    It shows the rows of this user, if one is given. Raises ConnectionLost where it is unknown what
    was committed.
    """
    connection = psycopg.connect(**connection_parameters(url, ca_bundle))
    try:
        if user_id is not None:
            show_rows(connection, user_id)
        yield connection
        connection.commit()
    except psycopg.OperationalError as error:
        if error.sqlstate is None and connection.broken:
            raise ConnectionLost(first_line(error)) from error
        raise
    finally:
        connection.close()  # and roll back what is not committed


def show_rows(connection: psycopg.Connection, user_id: str) -> None:
    """Let row-level security, which applies to the owner too, show the rows of this user."""
    connection.execute("SELECT set_config('app.user_id', %s, true)", [user_id])


@contextmanager
def last_sentence(nothing: str) -> Generator[None]:
    """End the process with one sentence if the block fails, `nothing` being "Nothing was ...".

    It says what happened and what to do.
    """
    try:
        yield
    except (SettingsError, MigrationError) as error:
        sys.exit(str(error))
    except ConnectionLost as error:
        sys.exit(f"The connection was lost ({error}). {AGAIN}")
    except psycopg.Error as error:
        sys.exit(f"{nothing}: {first_line(error)}{advice_for(error)}.")
    except UnicodeError:
        sys.exit(f"{nothing}: the user id is not valid UTF-8.")
    except KeyboardInterrupt:
        sys.exit(f"Interrupted. {AGAIN}")
