"""The routes of tasks."""

import api  # noqa: F401 - Vercel's runtime imports this file alone

# isort: split
from typing import Any

from fastapi import APIRouter, Request, Response

from lib.auth.signatures import forget_signatures
from lib.db import tasks
from lib.db.changes import list_changes
from lib.db.pool import close_pools
from lib.db.tasks import StoredTask
from lib.lambda_handler import create_lambda_handler
from lib.schemas import (
    ErrorResponse,
    Task,
    TaskChanges,
    TaskComplete,
    TaskCreate,
    TaskId,
    TaskStatistics,
    TaskUpdate,
)
from lib.web.app import create_app
from lib.web.list_parameters import TaskChangesQuery, TaskDeleteQuery, TaskListQuery
from lib.web.pagination import (
    link_to_next_page,
    make_feed_token,
    read_cursor,
    read_feed_token,
    tasks_path,
)
from lib.web.preconditions import IdempotencyKey, IfNoneMatch, WritePrecondition, is_unchanged
from lib.web.routing import AUTH_RESPONSES, BODY_RESPONSES, AuthenticatedRoute, CurrentUser

NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "The task does not exist"}
}
CONDITIONAL = NOT_FOUND | {
    412: {"model": ErrorResponse, "description": "The task has changed since it was read"}
}

router = APIRouter(
    prefix="/api{user_id:optional_user}/tasks",
    tags=["tasks"],
    route_class=AuthenticatedRoute,
    responses=AUTH_RESPONSES,
    strict_content_type=False,  # a body without a Content-Type is JSON
)

# The routes declare `response_model` for the OpenAPI document only. They return a Response, because
# PostgreSQL has already written the JSON, which FastAPI would otherwise parse and write again.


@router.get("", response_model=list[Task], response_description="The tasks")
async def list_tasks(request: Request, user: CurrentUser, query: TaskListQuery) -> Response:
    """List your tasks.

    Without `limit` the response is the whole list. With `limit` it is one page: follow the `Link`
    header with `rel="next"` until there is none.
    """
    page = await tasks.list_tasks(user, query, read_cursor(user, query))
    headers = {}
    if page.total is not None:
        headers["X-Total-Count"] = str(page.total)
    if page.last is not None:
        headers["Link"] = link_to_next_page(request, user, query, page.last)
    return Response(page.body, media_type="application/json", headers=headers)


