"""`make export-user USER_ID=...`: prints everything that is stored of a user, as JSON.

Uses the URL of the tables' owner, as `make migrate` does.
"""

import os
import sys
from typing import TextIO

import psycopg
from sqlalchemy import Table

from dev.owner import connect, last_sentence, show_rows
from lib.db.models import SQLModel, owned_tables
from migrations.owner_url import describe, load_owner_url

BATCH_SIZE = 1000  # rows in memory


def export_user(url: str, user_id: str, output: TextIO, ca_bundle: str | None = None) -> int:
    """Write every row of the user, by table, with every column: the state of one moment.

    Returns the number of rows. Writes nothing if there is none.
    """
    with connect(url, ca_bundle) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        show_rows(connection, user_id)
        tables = [SQLModel.metadata.tables["users"], *owned_tables()]
        counts = {table.name: _count(connection, table, user_id) for table in tables}
        if any(counts.values()):
            for number, table in enumerate(tables):
                output.write(f'{"," if number else "{"}\n  "{table.name}": [')
                _write_rows(connection, table, user_id, output)
                output.write("\n  ]" if counts[table.name] else "]")
            output.write("\n}\n")
            output.flush()
        return sum(counts.values())


def _count(connection: psycopg.Connection, table: Table, user_id: str) -> int:
    statement = f"SELECT count(*) FROM {table.name} WHERE {_owner(table)} = %s"  # noqa: S608 - of ours
    [(count,)] = connection.execute(statement.encode(), [user_id]).fetchall()
    return count


def _owner(table: Table) -> str:
    return "id" if table.name == "users" else "user_id"


def _write_rows(connection: psycopg.Connection, table: Table, user_id: str, output: TextIO) -> None:
    # In the order of their creation, where that is known.
    created = [name for name in ("created_at", "createdAt") if name in table.columns]
    order = ", ".join(f'"{name}"' for name in created or table.primary_key.columns.keys())
    statement = (
        f"SELECT to_json({table.name})::text FROM {table.name}"  # noqa: S608 - of ours
        f" WHERE {_owner(table)} = %s ORDER BY {order}"
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
