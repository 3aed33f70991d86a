"""The API with a hole between users, so that the attempts that must find it can be seen to.

HOSTILE_PLANT names it. The database must be used by a role that row-level security does not bind.
"""

import os

from dev.app import app
from lib import sql

__all__ = ["app"]

OF_THE_OWNER = " AND tasks.user_id = %(owner)s::VARCHAR"
PLANTS = {
    "no statement asks for the owner": [
        "GET", "UPDATE", "DELETE", "COMPLETE", "COMPLETE_ONCE", "EXISTS"
    ],
    "If-Match tells what exists": ["EXISTS"],
    "keys belong to everybody": ["RECORD"],
    "lists are of everybody": ["LIST_WHOLE"],
}  # fmt: skip


def _without_owner(statement: str) -> str:
    for condition in (
        OF_THE_OWNER,
        "idempotency_keys.user_id = %(owner)s::VARCHAR AND ",
        "tasks.user_id = %(owner)s::VARCHAR AND ",
    ):
        if condition in statement:
            return statement.replace(condition, "")
    raise AssertionError("this statement asks for no owner")


for name in PLANTS[os.environ["HOSTILE_PLANT"]]:
    statement = getattr(sql, name)
    if isinstance(statement, dict):
        setattr(sql, name, {order: _without_owner(text) for order, text in statement.items()})
    else:
        setattr(sql, name, _without_owner(statement))
