"""The table that records the applied revisions, and its move from Alembic's default table."""

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from migrations.errors import MigrationError

# Other applications in the same database may use Alembic's default, `alembic_version`.
VERSION_TABLE = "task_api_alembic_version"

_DEFAULT_TABLE_EXISTS = text(
    """SELECT count(*) = 1 FROM pg_attribute
    WHERE attrelid = to_regclass('alembic_version') AND attname = 'version_num'"""
)
_POLICIES = text(
    """SELECT count(*) FROM pg_policy
    WHERE polname = 'own_rows'
        AND polrelid IN (to_regclass('tasks'), to_regclass('idempotency_keys'))"""
)
_COLUMN_TYPE = text(
    """SELECT format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attname = 'version_num' AND NOT attisdropped"""
)


def check_version_table(connection: Connection) -> None:
    """Raise MigrationError if the version table exists and does not hold one revision.

    An empty table is accepted if our tables do not exist either.
    """
    if not connection.scalar(text(f"SELECT to_regclass('{VERSION_TABLE}')")):
        return
    type_ = connection.scalar(_COLUMN_TYPE, {"table": VERSION_TABLE})
    if type_ not in ("character varying", "text"):
        raise MigrationError(
            f"The table {VERSION_TABLE} must have a column version_num of type varchar, and has"
            f" {f'one of type {type_}' if type_ else 'none'}: restore the table from a backup."
        )
    recorded = connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all()
    if len(recorded) > 1 or None in recorded:
        rows = ", ".join(sorted(str(revision) for revision in recorded))
        raise MigrationError(
            f"The table {VERSION_TABLE} must have one row, the revision of the database, and has"
            f" {len(recorded)} ({rows}): delete those that were not recorded by make migrate."
        )
    if not recorded and connection.scalar(text("SELECT to_regclass('tasks')")):
        raise MigrationError(
            f"The table {VERSION_TABLE} is empty, although the table tasks exists: insert the"
            " revision of the database, or restore the table from a backup."
        )


def adopt_default_table(context: MigrationContext, scripts: ScriptDirectory) -> None:
    """Copy the revision that an earlier release recorded in `alembic_version`.

    Does nothing unless that table's only row is one of our revisions, and our tables exist with
    their policies: otherwise the row belongs to another application. The row is kept, so that
    `make migrate` of the earlier release still works after a rollback.
    """
    connection = context.connection
    if connection is None or context.get_current_heads():
        return
    if not connection.scalar(_DEFAULT_TABLE_EXISTS) or connection.scalar(_POLICIES) != 2:
        return
    recorded = connection.scalars(text("SELECT version_num FROM alembic_version")).all()
    known = {script.revision for script in scripts.walk_revisions()}
    if len(recorded) == 1 and recorded[0] in known:
        context.stamp(scripts, recorded[0])
