"""How Alembic runs here: in one transaction, one runner at a time, our tables only."""

from alembic import context
from sqlalchemy import text

from lib.db.models import SQLModel
from migrations.ownership import include_object

LOCK = 5_237_001  # any number, the same for every runner


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    include_object=include_object,
    transaction_per_migration=False,
)
with context.begin_transaction():
    # Four deployments at once are one that works and three that wait, then find nothing to do.
    connection.execute(text("SELECT set_config('lock_timeout', '60s', true)"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    # Requests queue behind whoever waits for a lock on a table: no longer than they can bear.
    connection.execute(text("SELECT set_config('lock_timeout', '2s', true)"))
    context.run_migrations()
