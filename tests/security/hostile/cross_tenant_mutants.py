"""The API without checks of the owner in some statements, which the attempts must find.

The variable HOSTILE_MUTANT names the mutant. Row-level security hides most mutants, so the role of
the database must bypass it.
"""

import os

from dev.app import app
from lib.db import compiled as sql

__all__ = ["app"]

# The statements without a condition on the owner.
MUTANTS = {
    "owner not checked": [
        "GET",
        "UPDATE",
        "COMPLETE",
        "DELETE",
        "RECORD",
        "LIST_WHOLE",
        "FILTERED_WHOLE",
    ],
    "If-Match reveals existence": ["EXISTS"],
}
CONDITIONS = (
    "tasks.user_id = %(owner)s::VARCHAR",
    "idempotency_keys.user_id = %(owner)s::VARCHAR",
)


def without_owner(statement: str) -> str:
    """The statement without its condition on the owner."""
    for condition in CONDITIONS:
        if condition in statement:
            return statement.replace(condition, "true")
    raise AssertionError(f"this statement has no condition on the owner: {statement}")


for name in MUTANTS.get(os.environ.get("HOSTILE_MUTANT", ""), []):
    original = getattr(sql, name)
    changed = (
        {order: without_owner(text) for order, text in original.items()}
        if isinstance(original, dict)
        else without_owner(original)
    )
    setattr(sql, name, changed)
