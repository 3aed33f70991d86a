"""`make erase-user USER_ID=...`: erases a user and everything that is stored of them.

Uses the URL of the tables' owner, as `make migrate` does.
"""

import sys
from contextlib import suppress

import psycopg

from dev.owner import connect, last_sentence
from lib.db.models import owned_tables
from migrations.errors import MigrationError
from migrations.owner_url import describe, load_owner_url

# A request that restores or changes a task locks it before the row in `users`, which this command
# locks first. PostgreSQL ends the deadlock by rolling one of the two back.
MAX_TRIES = 5


def erase_user(url: str, user_id: str, ca_bundle: str | None = None) -> dict[str, int]:
    """Delete the user's row in `users` and all rows of the user. Returns their number by table.

    It is tried again where PostgreSQL has rolled it back for the sake of another transaction.
    """
    for _ in range(MAX_TRIES - 1):
        with suppress(psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            return _erase(url, user_id, ca_bundle)
    return _erase(url, user_id, ca_bundle)


def _erase(url: str, user_id: str, ca_bundle: str | None) -> dict[str, int]:
    with connect(url, ca_bundle, user_id) as connection:
        # Locked, so that no request adds a task meanwhile.
        connection.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [user_id])
        tables = [table.name for table in owned_tables()]
        erased = {table: _count(connection, table, user_id) for table in tables}
        # The row in `users` takes most rows with it, and a trigger the deleted tasks.
        deleted = connection.execute("DELETE FROM users WHERE id = %s", [user_id])
        erased["users"] = deleted.rowcount
        for table in owned_tables():
            # No foreign key ties these rows to `users`.
            if not table.columns["user_id"].foreign_keys:
                statement = f"DELETE FROM {table.name} WHERE user_id = %s"  # noqa: S608 - of ours
                connection.execute(statement.encode(), [user_id])
        left = {table: n for table in tables if (n := _count(connection, table, user_id))}
        if left:
            raise MigrationError(f"Nothing was erased: rows of the user would be left ({left}).")
        return erased


def _count(connection: psycopg.Connection, table: str, user_id: str) -> int:
    statement = f"SELECT count(*) FROM {table} WHERE user_id = %s"  # noqa: S608 - of ours
    row = connection.execute(statement.encode(), [user_id]).fetchone()
    return row[0] if row else 0


def main() -> None:
    [user_id] = sys.argv[1:] or [""]
    if not user_id:
        sys.exit("Name the user: make erase-user USER_ID=... (the sub of their tokens).")
    with last_sentence("Nothing was erased"):
        url, ca_bundle = load_owner_url(explicit=True)
        erased = erase_user(url, user_id, ca_bundle)
    if not any(erased.values()):
        sys.exit(f"Nothing is stored of the user {user_id} in {describe(url)}.")
    users = erased.pop("users")
    counts = ", ".join(f"{table.replace('_', ' ')} {count}" for table, count in erased.items())
    print(f"Erased the user {user_id} in {describe(url)}. Rows removed: users {users}, {counts}.")
    print(
        "A token of this user that has not expired can still create the row and new tasks: run the"
        " command again when it has (15 minutes with Better Auth's defaults)."
    )


if __name__ == "__main__":
    main()
