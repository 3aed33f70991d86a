"""`make new-history`: begins a new history of the database, after a restore.

Clients that follow the changes of tasks then start again: their tokens name the previous history.
Uses the URL of the tables' owner, as `make migrate` does.
"""

import psycopg
from psycopg import sql

from dev.owner import connect, last_sentence
from migrations.owner_url import describe, load_owner_url

# The tables with the transaction id of each row's last change, also those that a developer added.
TABLES = """SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE attname = 'changed_in' AND relkind = 'r' AND pg_table_is_visible(attrelid) ORDER BY 1"""
# Requests queue behind a statement that waits for a table lock, so it must not wait long.
LOCK_TIMEOUT = "2s"
REPAIR = """UPDATE {} SET changed_in = pg_current_xact_id()
WHERE changed_in > pg_current_xact_id()"""
NEW_HISTORY = """UPDATE database_history SET id = gen_random_uuid(), began_at = now()
RETURNING id"""


def begin_history(url: str, ca_bundle: str | None = None) -> tuple[str, int]:
    """Begin a new history. Returns its id, and the number of rows that were repaired.

    A backup contains transaction ids of the previous server. On a server that has not reached them,
    each poll would return these rows again: they get the id of this transaction. ETags and
    `updated_at` stay the same.
    """
    with connect(url, ca_bundle) as connection:
        # A statement that row-level security would filter raises an error instead.
        connection.execute("SET LOCAL row_security = off")
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
        tables = [sql.Identifier(name) for (name,) in connection.execute(TABLES).fetchall()]
        repaired = sum(_repair(connection, table) for table in tables)
        # For clients of the previous history, which start again anyway.
        connection.execute("DELETE FROM erased_users")
        [(history,)] = connection.execute(NEW_HISTORY).fetchall()
        return str(history), repaired


def _repair(connection: psycopg.Connection, table: sql.Identifier) -> int:
    is_hidden = sql.SQL("SELECT row_security_active({})").format(sql.Literal(table.as_string()))
    [(hidden,)] = connection.execute(is_hidden).fetchall()
    if hidden:  # FORCE ROW LEVEL SECURITY applies to the owner too
        connection.execute(sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY").format(table))
    repaired = connection.execute(sql.SQL(REPAIR).format(table)).rowcount
    if hidden:
        connection.execute(sql.SQL("ALTER TABLE {} FORCE ROW LEVEL SECURITY").format(table))
    return repaired


def main() -> None:
    with last_sentence("Nothing was changed"):
        url, ca_bundle = load_owner_url(explicit=True)
        history, repaired = begin_history(url, ca_bundle)
    print(
        f"The database {describe(url)} begins the history {history} ({repaired} rows repaired):"
        " clients that follow the changes start again."
    )


if __name__ == "__main__":
    main()
