"""Checks before the first revision runs that the database meets its requirements."""

from sqlalchemy import Connection, text

from lib.db.models import owned_tables
from migrations.errors import MigrationError
from migrations.requirements import PROVISIONED_COLUMNS, ROLE

_IS_TABLE = text("SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass('users')")
_COLUMNS = text(
    """SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
    WHERE attrelid = to_regclass('users') AND attnum > 0 AND NOT attisdropped"""
)
# A foreign key refers to a unique index on all rows that is checked at once.
_ID_IS_UNIQUE = text(
    """SELECT exists(
        SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = to_regclass('users') AND attname = 'id' AND indnkeyatts = 1
            AND indisunique AND indimmediate AND indisvalid AND indpred IS NULL
    )"""
)
_MAY_SHARE_USERS = text(
    """SELECT has_table_privilege('users', 'REFERENCES')
        AND has_table_privilege('users', 'INSERT WITH GRANT OPTION')"""
)


# The first version with the collation pg_c_utf8, which orders the titles.
MIN_SERVER_VERSION = 170000


def check_version(connection: Connection) -> None:
    """Raise MigrationError if the server is older than PostgreSQL 17."""
    version, number = connection.execute(
        text("SELECT current_setting('server_version'), current_setting('server_version_num')")
    ).one()
    if int(number) < MIN_SERVER_VERSION:
        raise MigrationError(f"PostgreSQL 17 or later is required, and this server has {version}.")


def check_encoding(connection: Connection) -> None:
    """Raise MigrationError if the database cannot store every character."""
    encoding = connection.scalar(text("SELECT current_setting('server_encoding')"))
    if encoding != "UTF8":
        raise MigrationError(
            f"Nothing was migrated: the database has the encoding {encoding}. Create it with"
            " ENCODING 'UTF8' TEMPLATE template0."
        )


def check_role(connection: Connection) -> None:
    """Raise MigrationError if the role of the API is missing and this role may not create it."""
    if connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": ROLE}):
        return
    may_create = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    if not connection.scalar(text(may_create)):
        user = connection.scalar(text("SELECT current_user"))
        raise MigrationError(
            f"The role {ROLE} is missing and {user} may not create roles: have an administrator"
            f" run CREATE ROLE {ROLE} NOLOGIN; and run make migrate again."
        )


def check_names(connection: Connection) -> None:
    """Raise MigrationError if another application uses the names of our tables.

    For a database without any of our revisions.
    """
    for table in owned_tables():
        if connection.scalar(text("SELECT to_regclass(:table)"), {"table": table.name}):
            raise MigrationError(
                f"A table {table.name} exists that these migrations did not create: rename it, or"
                " use a database of its own for this API."
            )
    if connection.scalar(text("SELECT to_regclass('users')")):
        _check_users(connection)


def _check_users(connection: Connection) -> None:
    if not connection.scalar(_IS_TABLE):
        raise MigrationError(
            "users is not a table, and tasks refer to it: rename it, or use a database of its own"
            " for this API."
        )
    columns = {row.attname: row.type for row in connection.execute(_COLUMNS)}
    missing = [name for name in PROVISIONED_COLUMNS if name not in columns]
    if "id" in missing:
        raise MigrationError(
            "The table users has no column id, which tasks refer to: rename the table, or use a"
            " database of its own for this API."
        )
    id_type = columns["id"]
    if id_type != "text" and not id_type.startswith("character varying"):
        raise MigrationError(
            f"The table users has an id of type {id_type}, and tasks refer to text ids: configure"
            " Better Auth without generateId 'uuid' or 'serial' (docs/better-auth.md)."
        )
    if missing:
        instead = " (it has email_verified, as Drizzle names it)" * ("email_verified" in columns)
        raise MigrationError(
            f"The table users lacks {', '.join(missing)}{instead}: name its columns as Better Auth"
            " does, or use a database of its own for this API."
        )
    if not connection.scalar(_ID_IS_UNIQUE):
        raise MigrationError(
            "The table users has no unique index on id, which tasks refer to: run"
            " ALTER TABLE users ADD PRIMARY KEY (id); and run make migrate again."
        )
    if not connection.scalar(_MAY_SHARE_USERS):
        owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = to_regclass('users')"
        raise MigrationError(
            f"The table users belongs to {connection.scalar(text(owner))}: put that role into"
            " DATABASE_URL_UNPOOLED, or make the present one a member of it."
        )
