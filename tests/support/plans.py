"""The plans by which PostgreSQL runs statements."""

import re
from collections.abc import Iterator
from typing import Any

import psycopg

from tests.support.databases import Database

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, VERBOSE, FORMAT JSON) "
PLACEHOLDER = re.compile(r"%\((\w+)\)s")
NO_FILTER = dict.fromkeys(["completed", "priority", "tag", "due_from", "due_to", "q"])


def explain(database: Database, statement: str, user: str, **values: Any) -> dict[str, Any]:
    """Run a statement as this user. Returns its plan, with the rows and blocks it has read."""
    with psycopg.connect(database.app_url, prepare_threshold=None) as connection:
        connection.execute("SELECT set_config('app.user_id', %s, true)", [user])
        row = connection.execute((EXPLAIN + statement).encode(), _all(user, values)).fetchone()
    assert row
    return row[0][0]["Plan"]


def explain_prepared(
    database: Database, statement: str, user: str, **values: Any
) -> dict[str, Any]:
    """The same with one plan for all values, as lib/db/transaction.py runs prepared statements."""
    names = list(dict.fromkeys(PLACEHOLDER.findall(statement)))
    numbered = PLACEHOLDER.sub(lambda each: f"${names.index(each[1]) + 1}", statement)
    marks = ", ".join(f"%({name})s" for name in names)
    # EXECUTE takes values, not parameters of the protocol.
    with psycopg.connect(database.app_url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("SELECT set_config('app.user_id', %s, true)", [user])
        connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE prepared AS {numbered}".encode())
        executed = f"{EXPLAIN}EXECUTE prepared ({marks})".encode()
        row = connection.execute(executed, _all(user, values)).fetchone()
        connection.rollback()  # of a change
    assert row
    return row[0][0]["Plan"]


def _all(user: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"owner": user, "offset": 0, **NO_FILTER, **values}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan, the outermost first."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)
