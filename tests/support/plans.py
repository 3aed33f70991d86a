"""The plans by which PostgreSQL runs statements."""

from collections.abc import Iterator
from typing import Any

import psycopg

from tests.support.databases import Database

NO_FILTER = dict.fromkeys(["completed", "priority", "tag", "due_from", "due_to", "q"])


def explain(database: Database, statement: str, user: str, **values: Any) -> dict[str, Any]:
    """Run a statement as this user. Returns its plan, with the rows and blocks it has read."""
    values = {"owner": user, "offset": 0, **NO_FILTER, **values}
    with psycopg.connect(database.app_url, prepare_threshold=None) as connection:
        connection.execute("SELECT set_config('app.user_id', %s, true)", [user])
        explained = b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + statement.encode()
        row = connection.execute(explained, values).fetchone()
    assert row
    return row[0][0]["Plan"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan, the outermost first."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)
