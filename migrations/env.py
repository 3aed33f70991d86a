"""How Alembic runs here: in one transaction, one runner at a time, our tables only."""

from typing import Any

from alembic import context
from sqlalchemy import text

from lib.tables import SQLModel

# Better Auth owns these; `users` is made by whoever comes first, and never changed here.
OF_BETTER_AUTH = {"users", "session", "account", "verification", "jwks"}
LOCK = 5_237_001  # any number, the same for every runner


def include_object(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    """Leave Better Auth's tables alone when models and database are compared."""
    return not (kind == "table" and name in OF_BETTER_AUTH)


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
    connection.execute(text("SELECT set_config('lock_timeout', '5s', true)"))
    context.run_migrations()
