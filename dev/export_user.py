"""`make export-user USER_ID=...`: prints everything that is stored of a user, as JSON.

Uses the URL of the tables' owner, as `make migrate` does.
"""

import json
import sys
from typing import Any

import psycopg

from dev.erase_user import TABLES
from lib.db.url import connection_parameters
from lib.settings import SettingsError
from migrations.errors import MigrationError
from migrations.owner_url import load_owner_url


def export_user(url: str, user_id: str, ca_bundle: str | None = None) -> dict[str, Any]:
    """Every row of the user, by table, with every column: the state of one moment."""
    with psycopg.connect(**connection_parameters(url, ca_bundle)) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        # Row-level security, which applies to the owner too, then shows the rows of this user.
        connection.execute("SELECT set_config('app.user_id', %s, true)", [user_id])
        users = connection.execute("SELECT to_json(users) FROM users WHERE id = %s", [user_id])
        return {
            "users": [row for (row,) in users],
            **{table: _rows(connection, table, user_id) for table in TABLES},
        }


def _rows(connection: psycopg.Connection, table: str, user_id: str) -> list[dict[str, Any]]:
    statement = f"SELECT to_json({table}) FROM {table} WHERE user_id = %s ORDER BY created_at"  # noqa: S608 - of TABLES
    return [row for (row,) in connection.execute(statement.encode(), [user_id])]


def main() -> None:
    [user_id] = sys.argv[1:] or [""]
    if not user_id:
        sys.exit("Name the user: make export-user USER_ID=... (the sub of their tokens).")
    try:
        url, ca_bundle = load_owner_url()
        exported = export_user(url, user_id, ca_bundle)
    except (SettingsError, MigrationError) as error:
        sys.exit(str(error))
    except psycopg.Error as error:
        sys.exit(f"Nothing was exported: {str(error).strip()}")
    except KeyboardInterrupt:
        sys.exit(130)
    if not any(exported.values()):
        sys.exit(f"Nothing is stored of the user {user_id}.")
    print(json.dumps(exported, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
