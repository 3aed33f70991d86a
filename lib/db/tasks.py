"""Every operation on what users own: one statement each, always of one owner; knows no Request and
no status code.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import errors as sql_errors

from lib.db import compiled as sql
from lib.db.pool import Session
from lib.errors import (
    DatabaseNotPrepared,
    InvalidInput,
    TaskChanged,
    TaskNotFound,
    UserNotProvisioned,
)
from lib.schemas import TaskComplete, TaskCreate, TaskQuery, TaskUpdate

SORT_COLUMNS = {"created": "created_at", "updated": "updated_at"}


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task as the JSON document that clients get; `version` grows by one with each change."""

    json: str
    id: int
    version: int


@dataclass(frozen=True, slots=True)
class TaskList:
    """A JSON array of tasks; `last` is the place where the next page starts, if there is one."""

    json: str
    total: int | None
    last: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What a token says of a user: enough to make the row that tasks refer to."""

    name: str
    email: str
    email_verified: bool


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key, and the hash of everything that was asked under it."""

    key: str
    request_hash: str


def list_tasks(
    session: Session, owner: str, query: TaskQuery, after: tuple[str, int] | None
) -> TaskList:
    """The tasks that match, or one page of them behind the place `after`."""
    sort = SORT_COLUMNS.get(query.sort, query.sort)
    order = query.order or ("asc" if sort == "title" else "desc")
    values: dict[str, Any] = {
        "owner": owner,
        "completed": None if query.status == "all" else query.status == "completed",
        "pattern": _containing(query.q) if query.q else None,
    }
    if query.limit is None:
        [[(documents, total)]] = session.fetch((sql.LIST_WHOLE[f"{sort} {order}"], values))
        return TaskList(f"[{documents}]", total)
    values |= {
        "limit": query.limit,
        "after": after and after[0],
        "after_id": after and after[1],
        "count": query.count == "true",
    }
    [[(documents, place, last_id, total)]] = session.fetch(
        (sql.LIST_PAGE[f"{sort} {order}"], values)
    )
    documents = documents or []
    more = len(documents) > query.limit
    return TaskList(
        f"[{','.join(documents[: query.limit])}]", total, (place, last_id) if more else None
    )


def _containing(text: str) -> str:
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"


def get_task(session: Session, owner: str, task_id: int) -> StoredTask:
    """Raises TaskNotFound."""
    [rows] = session.fetch((sql.GET, {"owner": owner, "task_id": task_id}))
    if not rows:
        raise TaskNotFound
    return StoredTask(*rows[0])


def create_task(
    session: Session,
    owner: str,
    task: TaskCreate,
    account: Account | None,
    once: Once | None,
) -> StoredTask:
    """Store a new task, and first its owner where an `account` is given.

    Raises UserNotProvisioned if the owner has no row and gets none, InvalidInput for a key that was used
    for another request.
    """
    values: dict[str, Any] = {"owner": owner, **task.model_dump(), **_account_values(account)}
    with _of_known_user(account):
        if once:
            statement = sql.CREATE_ONCE_WITH_ACCOUNT if account else sql.CREATE_ONCE
            [_, records] = _fetch_once(session, statement, values, once)
            return _recorded(records, once)
        statement = sql.CREATE_WITH_ACCOUNT if account else sql.CREATE
        [[row]] = session.fetch((statement, values))
        return StoredTask(*row)


def _account_values(account: Account | None) -> dict[str, Any]:
    """What statements that make the owner's row want besides."""
    if account is None:
        return {}
    return {
        "account_name": account.name,
        "account_email": account.email,
        "account_email_verified": account.email_verified,
    }


@contextmanager
def _of_known_user(account: Account | None) -> Generator[None]:
    """Raises UserNotProvisioned where the owner has no row and gets none."""
    try:
        yield
    except (sql_errors.ForeignKeyViolation, sql_errors.NotNullViolation) as error:
        # The user was deleted while the token lives on, another user has the same e-mail address,
        # or the table wants columns that no token holds.
        raise UserNotProvisioned from error
    except (sql_errors.UndefinedColumn, sql_errors.InsufficientPrivilege) as error:
        if account is None:
            raise
        # A users table with other columns, or one that this role may not write.
        raise UserNotProvisioned from error


def update_task(
    session: Session, owner: str, task_id: int, changes: TaskUpdate, versions: list[int] | None
) -> StoredTask:
    """Change the given fields. Raises TaskNotFound, or TaskChanged for none of these `versions`."""
    values = {
        "owner": owner,
        "task_id": task_id,
        "title": changes.title,
        "description": changes.description,
        "set_description": "description" in changes.model_fields_set,
        "completed": changes.completed,
        "versions": versions,
    }
    return StoredTask(*_change(session, sql.UPDATE, values))


def complete_task(
    session: Session,
    owner: str,
    task_id: int,
    wanted: TaskComplete | None,
    versions: list[int] | None,
    once: Once | None,
) -> StoredTask:
    """Set the completion, or toggle it. Raises TaskNotFound, TaskChanged, InvalidInput."""
    values = {
        "owner": owner,
        "task_id": task_id,
        "completed": wanted.completed if wanted else None,
        "versions": versions,
    }
    if once is None:
        return StoredTask(*_change(session, sql.COMPLETE, values))
    [_, records, [(exists,)]] = _fetch_once(
        session, sql.COMPLETE_ONCE, values, once, (sql.EXISTS, values)
    )
    if not records:
        raise TaskChanged if exists else TaskNotFound
    return _recorded(records, once)


def delete_task(session: Session, owner: str, task_id: int, versions: list[int] | None) -> None:
    """Raises TaskNotFound, or TaskChanged for none of these `versions`."""
    _change(session, sql.DELETE, {"owner": owner, "task_id": task_id, "versions": versions})


def check_ready(session: Session) -> bool:
    """Whether row-level security holds the role that asks.

    Raises Unavailable if the tables are not there or not ours to use.
    """
    try:
        [[(held, *_)]] = session.fetch((sql.READY, {}))
    except (sql_errors.UndefinedTable, sql_errors.InsufficientPrivilege) as error:
        raise DatabaseNotPrepared from error
    return held


def _change(
    session: Session, statement: LiteralString, values: Mapping[str, Any]
) -> tuple[Any, ...]:
    if values["versions"] is None:
        [rows] = session.fetch((statement, values))
        exists = False
    else:
        [rows, [(exists,)]] = session.fetch((statement, values), (sql.EXISTS, values))
    if not rows:
        raise TaskChanged if exists else TaskNotFound
    return rows[0]


def _fetch_once(
    session: Session, statement: LiteralString, values: dict[str, Any], once: Once, *more: Any
) -> list[list[tuple[Any, ...]]]:
    values |= {"key": once.key, "request_hash": once.request_hash}
    return session.fetch((statement, values), (sql.RECORD, values), *more)


def _recorded(records: list[tuple[Any, ...]], once: Once) -> StoredTask:
    [(request_hash, *task)] = records
    if request_hash != once.request_hash:
        raise InvalidInput(
            "This Idempotency-Key was used for another request. Use a new key.",
            location=("header", "Idempotency-Key"),
            kind="idempotency_key_reused",
        )
    return StoredTask(*task)
