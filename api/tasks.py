"""The six task routes: each names its inputs, calls one store function and names its output."""

import json
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request, Response

from lib.auth.tokens import AuthenticatedUser
from lib.db import pool as database
from lib.db import tasks as store
from lib.db.tasks import Account, Once, StoredTask
from lib.errors import InvalidInput
from lib.lambda_handler import create_lambda_handler
from lib.schemas import (
    ErrorResponse,
    Task,
    TaskComplete,
    TaskCreate,
    TaskId,
    TaskQuery,
    TaskUpdate,
)
from lib.settings import load_settings
from lib.web.app import create_app
from lib.web.pagination import make_cursor, read_cursor
from lib.web.preconditions import (
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    allowed_versions,
    etag,
    is_known,
    request_hash,
)
from lib.web.routing import AUTH_RESPONSES, BODY_RESPONSES, AuthenticatedRoute, CurrentUser

NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "There is no such task"}
}
CONDITIONAL = NOT_FOUND | {
    412: {"model": ErrorResponse, "description": "The task has changed since it was read"}
}

router = APIRouter(
    prefix="/api/{user_id}/tasks",
    tags=["tasks"],
    route_class=AuthenticatedRoute,
    responses=AUTH_RESPONSES,
    strict_content_type=False,
)


@router.get("", response_model=list[Task], response_description="The tasks")
async def list_tasks(
    request: Request, caller: CurrentUser, query: Annotated[TaskQuery, Query()]
) -> Response:
    """List your tasks.

    Without `limit` the whole list comes. With it come pages: follow `rel="next"` of the `Link`
    header until there is none.
    """
    if query.cursor is not None and query.limit is None:
        raise InvalidInput(
            "A cursor requires a limit.", location=("query", "limit"), kind="missing"
        )
    of_list = json.dumps([caller.id, query.status, query.sort, query.order, query.q])
    keys = load_settings().cursor_keys
    after = None if query.cursor is None else read_cursor(query.cursor, of_list, keys)
    tasks = await database.run(caller.id, store.list_tasks, caller.id, query, after)
    _check_sendable(tasks.json)
    headers = {}
    if tasks.total is not None:
        headers["X-Total-Count"] = str(tasks.total)
    if tasks.last:
        kept = [item for item in request.query_params.multi_items() if item[0] != "cursor"]
        following = urlencode([*kept, ("cursor", make_cursor(tasks.last, of_list, keys[0]))])
        headers["Link"] = f'<{_path(caller)}?{following}>; rel="next"'
    return Response(tasks.json, media_type="application/json", headers=headers)


def _check_sendable(body: str) -> None:
    limit = load_settings().max_response_bytes
    if limit is None or 4 * len(body) <= limit:
        return
    # Lambda's answer is a JSON document that holds this one as a string, its quotes escaped.
    if len(body.encode()) + body.count('"') + body.count("\\") > limit:
        raise InvalidInput(
            "The list is too large for one response. Use limit and follow the Link header.",
            location=("query", "limit"),
            kind="missing",
        )


@router.post(
    "",
    response_model=Task,
    status_code=201,
    responses=BODY_RESPONSES,
    response_description="The new task",
)
async def create_task(
    caller: CurrentUser, task: TaskCreate, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a task.

    With an `Idempotency-Key` it can be sent again after a lost answer: one task, one answer.
    """
    account = None
    if load_settings().PROVISION_USERS:
        account = Account(caller.name, caller.email, caller.email_verified)
    once = _once(idempotency_key, "create", task.model_dump())
    stored = await database.run(
        caller.id, store.create_task, caller.id, task, account, once,
        writes=True, repeatable=once is not None,
    )  # fmt: skip
    return _answer(stored, 201, Location=f"{_path(caller)}/{stored.id}")


@router.get(
    "/{task_id}",
    response_model=Task,
    responses=NOT_FOUND | {304: {"description": "Unchanged: `If-None-Match` names its version"}},
    response_description="The task",
)
async def get_task(
    caller: CurrentUser, task_id: TaskId, if_none_match: IfNoneMatch = None
) -> Response:
    """Get a task.

    Its `ETag` makes later changes safe (`If-Match`) and later reads cheap (`If-None-Match`).
    """
    stored = await database.run(caller.id, store.get_task, caller.id, task_id)
    if is_known(if_none_match, stored.version):
        return Response(status_code=304, headers=_headers(stored))
    return _answer(stored)


@router.put(
    "/{task_id}",
    response_model=Task,
    responses=CONDITIONAL | BODY_RESPONSES,
    response_description="The task as it is now",
)
async def update_task(
    caller: CurrentUser, task_id: TaskId, changes: TaskUpdate, if_match: IfMatch = None
) -> Response:
    """Change a task.

    Fields that you leave out stay as they are; `"description": null` clears it. With `If-Match`
    nothing is changed if somebody else was faster.
    """
    versions = allowed_versions(if_match)
    stored = await database.run(
        caller.id, store.update_task, caller.id, task_id, changes, versions,
        writes=True, repeatable=versions is None,
    )  # fmt: skip
    return _answer(stored)


@router.delete("/{task_id}", status_code=204, responses=CONDITIONAL, response_description="Deleted")
async def delete_task(caller: CurrentUser, task_id: TaskId, if_match: IfMatch = None) -> Response:
    """Delete a task."""
    await database.run(
        caller.id, store.delete_task, caller.id, task_id, allowed_versions(if_match), writes=True
    )
    return Response(status_code=204)


@router.patch(
    "/{task_id}/complete",
    response_model=Task,
    responses=CONDITIONAL | BODY_RESPONSES,
    response_description="The task as it is now",
)
async def complete_task(
    caller: CurrentUser,
    task_id: TaskId,
    wanted: TaskComplete | None = None,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Complete a task, or open it again.

    Without a body this toggles. `{"completed": true}` sets it, however often it is sent.
    """
    versions = allowed_versions(if_match)
    once = _once(idempotency_key, "complete", task_id, wanted and wanted.completed)
    sets = wanted is not None and wanted.completed is not None and versions is None
    stored = await database.run(
        caller.id, store.complete_task, caller.id, task_id, wanted, versions, once,
        writes=True, repeatable=once is not None or sets,
    )  # fmt: skip
    return _answer(stored)


def _path(caller: AuthenticatedUser) -> str:
    return f"/api/{quote(caller.id, safe='')}/tasks"


def _once(key: str | None, *request: Any) -> Once | None:
    return None if key is None else Once(key, request_hash(*request))


def _headers(task: StoredTask) -> dict[str, str]:
    return {"ETag": etag(task.version), "Cache-Control": "private, no-cache"}


def _answer(task: StoredTask, status: int = 200, **headers: str) -> Response:
    return Response(
        task.json, status, media_type="application/json", headers=_headers(task) | headers
    )


app = create_app(router, needs=("DATABASE_URL", "BETTER_AUTH_SECRET"), at_exit=database.close)
lambda_handler = create_lambda_handler(app)
