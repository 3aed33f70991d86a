"""Names the tables that belong to Better Auth."""

from typing import Any

# `users` is created by Better Auth or by revision 0001, the one that runs first, and never altered.
BETTER_AUTH_TABLES = {"users", "session", "account", "verification", "jwks"}


def include_object(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    """Leave Better Auth's tables out when Alembic compares the models with the database."""
    return not (kind == "table" and name in BETTER_AUTH_TABLES)
