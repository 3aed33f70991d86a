"""`make export-user USER_ID=...`: prints everything that is stored of a user, as JSON.

Uses the URL of the tables' owner, as `make migrate` does.
"""

import os
import sys
from typing import TextIO

import psycopg

from dev.erase_user import TABLES
from dev.owner import connect, last_sentence, show_rows
from migrations.owner_url import describe, load_owner_url

BATCH_SIZE = 1000  # rows in memory
COLUMNS = {"users": "id", **dict.fromkeys(TABLES, "user_id")}


def export_user(url: str, user_id: str, output: TextIO, ca_bundle: str | None = None) -> int:
    """Write every row of the user, by table, with every column: the state of one moment.

    Returns the number of rows. Writes nothing if there is none.
    """
    with connect(url, ca_bundle) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        show_rows(connection, user_id)
        counts = {table: _count(connection, table, user_id) for table in COLUMNS}
        if any(counts.values()):
            for number, table in enumerate(COLUMNS):
                output.write(f'{"," if number else "{"}\n  "{table}": [')
                _write_rows(connection, table, user_id, output)
                output.write("\n  ]" if counts[table] else "]")
            output.write("\n}\n")
            output.flush()
        return sum(counts.values())


def _count(connection: psycopg.Connection, table: str, user_id: str) -> int:
    statement = f"SELECT count(*) FROM {table} WHERE {COLUMNS[table]} = %s"  # noqa: S608 - of COLUMNS
    [(count,)] = connection.execute(statement.encode(), [user_id]).fetchall()
    return count


def _write_rows(connection: psycopg.Connection, table: str, user_id: str, output: TextIO) -> None:
    order = '"createdAt"' if table == "users" else "created_at"
    statement = (
        f"SELECT to_json({table})::text FROM {table} WHERE {COLUMNS[table]} = %s ORDER BY {order}"  # noqa: S608 - of COLUMNS
    )
    # A cursor of the server: a user may have more rows than fit into memory.
    with connection.cursor(name="rows") as rows:
        rows.itersize = BATCH_SIZE
        for number, (row,) in enumerate(rows.execute(statement.encode(), [user_id])):
            output.write(f"{',' if number else ''}\n    {row}")


def main() -> None:
    [user_id] = sys.argv[1:] or [""]
    if not user_id:
        sys.exit("Name the user: make export-user USER_ID=... (the sub of their tokens).")
    with last_sentence("The export is not complete"):
        url, ca_bundle = load_owner_url(explicit=True)
        try:
            count = export_user(url, user_id, sys.stdout, ca_bundle)
        except OSError as error:
            # Python would try again to write what is left when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(f"The export is not complete: {error.strerror}.")
    if not count:
        sys.exit(f"Nothing is stored of the user {user_id} in {describe(url)}.")


if __name__ == "__main__":
    main()
