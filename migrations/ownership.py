"""Which tables are ours to migrate."""

from typing import Any

# Better Auth owns these; `users` is made by whoever comes first, and never changed here.
OF_BETTER_AUTH = {"users", "session", "account", "verification", "jwks"}


def include_object(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    """Leave Better Auth's tables alone when tables and database are compared."""
    return not (kind == "table" and name in OF_BETTER_AUTH)