@router.post(
    "",
    response_model=Task,
    status_code=201,
    responses=BODY_RESPONSES,
    response_description="The new task",
)
async def create_task(
    request: Request,
    user: CurrentUser,
    new_task: TaskCreate,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a task.

    With an `Idempotency-Key` you can send the request again after a lost response: it creates one
    task, and returns the same response.
    """
    task = await tasks.create_task(user, new_task, idempotency_key)
    return _task_response(task, 201, Location=f"{tasks_path(request, user)}/{task.id}")


@router.get("/stats", response_model=TaskStatistics, response_description="The statistics")
async def count_tasks(user: CurrentUser) -> Response:
    """Count your tasks, by priority and by tag too."""
    return Response(await tasks.count_tasks(user), media_type="application/json")


@router.get(
    "/changes",
    response_model=TaskChanges,
    responses={410: {"model": ErrorResponse, "description": "Start again without `since`"}},
    response_description="The changes",
)
async def list_task_changes(user: CurrentUser, query: TaskChangesQuery) -> Response:
    """List what has changed since an earlier response.

    The first request has no `since` and returns all tasks. Apply each page to your copy: replace
    `tasks`, remove `deleted`. Then send `next` as `since`, at once while `more` is true. When
    `more` is false, your copy equals the server's tasks. No change is missed, but one may come
    twice. A `since` is good for 30 days.
    """
    changes = await list_changes(user, read_feed_token(user, query.since), query.limit)
    body = changes.body(make_feed_token(user, changes.next))
    return Response(body, media_type="application/json")


@router.get(
    "/{task_id:task_id}",
    response_model=Task,
    responses=NOT_FOUND | {304: {"description": "Unchanged: `If-None-Match` names its ETag"}},
    response_description="The task",
)
async def get_task(
    user: CurrentUser, task_id: TaskId, if_none_match: IfNoneMatch = None
) -> Response:
    """Get a task.

    Its `ETag` makes later changes safe (`If-Match`) and later reads cheap (`If-None-Match`).
    """
    task = await tasks.get_task(user, task_id)
    if is_unchanged(if_none_match, task.etag):
        return Response(status_code=304, headers=_task_headers(task))
    return _task_response(task)


@router.api_route(
    "/{task_id:task_id}",
    methods=["PUT", "PATCH"],
    response_model=Task,
    responses=CONDITIONAL | BODY_RESPONSES,
    response_description="The task after the change",
)
async def update_task(
    user: CurrentUser,
    task_id: TaskId,
    changes: TaskUpdate,
    precondition: WritePrecondition,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Change a task.

    `PUT` and `PATCH` do the same. Fields that you leave out stay as they are; `"description": null`
    clears it. With `If-Match` nothing changes if somebody else has changed the task since you read
    it. With an `Idempotency-Key` you can send the request again after a lost response.
    """
    task = await tasks.update_task(user, task_id, changes, precondition, idempotency_key)
    return _task_response(task)


@router.delete(
    "/{task_id:task_id}",
    status_code=204,
    responses=CONDITIONAL | BODY_RESPONSES,
    response_description="Deleted",
)
async def delete_task(
    user: CurrentUser, task_id: TaskId, precondition: WritePrecondition, query: TaskDeleteQuery
) -> Response:
    """Delete a task.

    It is in the trash for 30 days: `status=deleted` lists it, and it can be restored. With
    `permanent=true` its text is erased at once, also if it is in the trash already.
    """
    if query.permanent == "true":
        await tasks.erase_task(user, task_id, precondition)
        return Response(status_code=204)
    deleted = await tasks.delete_task(user, task_id, precondition)
    return Response(status_code=204, headers={"ETag": f'"{deleted.etag}"'})


@router.post(
    "/{task_id:task_id}/restore",
    response_model=Task,
    responses=CONDITIONAL | BODY_RESPONSES,
    response_description="The restored task",
)
async def restore_task(
    user: CurrentUser,
    task_id: TaskId,
    precondition: WritePrecondition,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Restore a deleted task.

    A task that is not in the trash stays as it is, so the request can be repeated. With `If-Match`
    nothing changes unless the task still has that `ETag`, which the deletion has returned.
    """
    task = await tasks.restore_task(user, task_id, precondition, idempotency_key)
    return _task_response(task)


@router.patch(
    "/{task_id:task_id}/complete",
    response_model=Task,
    responses=CONDITIONAL | BODY_RESPONSES,
    response_description="The task after the change",
)
async def complete_task(
    user: CurrentUser,
    task_id: TaskId,
    precondition: WritePrecondition,
    completion: TaskComplete | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Complete a task, or reopen it.

    Without a body this toggles. `{"completed": true}` sets it, however often you send it.
    """
    task = await tasks.complete_task(user, task_id, completion, precondition, idempotency_key)
    return _task_response(task)


def _task_headers(task: StoredTask) -> dict[str, str]:
    return {"ETag": f'"{task.etag}"', "Cache-Control": "private, no-cache"}


def _task_response(task: StoredTask, status: int = 200, **headers: str) -> Response:
    return Response(
        task.body, status, media_type="application/json", headers=_task_headers(task) | headers
    )


def release() -> None:
    """Close all connections and drop all secrets: at exit, and before a snapshot."""
    close_pools()
    forget_signatures()


app = create_app(router, needs=("DATABASE_URL", "BETTER_AUTH_SECRET"), at_exit=release)
lambda_handler = create_lambda_handler(app)
