"""The tables, columns, privileges, sequences and row-level security that requests need."""

from sqlalchemy import Connection, text

from lib.db.models import SQLModel, owned_tables, read_only_tables
from migrations.errors import MigrationError

# The role that serves requests is a member of this one and owns nothing: see docs/database.md.
ROLE = "task_api"
TRIGGERS = {"before_write": "tasks", "after_delete": "tasks", "users_after_delete": "users"}
# The functions of the retention job, and the tables with row-level security that it removes from.
FUNCTIONS = ("remove_expired", "remove_erased_users")
REMOVE_EXPIRED = "to_regprocedure('remove_expired(integer)')"
EXPIRING_TABLES = ("deleted_tasks", "idempotency_keys")
# The columns of `users` that the API writes; Better Auth owns the table.
PROVISIONED_COLUMNS = ("id", "name", "email", "emailVerified")


def find_missing(connection: Connection) -> list[str]:
    """Name what requests need and the database lacks, such as `column tasks.version`.

    If whole tables are missing, only these are named.
    """
    role = f"EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}')"
    if not connection.scalar(text(f"SELECT {role}")):
        return [f"role {ROLE}"]
    conditions = requirements()
    # One statement, because each is a round trip to a database that may be far away.
    [row] = connection.execute(text(f"SELECT {', '.join(conditions.values())}"))
    missing = [name for name, is_met in zip(conditions, row, strict=True) if not is_met]
    return [name for name in missing if name.startswith("table ")] or missing


def check_requirements(connection: Connection) -> None:
    """Raise MigrationError if requests would lack something after the last revision."""
    if missing := find_missing(connection):
        raise MigrationError(
            "Nothing was migrated: the database would still lack what requests need"
            f" ({', '.join(missing)}). Let the new revision create or grant it. If an earlier"
            " revision has done so, restore it from a backup, or create or grant it by hand."
        )


def requirements() -> dict[str, str]:
    """The SQL condition of each requirement by name; false or null where it is not met."""
    owned = [table.name for table in owned_tables()]
    columns = [
        (table.name, column.name)
        for table in SQLModel.metadata.sorted_tables
        for column in table.columns
        if table.name != "users" or column.name in PROVISIONED_COLUMNS
    ]
    return {
        **{
            f"table {name}": f"to_regclass('{name}') IS NOT NULL"
            for name in SQLModel.metadata.tables
        },
        f"USAGE on the schema for {ROLE}": (
            f"has_schema_privilege('{ROLE}', current_schema(), 'USAGE')"
        ),
        **{
            f"column {table}.{column}": f"EXISTS (SELECT {_from_column(table, column)})"
            for table, column in columns
        },
        **{
            f"{privilege} on {table} for {ROLE}": (
                f"has_table_privilege('{ROLE}', to_regclass('{table}'), '{privilege}')"
            )
            for table in owned
            for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
        },
        **{
            # By number, because has_column_privilege raises an error for an unknown name.
            f"INSERT on users.{column} for {ROLE}": (
                f"(SELECT has_column_privilege('{ROLE}', attrelid, attnum, 'INSERT')"
                f" {_from_column('users', column)})"
            )
            for column in PROVISIONED_COLUMNS
        },
        **{
            f"USAGE on the sequence of {table}.{column.name} for {ROLE}": (
                f"(SELECT has_sequence_privilege('{ROLE}',"
                " pg_get_serial_sequence(attrelid::regclass::text, attname), 'USAGE')"
                f" {_from_column(table.name, column.name)})"
            )
            for table in owned_tables()
            for column in table.columns
            if column.identity is not None
        },
        **{
            f"row-level security on {table}": (
                "(SELECT relrowsecurity AND relforcerowsecurity"
                f" FROM pg_class WHERE oid = to_regclass('{table}'))"
            )
            for table in owned
        },
        **{
            f"policy own_rows on {table}": (
                f"EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('{table}')"
                " AND polname = 'own_rows' AND polcmd = '*'"
                " AND position('app.user_id' IN pg_get_expr(polqual, polrelid)) > 0"
                " AND position('app.user_id' IN pg_get_expr(polwithcheck, polrelid)) > 0)"
            )
            for table in owned
        },
        **{
            f"trigger {trigger} on {table}": (
                f"EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass('{table}')"
                f" AND tgname = '{trigger}' AND tgenabled IN ('O', 'A'))"
            )
            for trigger, table in TRIGGERS.items()
        },
        **{
            f"SELECT on {table.name} for {ROLE}": (
                f"has_table_privilege('{ROLE}', to_regclass('{table.name}'), 'SELECT')"
            )
            for table in read_only_tables()
        },
        **{
            f"EXECUTE on {function} for {ROLE}": (
                f"has_function_privilege('{ROLE}', to_regprocedure('{function}(integer)'),"
                " 'EXECUTE')"
            )
            for function in FUNCTIONS
        },
        # Otherwise row-level security may hide the rows from it.
        **{
            f"policy expired_rows on {table}, and the owner of remove_expired as its owner": (
                "EXISTS (SELECT FROM pg_class JOIN pg_proc ON proowner = relowner"
                " JOIN pg_policy ON polrelid = pg_class.oid"
                f" WHERE pg_class.oid = to_regclass('{table}')"
                f" AND pg_proc.oid = {REMOVE_EXPIRED} AND polname = 'expired_rows')"
            )
            for table in EXPIRING_TABLES
        },
    }


def _from_column(table: str, column: str) -> str:
    return (
        f"FROM pg_attribute WHERE attrelid = to_regclass('{table}')"
        f" AND attname = '{column}' AND NOT attisdropped"
    )
