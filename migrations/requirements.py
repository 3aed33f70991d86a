"""What requests need in the database: columns, privileges, sequences and row-level security."""

from sqlalchemy import Connection, text

from lib.db.models import SQLModel

# The role that serves requests is a member of this one and owns nothing: see docs/database.md.
ROLE = "task_api"
TABLES = ("tasks", "idempotency_keys")
SEQUENCES = ("tasks_id_seq",)
# The columns of `users` that the API writes; Better Auth owns the table.
PROVISIONED_COLUMNS = ("id", "name", "email", "emailVerified")

_COLUMN_EXISTS = """EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attname = :column AND NOT attisdropped
)"""
# By number, because has_column_privilege raises an error for a name that does not exist.
_COLUMN_PRIVILEGE = """(
    SELECT has_column_privilege(:role, attrelid, attnum, :privilege) FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attname = :column AND NOT attisdropped
)"""
_TABLE_PRIVILEGE = "has_table_privilege(:role, to_regclass(:table), :privilege)"
_SEQUENCE_PRIVILEGE = "has_sequence_privilege(:role, to_regclass(:sequence), 'USAGE')"
_SCHEMA_PRIVILEGE = "has_schema_privilege(:role, current_schema(), 'USAGE')"
_POLICY = """(
    SELECT relrowsecurity AND relforcerowsecurity
        AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid)
    FROM pg_class WHERE oid = to_regclass(:table)
)"""


def find_missing(connection: Connection) -> list[str]:
    """Names what requests need and the database lacks, such as `column tasks.version`."""
    present = "EXISTS (SELECT FROM pg_roles WHERE rolname = :role)"
    if not connection.scalar(text(f"SELECT {present}"), {"role": ROLE}):
        return [f"role {ROLE}"]
    return [
        name
        for name, condition, values in _requirements()
        if not connection.scalar(text(f"SELECT {condition}"), {"role": ROLE, **values})
    ]


def _requirements() -> list[tuple[str, str, dict[str, str]]]:
    """The name of each requirement, with the SQL condition that holds if it is met."""
    columns = [
        (table.name, column.name)
        for table in SQLModel.metadata.sorted_tables
        for column in table.columns
        if table.name != "users" or column.name in PROVISIONED_COLUMNS
    ]
    return [
        (f"USAGE on the schema for {ROLE}", _SCHEMA_PRIVILEGE, {}),
        *(
            (f"column {table}.{column}", _COLUMN_EXISTS, {"table": table, "column": column})
            for table, column in columns
        ),
        *(
            (
                f"{privilege} on {table} for {ROLE}",
                _TABLE_PRIVILEGE,
                {"table": table, "privilege": privilege},
            )
            for table in TABLES
            for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
        ),
        *(
            (
                f"INSERT on users.{column} for {ROLE}",
                _COLUMN_PRIVILEGE,
                {"table": "users", "column": column, "privilege": "INSERT"},
            )
            for column in PROVISIONED_COLUMNS
        ),
        *(
            (f"USAGE on {sequence} for {ROLE}", _SEQUENCE_PRIVILEGE, {"sequence": sequence})
            for sequence in SEQUENCES
        ),
        *((f"row-level security on {table}", _POLICY, {"table": table}) for table in TABLES),
    ]
