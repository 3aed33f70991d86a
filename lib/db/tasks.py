"""The operations on tasks. Each is one transaction of one user, in one round trip.

Only a whole list with more than 0.67 MB of text takes two.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, LiteralString, NamedTuple

from lib.db import compiled
from lib.db.transaction import run_transaction
from lib.db.transport import Rows, Statement
from lib.db.users import profile_values, users_are_shared
from lib.errors import (
    DatabaseNotPrepared,
    InvalidInput,
    TaskChanged,
    TaskNotFound,
    UserNotProvisioned,
)
from lib.schemas import (
    ALWAYS,
    PRIORITIES,
    AuthenticatedUser,
    Precondition,
    Task,
    TaskComplete,
    TaskCreate,
    TaskQuery,
    TaskUpdate,
)
from lib.settings import load_settings

# How priorities are stored.
RANKS = {name: rank for rank, name in enumerate(("none", *PRIORITIES))}
# The values of `status` that filter by the completion.
COMPLETED = {"completed": True, "pending": False}
# The statements of a transaction see different states if other requests commit between them. If a
# task was moved meanwhile, nothing was changed, and the operation is tried again.
MAX_TRIES = 3
MAX_LIST_BYTES = 4_000_000
# On Lambda a list is sent as a JSON string, with quotes and backslashes escaped, of at most 6 MB.
MAX_ESCAPED_LIST_BYTES = 6_000_000


class StoredTask:
    """A task as the JSON document that clients get.

    `etag` is a digest of the document: two states of a task have different ones, in any database.
    `_etag` in lib/db/queries.py computes the same from a row.
    """

    def __init__(self, document: str, id_: int) -> None:
        self.id = id_
        self.body = document.encode()
        self.etag = sha256(self.body).hexdigest()[:32]


class TaskPage(NamedTuple):
    """A JSON array of tasks.

    `total` is the number of all tasks that match, where it was counted. `last` is the position of
    the last task (its sort key and id) where there is a next page.
    """

    body: bytes
    total: int | None
    last: tuple[str, int] | None = None


async def list_tasks(
    user: AuthenticatedUser, query: TaskQuery, after: tuple[str, int] | None
) -> TaskPage:
    """The tasks that match, or one page of them after the position `after`.

    Raises InvalidInput for a whole list that is too large.
    """
    if query.limit is None:
        return await _whole_list(user, query)
    order, filters = f"{query.sort_key} {query.direction}", _filters(query)
    values: dict[str, Any] = {
        "owner": user.id,
        **filters,
        "limit": query.limit,
        "offset": query.offset or 0,
        "after": after and after[0],
        "after_id": after and after[1],
    }
    deleted, counted = query.status == "deleted", query.count == "true"
    filtered = bool(query.offset) or _apply(filters)
    if deleted:
        statement = compiled.TRASH_PAGE[order]
    elif counted:
        statement = compiled.COUNTED_PAGE[order]
    elif filtered:
        statement = compiled.FILTERED_PAGE[order]
    elif after:
        statement = compiled.LIST_NEXT_PAGE[order]
    else:
        statement = compiled.LIST_FIRST_PAGE[order]
    prepare = not (deleted or counted or filtered)
    [rows] = await run_transaction(user.id, (statement, values), prepare=prepare)
    total = rows[0][3] if counted else None
    rows = [row for row in rows if row[0] is not None]
    page = rows[: query.limit]
    body = f"[{','.join([row[0] for row in page])}]".encode()
    return TaskPage(body, total, page[-1][1:3] if len(rows) > len(page) else None)


async def _whole_list(user: AuthenticatedUser, query: TaskQuery) -> TaskPage:
    filters, deleted = _filters(query), query.status == "deleted"
    order = f"{query.sort_key} {query.direction}"
    values = {"owner": user.id, **filters, "max_bytes": MAX_LIST_BYTES}
    if not deleted and not _apply(filters):
        [rows] = await run_transaction(user.id, (compiled.LIST_WHOLE[order], values))
        if rows[:1] != [(None,)]:
            return _whole_page(",".join([document for (document,) in rows]), len(rows))
    # Also for a list without filters that may be too large.
    statements = compiled.TRASH_WHOLE if deleted else compiled.FILTERED_WHOLE
    [rows] = await run_transaction(user.id, (statements[order], values), prepare=False)
    documents, total = rows[0] if rows else (None, 0)
    return _whole_page(documents, total)


def _whole_page(documents: str | None, total: int) -> TaskPage:
    """Raises InvalidInput for a list that is too large: PostgreSQL does not build most of them."""
    body = f"[{documents}]".encode()
    if documents is None or not _fits(body):
        raise InvalidInput(
            "The list is too large for one response. Use limit and follow the Link header.",
            location=("query", "limit"),
            kind="missing",
        )
    return TaskPage(body, total)


def _filters(query: TaskQuery) -> dict[str, Any]:
    """The parameters of the filters: null for one that does not apply."""
    return {
        "completed": COMPLETED.get(query.status),
        "priority": [RANKS[name] for name in query.priority] or None,
        "tag": query.tag or None,
        "due_from": query.due_from,
        "due_to": query.due_to,
        "q": query.q or None,
    }


def _apply(filters: dict[str, Any]) -> bool:
    return any(value is not None for value in filters.values())


def _fits(body: bytes) -> bool:
    if len(body) > MAX_LIST_BYTES:
        return False
    if 2 * len(body) <= MAX_ESCAPED_LIST_BYTES:
        return True
    return len(body) + body.count(b'"') + body.count(b"\\") <= MAX_ESCAPED_LIST_BYTES


async def count_tasks(user: AuthenticatedUser) -> bytes:
    """The JSON of lib.schemas.TaskStatistics."""
    [[(statistics,)]] = await run_transaction(user.id, (compiled.STATISTICS, {"owner": user.id}))
    return statistics.encode()


async def get_task(user: AuthenticatedUser, task_id: int) -> StoredTask:
    """Raises TaskNotFound."""
    [rows] = await run_transaction(user.id, (compiled.GET, {"owner": user.id, "task_id": task_id}))
    if not rows:
        raise TaskNotFound
    return StoredTask(*rows[0])


async def create_task(
    user: AuthenticatedUser, new_task: TaskCreate, idempotency_key: str | None = None
) -> StoredTask:
    """Store a new task, and the user's row if there is none (setting PROVISION_USERS).

    Raises UserNotProvisioned if the user has no row and none is added, and InvalidInput for a key
    that was used for another request.
    """
    provision = load_settings().PROVISION_USERS
    values: dict[str, Any] = {"owner": user.id, **new_task.model_dump()}
    if provision:
        values |= profile_values(user)
    if idempotency_key is None:
        statement = compiled.CREATE_WITH_USER if provision else compiled.CREATE
        [rows] = await _create(user, (statement, values), writes=True)
        return StoredTask(*_stored(rows))
    values |= _idempotent(idempotency_key, "create", new_task.model_dump(exclude_unset=True))
    statement = compiled.CREATE_ONCE_WITH_USER if provision else compiled.CREATE_ONCE
    [_, records] = await _create(
        user, (statement, values), (compiled.RECORD, values), writes=True, repeatable=True
    )
    return _recorded(records, values)


async def _create(user: AuthenticatedUser, *statements: Statement, **options: bool) -> list[Rows]:
    try:
        return await run_transaction(user.id, *statements, **options)
    except UserNotProvisioned:
        if not load_settings().PROVISION_USERS or await users_are_shared(user):
            raise
    # The row may have been deleted between its insertion, which found it, and the task's.
    try:
        return await run_transaction(user.id, *statements, **options)
    except UserNotProvisioned as error:
        not_prepared = DatabaseNotPrepared()
        not_prepared.reason = "a trigger or a rule skipped the new row of users"
        raise not_prepared from error


async def update_task(
    user: AuthenticatedUser,
    task_id: int,
    changes: TaskUpdate,
    precondition: Precondition = ALWAYS,
    idempotency_key: str | None = None,
) -> StoredTask:
    """Change the given fields. Raises TaskNotFound, TaskChanged, InvalidInput."""
    values = {
        "owner": user.id,
        "task_id": task_id,
        **changes.model_dump(),
        "given": list(changes.model_fields_set),
        **_condition(precondition),
    }
    if idempotency_key is None:
        return StoredTask(*await _change(user, compiled.UPDATE, values))
    given = changes.model_dump(exclude_unset=True)
    values |= _idempotent(
        idempotency_key, "update", task_id, given, *_hashed_condition(precondition)
    )
    return await _change_once(user, compiled.UPDATE_ONCE, values)


async def complete_task(
    user: AuthenticatedUser,
    task_id: int,
    completion: TaskComplete | None = None,
    precondition: Precondition = ALWAYS,
    idempotency_key: str | None = None,
) -> StoredTask:
    """Set the completion, or toggle it. Raises TaskNotFound, TaskChanged, InvalidInput."""
    completed = completion.completed if completion else None
    values: dict[str, Any] = {
        "owner": user.id,
        "task_id": task_id,
        "completed": completed,
        **_condition(precondition),
    }
    if idempotency_key is None:
        return StoredTask(*await _change(user, compiled.COMPLETE, values))
    values |= _idempotent(
        idempotency_key, "complete", task_id, completed, *_hashed_condition(precondition)
    )
    return await _change_once(user, compiled.COMPLETE_ONCE, values)


async def delete_task(
    user: AuthenticatedUser, task_id: int, precondition: Precondition = ALWAYS
) -> StoredTask:
    """Move a task to the trash. Returns its version there. Raises TaskNotFound, TaskChanged."""
    values = {"owner": user.id, "task_id": task_id, **_condition(precondition)}
    # The trigger after_delete makes that version.
    return StoredTask(*await _change(user, compiled.DELETE, values, compiled.GET_DELETED))


async def erase_task(
    user: AuthenticatedUser, task_id: int, precondition: Precondition = ALWAYS
) -> None:
    """Delete a task permanently, in or out of the trash. Raises TaskNotFound, TaskChanged."""
    values = {"owner": user.id, "task_id": task_id, **_condition(precondition)}
    for _ in range(MAX_TRIES):
        [_, _, erased, [(exists,)], [(exists_erasable,)]] = await run_transaction(
            user.id,
            (compiled.LOCK_DELETED, values),
            (compiled.DELETE, values),
            (compiled.ERASE, values),
            (compiled.EXISTS, values),
            (compiled.EXISTS_ERASABLE, values),
            writes=True,
        )
        if erased:
            return
        if not exists and not exists_erasable:
            break
        if precondition.etags is not None:
            raise TaskChanged
    raise TaskNotFound


async def restore_task(
    user: AuthenticatedUser,
    task_id: int,
    precondition: Precondition = ALWAYS,
    idempotency_key: str | None = None,
) -> StoredTask:
    """Move a task out of the trash. A task that is not in the trash stays as it is.

    Raises TaskNotFound, TaskChanged, InvalidInput.
    """
    values = {"owner": user.id, "task_id": task_id, **_condition(precondition)}
    if idempotency_key is None:
        for _ in range(MAX_TRIES):
            [restored, tasks, [(exists_deleted,)]] = await run_transaction(
                user.id,
                (compiled.RESTORE, values),
                (compiled.GET, values),
                (compiled.EXISTS_DELETED, values),
                writes=True,
            )
            if restored:
                return StoredTask(*restored[0])
            if task := _live_task(tasks, precondition, exists_deleted=exists_deleted):
                return task
        raise TaskNotFound
    values |= _idempotent(idempotency_key, "restore", task_id, *_hashed_condition(precondition))
    # Where another request restores the task at the same time, the first try finds it neither in
    # the trash nor outside, and records nothing.
    task = None
    for _ in range(MAX_TRIES):
        [_, records, tasks, [(exists_deleted,)]] = await run_transaction(
            user.id,
            (compiled.RESTORE_ONCE, values),
            (compiled.RECORD, values),
            (compiled.GET, values),
            (compiled.EXISTS_DELETED, values),
            writes=True,
            repeatable=True,
        )
        if records:
            return _recorded(records, values)
        task = _live_task(tasks, precondition, exists_deleted=exists_deleted)
    if task is None:
        raise TaskNotFound
    return task


def _live_task(
    tasks: Rows, precondition: Precondition, *, exists_deleted: bool
) -> StoredTask | None:
    """A task that was not restored, because it was not in the trash.

    Returns None if another request moved it there meanwhile, so that it can be restored now.
    """
    if not tasks:
        if not exists_deleted:
            raise TaskNotFound
        if precondition.etags is not None:
            raise TaskChanged
        return None
    task = StoredTask(*tasks[0])
    if not precondition.is_met_by(task.etag):
        raise TaskChanged
    return task


async def _change(
    user: AuthenticatedUser,
    statement: LiteralString,
    values: Mapping[str, Any],
    *result: LiteralString,
) -> tuple[Any, ...]:
    """Run `statement`. Returns its row, or that of the statement `result`, which follows."""
    conditional = values["etags"] is not None
    texts: list[LiteralString] = [statement, *result]
    if conditional:
        texts.append(compiled.EXISTS)
    statements: list[Statement] = [(text, values) for text in texts]
    # Not repeatable: after a lost response, a second try could undo what somebody else has changed
    # since the first.
    results = await run_transaction(user.id, *statements, writes=True)
    if not results[0]:
        raise TaskChanged if conditional and results[-1] == [(True,)] else TaskNotFound
    return _stored(results[len(result)])


async def _change_once(
    user: AuthenticatedUser, statement: LiteralString, values: Mapping[str, Any]
) -> StoredTask:
    records: Rows = []
    for _ in range(MAX_TRIES):
        [_, records, [(exists,)]] = await run_transaction(
            user.id,
            (statement, values),
            (compiled.RECORD, values),
            (compiled.EXISTS, values),
            writes=True,
            repeatable=True,
        )
        if records:
            break
        if not exists:
            raise TaskNotFound
        if values["etags"] is not None:
            raise TaskChanged
    return _recorded(records, values)


def _condition(precondition: Precondition) -> dict[str, Any]:
    return {"etags": precondition.etags, "must_match": precondition.must_match}


def _hashed_condition(precondition: Precondition) -> list[Any]:
    # The records of earlier versions contain only the ETags, so only other conditions add to them.
    added = {"any_etag": precondition.any_etag, "must_not_match": not precondition.must_match}
    return [precondition.etags, *(name for name, applies in added.items() if applies)]


def _idempotent(key: str, *request: Any) -> dict[str, str]:
    """A key, and a digest of what was requested with it, without defaults."""
    return {
        "key": key,
        "request_hash": sha256(json.dumps(request, sort_keys=True).encode()).hexdigest(),
    }


def _stored(rows: Rows) -> tuple[Any, ...]:
    if not rows:
        not_prepared = DatabaseNotPrepared()
        not_prepared.reason = "a trigger or a rule skipped the new row"
        raise not_prepared
    return rows[0]


def _recorded(records: Rows, values: Mapping[str, Any]) -> StoredTask:
    request_hash, *task = _stored(records)
    if request_hash != values["request_hash"]:
        raise InvalidInput(
            "This Idempotency-Key was used for another request. Use a new key.",
            location=("header", "Idempotency-Key"),
            kind="idempotency_key_reused",
        )
    document, task_id = task
    if not document:  # the task was deleted permanently
        raise TaskNotFound
    return StoredTask(_complete_document(document), task_id)


def _complete_document(document: str) -> str:
    """A document of an earlier release with the fields that were added since.

    The previous version of the code stores records while this one is deployed. The document equals
    the task's, so its ETag is the task's too.
    """
    if all(f'"{name}":' in document for name in Task.model_fields):
        return document
    task = json.loads(document)
    defaults = TaskCreate(title="unused").model_dump()
    defaults["completed_at"] = task["updated_at"] if task["completed"] else None
    ordered = {name: (defaults | task)[name] for name in Task.model_fields}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))
