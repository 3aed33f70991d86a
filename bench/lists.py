"""`make lists`: what lists of different lengths cost PostgreSQL. Writes a table of docs/database.md."""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from bench import workload
from dev.pages import write_block
from lib.db import compiled
from lib.db.tasks import MAX_LIST_BYTES
from tests.support.plans import NO_FILTER

SIZES = (10, 1_000, 10_000, 100_000)
REPEATS = 9
ORDER = "created_at desc"
VALUES = {
    **NO_FILTER, "limit": 20, "offset": 0, "after": None, "after_id": None,
    "max_bytes": MAX_LIST_BYTES,
}  # fmt: skip


def main() -> None:
    """Measure, print the table and write it."""
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="lists-") as folder,
        workload.database(Path(folder) / "postgres", SIZES) as urls,
        psycopg.connect(urls.app, prepare_threshold=None) as connection,
    ):
        for size in SIZES:
            user = workload.reader(size)
            connection.execute("SELECT set_config('app.user_id', %s, false)", [user])
            cells = [
                _shown(*_cost(connection, statement, user))
                for statement in (compiled.LIST_FIRST_PAGE[ORDER], compiled.COUNTED_PAGE[ORDER])
            ]
            counts = _shown(*_cost(connection, compiled.STATISTICS, user))
            rows.append([f"{size:,}", *cells, _whole(connection, user), counts])
    titles = ["tasks of the user", "page of 20", "the same with `count=true`", "whole list"]
    lines = [[*titles, "`stats`"], ["---"] * 5, *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    sys.stdout.write(f"{table}\n")
    write_block("docs/database.md", "make lists", table)


def _whole(connection: psycopg.Connection, user: str) -> str:
    """The cost of the one or two statements of lib/db/tasks.py for a whole list."""
    cost = _cost(connection, compiled.LIST_WHOLE[ORDER], user)
    if _first_row(connection, compiled.LIST_WHOLE[ORDER], user) != (None,):
        return _shown(*cost)
    again = _cost(connection, compiled.FILTERED_WHOLE[ORDER], user)
    found = _first_row(connection, compiled.FILTERED_WHOLE[ORDER], user)
    shown = _shown(cost[0] + again[0], cost[1] + again[1])
    return shown if found else f"422 after {shown}"


def _cost(connection: psycopg.Connection, statement: LiteralString, user: str) -> tuple[float, int]:
    """The median of the milliseconds in the executor, and the blocks that it accessed."""
    seen = []
    for _ in range(REPEATS):
        [plan] = _first_row(
            connection, f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}", user
        )
        top: dict[str, Any] = plan[0]["Plan"]
        blocks = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
        seen.append((plan[0]["Execution Time"], blocks))
    return statistics.median(time for time, _ in seen), seen[-1][1]


def _first_row(connection: psycopg.Connection, statement: LiteralString, user: str) -> Any:
    return connection.execute(statement, {"owner": user, **VALUES}).fetchone()


def _shown(milliseconds: float, blocks: int) -> str:
    digits = 0 if milliseconds >= 10 else 1
    return f"{milliseconds:.{digits}f} ms, {blocks:,} blocks"


if __name__ == "__main__":
    main()
