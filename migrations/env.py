"""Alembic's environment: runs the pending revisions in one transaction, one runner at a time."""

from alembic import context
from sqlalchemy import text

from lib.db.models import SQLModel
from migrations.ownership import include_object
from migrations.preflight import check_encoding, check_names, check_role, check_version
from migrations.requirements import check_requirements
from migrations.trash import check_columns
from migrations.version_table import VERSION_TABLE, adopt_default_table, check_version_table

LOCK = 5_237_001  # an arbitrary number, the same for every runner

attributes, scripts = context.config.attributes, context.script
connection = attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    include_object=include_object,
    version_table=VERSION_TABLE,
    transaction_per_migration=False,
)
with context.begin_transaction():
    # If several deployments run at once, one migrates. The others wait and have nothing to do.
    timeout = {"seconds": f"{attributes['lock_timeout']}s"}
    connection.execute(text("SELECT set_config('lock_timeout', :seconds, true)"), timeout)
    connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    # Requests queue behind a statement that waits for a table lock, so it must not wait long.
    connection.execute(text("SELECT set_config('lock_timeout', '2s', true)"))

    check_version_table(connection)
    adopt_default_table(context.get_context(), scripts)
    current = context.get_context().get_current_heads()
    known = {script.revision for script in scripts.walk_revisions()}
    attributes["is_newer"] = not known.issuperset(current)
    if not attributes["is_newer"]:
        wanted = context.get_revision_argument()
        pending = [script.revision for script in scripts.iterate_revisions(wanted, current)]
        attributes["announce"](
            f"Current revision: {', '.join(current) or 'none'};"
            f" pending: {', '.join(reversed(pending)) or 'none'}."
        )
        if pending:
            check_version(connection)
            check_encoding(connection)
            check_role(connection)
        if not current:
            check_names(connection)
        context.run_migrations()
        check_columns(connection)
        if pending and wanted == scripts.get_current_head():
            check_requirements(connection)
