"""The table that records the applied revisions, and its move from Alembic's default table."""

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

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
