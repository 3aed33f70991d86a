"""The API with a hole between users, so that the attempts that must find it can be seen to.

HOSTILE_PLANT names it. Row-level security hides most of them, so the database must be used by a
role that it does not bind.
"""

import os

from dev.app import app
from lib.db import compiled as sql

__all__ = ["app"]

# The statements that do not ask for the owner any more.
MUTANTS = {
    "nobody is asked for": ["GET", "UPDATE", "COMPLETE", "DELETE", "RECORD", "LIST_WHOLE"],
    "If-Match tells what exists": ["EXISTS"],
}
CONDITIONS = (
    " AND tasks.user_id = %(owner)s::VARCHAR",
    "tasks.user_id = %(owner)s::VARCHAR AND ",
    "idempotency_keys.user_id = %(owner)s::VARCHAR AND ",
)


def without_owner(statement: str) -> str:
    """The statement as somebody might have written it in a hurry."""
    for condition in CONDITIONS:
        if condition in statement:
            return statement.replace(condition, "")
    raise AssertionError(f"this statement asks for no owner: {statement}")


for name in MUTANTS.get(os.environ.get("HOSTILE_PLANT", ""), []):
    written = getattr(sql, name)
    changed = (
        {order: without_owner(text) for order, text in written.items()}
        if isinstance(written, dict)
        else without_owner(written)
    )
    setattr(sql, name, changed)
