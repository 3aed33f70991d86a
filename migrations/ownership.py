"""Names the tables that belong to Better Auth."""

from typing import Any

# Better Auth or revision 0001 creates `users`. Migrations add a trigger to it
# and change nothing else.
BETTER_AUTH_TABLES = {"users", "session", "account", "verification", "jwks"}


def include_object(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    """Leave Better Auth's tables out when Alembic compares the models with the database."""
    return not (kind == "table" and name in BETTER_AUTH_TABLES)
