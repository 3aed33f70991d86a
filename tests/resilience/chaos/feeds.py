"""Feeds of changes with one bug each, and one without, which replace the route of changes."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from api.tasks import app
from lib.db.transaction import run_transaction
from tests.resilience.chaos.contents import document

# The rows of both tables: whether the task is deleted, the task, and its position in the feed.
CHANGES = """
SELECT deleted, task, position::text FROM (
    SELECT false AS deleted, to_jsonb(tasks) AS task, {position} AS position FROM tasks
    WHERE user_id = %(owner)s
    UNION ALL
    SELECT true, to_jsonb(deleted_tasks), {position} FROM deleted_tasks WHERE user_id = %(owner)s
) AS changes
WHERE {condition}
ORDER BY changes.position, (task->>'id')::bigint LIMIT %(limit)s::integer + 1
"""
# The last state of each task. States are numbered before their transactions commit.
NUMBERED = """
SELECT deleted, task, number::text FROM (
    SELECT DISTINCT ON (task->'id') deleted, task, number FROM history
    WHERE task->>'user_id' = %(owner)s ORDER BY task->'id', number DESC
) AS states
WHERE number > %(after)s::bigint
ORDER BY number LIMIT %(limit)s::integer + 1
"""
IS_CHANGED = """
SELECT EXISTS (SELECT FROM tasks WHERE user_id = %(owner)s
               AND NOT pg_visible_in_snapshot(changed_in, %(snapshot)s::pg_snapshot))
"""

type Token = dict[str, Any]
type Rows = list[tuple[Any, ...]]
# The rows of a page, whether there are more, and the next token.
type Page = tuple[Rows, bool, Token]
type Feed = Callable[[str, Token, int], Awaitable[Page]]


def plant(feed: Feed, *, deletions: bool = True) -> None:
    async def respond(request: Request) -> JSONResponse:
        since, user = request.query_params.get("since"), request.path_params["user"]
        token = json.loads(base64.urlsafe_b64decode(since)) if since else {}
        limit = int(request.query_params.get("limit", 500))
        rows, more, following = await feed(user, token, limit)
        encoded = base64.urlsafe_b64encode(json.dumps(following).encode()).decode()
        return JSONResponse(
            {
                "tasks": [document(task) for deleted, task, *_ in rows if not deleted],
                "deleted": [task["id"] for deleted, task, *_ in rows if deleted and deletions],
                "next": encoded,
                "more": more,
            }
        )

    app.router.routes.insert(0, Route("/api/{user}/tasks/changes", respond))


async def by_timestamp(user: str, token: Token, limit: int) -> Page:
    condition = "position > %(after)s::timestamptz"
    text = CHANGES.format(position="updated_at", condition=condition)
    return await _page_after(text, user, token.get("after", "-infinity"), limit)


async def by_sequence(user: str, token: Token, limit: int) -> Page:
    return await _page_after(NUMBERED, user, token.get("after", "0"), limit)


async def _page_after(text: str, user: str, after: str, limit: int) -> Page:
    rows = await _query(user, text, after=after, limit=limit)
    page = rows[:limit]
    return page, len(rows) > limit, {"after": page[-1][2] if page else after}


def by_snapshot(
    *, xmax_only: bool = False, later_token: bool = False, last_page: bool = False
) -> Feed:
    """A round reads what is not visible in the snapshot of its token, ordered by transaction.

    A round of one page ends with its snapshot. After a round of several pages, another begins with
    the snapshot of the first page.

    xmax_only: It reads only what later transactions have written.
    later_token: The token is a snapshot that is taken after the rows were read.
    last_page: A round of several pages ends with the snapshot of its last page.
    """
    unseen = "NOT pg_visible_in_snapshot(position, %(since)s::pg_snapshot)"
    if xmax_only:
        unseen = "position >= pg_snapshot_xmax(%(since)s::pg_snapshot)"
    condition = (
        f"(%(since)s::text IS NULL OR {unseen}) AND (position, (task->>'id')::bigint)"
        " > (%(after)s::xid8, %(after_id)s::bigint)"
    )
    changes = CHANGES.format(position="changed_in", condition=condition)
    # In one statement, so that the rows are those of the snapshot.
    text = f"""SELECT page.*, pg_current_snapshot()::text
    FROM (SELECT) AS always LEFT JOIN ({changes}) AS page ON true"""  # noqa: S608

    async def read_page(user: str, token: Token, limit: int) -> Page:
        after, after_id = token.get("position", ("0", 0))
        since = token.get("since")
        values = {"since": since, "after": after, "after_id": after_id, "limit": limit}
        found = await _query(user, text, **values)
        snapshot, rows = found[0][-1], [row for row in found if row[1]]
        if later_token:
            snapshot = await _snapshot_after_a_change(user, snapshot)
        page, first = rows[:limit], token.get("first", snapshot)
        if len(rows) > limit:
            position = (page[-1][2], page[-1][1]["id"])
            return page, True, {"since": since, "first": first, "position": position}
        if last_page:
            return page, False, {"since": snapshot}
        return page, "first" in token, {"since": first}

    return read_page


async def _snapshot_after_a_change(user: str, snapshot: str) -> str:
    for _ in range(20):
        [(changed,)] = await _query(user, IS_CHANGED, snapshot=snapshot)
        if changed:
            break
        await asyncio.sleep(0.02)
    [(later,)] = await _query(user, "SELECT pg_current_snapshot()::text")
    return later


async def _query(user: str, text: str, **values: Any) -> Rows:
    statement: Any = (text, {"owner": user, **values})
    [rows] = await run_transaction(user, statement, prepare=False)
    return rows
