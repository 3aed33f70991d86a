"""Feeds of changes with a bug each, in the place of the feed of the application."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from api import tasks
from lib.db import changes
from lib.db.changes import Changes
from lib.db.transaction import run_transaction
from lib.schemas import AuthenticatedUser, FeedPosition, Snapshot
from tests.resilience.chaos.contents import document
from tests.resilience.chaos.mutants import replace

# The tasks of a user and those in the trash, by the time of their last change.
BY_TIMESTAMP = """
SELECT deleted, task, updated_at::text FROM (
    SELECT false AS deleted, updated_at, to_jsonb(tasks) AS task FROM tasks
    WHERE user_id = %(owner)s
    UNION ALL
    SELECT true, updated_at, to_jsonb(deleted_tasks) FROM deleted_tasks WHERE user_id = %(owner)s
) AS states
WHERE updated_at > %(after)s::timestamptz
ORDER BY states.updated_at LIMIT %(limit)s::integer + 1
"""
# The same by the number of the state. Numbers are given before their transactions commit.
BY_SEQUENCE = """
SELECT deleted, task, number::text FROM (
    SELECT DISTINCT ON (task->'id') deleted, task, number FROM history
    WHERE task->>'user_id' = %(owner)s ORDER BY task->'id', number DESC
) AS states
WHERE number > %(after)s::bigint
ORDER BY states.number LIMIT %(limit)s::integer + 1
"""
IS_CHANGED = """
SELECT EXISTS (SELECT FROM tasks WHERE user_id = %(owner)s
               AND NOT pg_visible_in_snapshot(changed_in, %(snapshot)s::pg_snapshot)),
    pg_current_snapshot()::text
"""

type ListChanges = Callable[[AuthenticatedUser, FeedPosition | None, int], Awaitable[Changes]]


def by_position(statement: str, first: str) -> None:
    """Continue after the greatest position that was returned."""

    async def list_after_position(
        user: AuthenticatedUser, position: FeedPosition | None, limit: int
    ) -> Changes:
        after, _ = (position and position.after) or (first, 0)
        rows = await _query(statement, {"owner": user.id, "after": after, "limit": limit})
        page = rows[:limit]
        return Changes(
            [json.dumps(document(task)) for deleted, task, _ in page if not deleted],
            [task["id"] for deleted, task, _ in page if deleted],
            FeedPosition("", None, None, (page[-1][2] if page else after, 0)),
            more=len(rows) > len(page),
        )

    replace(tasks, "list_changes", list_after_position)


async def _query(statement: str, values: dict[str, Any]) -> list[Any]:
    untyped: Any = (statement, values)
    [rows] = await run_transaction(values["owner"], untyped, prepare=False)
    return rows


def wrap_feed(wrap: Callable[[ListChanges], ListChanges]) -> None:
    replace(tasks, "list_changes", wrap(changes.list_changes))


def keep_xmax_only() -> None:
    """Keep only the last transaction id of a snapshot, not which transactions were open."""
    replace(changes, "_shortened", lambda snapshot: "{1}:{1}:".format(*snapshot.split(":")))


def without_deletions(list_changes: ListChanges) -> ListChanges:
    async def list_without_deletions(*arguments: Any) -> Changes:
        return (await list_changes(*arguments))._replace(deleted=[])

    return list_without_deletions


def with_later_token(list_changes: ListChanges) -> ListChanges:
    """Take the snapshot of the token after the page was read, and after another change."""

    async def list_with_later_token(user: AuthenticatedUser, *arguments: Any) -> Changes:
        page = await list_changes(user, *arguments)
        known = page.next.known
        if known is None or page.next.reached:
            return page
        for _ in range(20):
            values = {"owner": user.id, "snapshot": known.text}
            [(changed, later)] = await _query(IS_CHANGED, values)
            if changed:
                known = Snapshot(later, known.taken_at)
                break
            await asyncio.sleep(0.02)
        return page._replace(next=page.next._replace(known=known))

    return list_with_later_token


def ending_with_last_page(list_changes: ListChanges) -> ListChanges:
    """End a round of several pages with the snapshot of its last page, and no further round."""
    snapshot = ""

    async def run_and_note(*arguments: Any, **options: Any) -> Any:
        nonlocal snapshot
        [rows] = await run_transaction(*arguments, **options)
        snapshot = rows[0][3]
        return [rows]

    async def list_until_last_page(*arguments: Any) -> Changes:
        page = await list_changes(*arguments)
        known = page.next.known
        if page.next.reached or known is None:
            return page
        following = page.next._replace(known=Snapshot(snapshot, known.taken_at))
        return page._replace(next=following, more=False)

    replace(changes, "run_transaction", run_and_note)
    return list_until_last_page
