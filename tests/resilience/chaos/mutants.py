"""Bugs that the checker must find. Each breaks the application in one way."""

import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from importlib import import_module
from inspect import signature
from types import ModuleType
from typing import Any

import psycopg

from lib.db import (
    compiled,
    http_connection,
    http_protocol,
    pipeline,
    retention,
    transaction,
    waiting,
)
from lib.db import tasks as store
from lib.db.connection import Connection
from lib.db.transport import NotConnected, OperationalError, Statement
from lib.errors import DatabaseUnavailable, TaskNotFound
from lib.mcp import tools as mcp_tools
from lib.schemas import (
    ALWAYS,
    AuthenticatedUser,
    Precondition,
    TaskCreate,
    TaskQuery,
    TaskUpdate,
)
from lib.settings import load_settings

MUTANTS: dict[str, Callable[[], None]] = {}
# These make faults that a sound application survives: the checker must find nothing.
CONTROLS: dict[str, Callable[[], None]] = {}
# Only followers can find these.
FEEDS = {
    "feed-by-timestamp",
    "feed-by-sequence",
    "feed-of-later-transactions",
    "feed-with-later-token",
    "feed-without-deletions",
    "feed-ending-with-last-page",
}
# Only requests by the HTTP transport can find these.
OF_HTTP = {"http-closed-connection-is-not-sent", "http-lost-response-is-not-sent"}
# Row-level security alone would hide these: they connect as the owner of the tables.
WITHOUT_ROW_SECURITY = {
    "owner-forgotten",
    "restored-by-anyone",
    "retention-of-live-tasks",
    "retention-of-trash-too-early",
    "retention-of-records-too-early",
}

_uncommitted: list[psycopg.Connection[Any]] = []


def mutant(
    name: str, register: dict[str, Callable[[], None]] = MUTANTS
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(apply: Callable[[], None]) -> Callable[[], None]:
        register[name] = apply
        return apply

    return add


def apply(name: str) -> None:
    (MUTANTS | CONTROLS)[name]()


def replace(module: ModuleType, name: str, value: Any) -> None:
    """Replace an attribute for the rest of the process, which ends with the run."""
    assert hasattr(module, name)
    setattr(module, name, value)


def before_event() -> None:
    """Run postponed work: a sandbox is frozen between a response and the next event."""
    while _uncommitted:
        connection = _uncommitted.pop()
        with contextlib.suppress(psycopg.OperationalError):
            connection.execute("COMMIT")
        connection.close()


@mutant("if-match-ignored")
def ignore_if_match() -> None:
    replace(store, "_condition", lambda _: {"etags": None, "must_match": True})


@mutant("toggle-by-read-then-write")
def toggle_by_read_then_write() -> None:
    """In the operation itself, so that it is the one of requests and of tools, with or without a
    key.
    """
    change, change_once = store._change, store._change_once

    async def read_first(user: AuthenticatedUser, values: Any) -> Any:
        if "completed" not in values or values["completed"] is not None:
            return values
        before = json.loads((await store.get_task(user, values["task_id"])).body)
        return {**values, "completed": not before["completed"]}

    async def change_later(user: Any, statement: Any, values: Any, *result: Any) -> Any:
        if statement == compiled.COMPLETE:
            values = await read_first(user, values)
        return await change(user, statement, values, *result)

    async def change_once_later(user: Any, statement: Any, values: Any) -> store.StoredTask:
        if statement == compiled.COMPLETE_ONCE:
            values = await read_first(user, values)
        return await change_once(user, statement, values)

    replace(store, "_change", change_later)
    replace(store, "_change_once", change_once_later)


@mutant("key-ignored")
def ignore_keys() -> None:
    for name in ("create_task", "update_task", "complete_task", "restore_task"):
        replace(store, name, _without_key(getattr(store, name)))


def _without_key(operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    parameters = signature(operation)

    async def run(*arguments: Any, **options: Any) -> Any:
        bound = parameters.bind(*arguments, **options)
        bound.arguments.pop("idempotency_key", None)
        return await operation(*bound.args, **bound.kwargs)

    return run


type Interlude = Callable[[Connection, Statement, Statement, list[Any]], Awaitable[None]]


async def _no_interlude(*_: Any) -> None:
    pass


def lose_responses(
    *,
    applies: Callable[[Statement], bool] = lambda _: True,
    repeatable: bool,
    interlude: Interlude = _no_interlude,
) -> None:
    """Lose the response to the first attempt of each write that must not be repeated.

    With `repeatable` such writes are repeated all the same, after an `interlude`.
    """
    run_transaction, run = store.run_transaction, pipeline.run
    loses: ContextVar[bool] = ContextVar("loses", default=False)

    async def run_unrepeatable(user_id: Any, *statements: Statement, **options: Any) -> Any:
        if not options.get("writes") or options.get("repeatable") or not applies(statements[0]):
            return await run_transaction(user_id, *statements, **options)
        loses.set(True)
        return await run_transaction(user_id, *statements, **options, repeatable=repeatable)

    async def run_and_lose(
        connection: Connection, first: Statement, *statements: Statement, **options: Any
    ) -> Any:
        rows = await run(connection, first, *statements, **options)
        if statements and loses.get():
            loses.set(False)
            await interlude(connection, first, statements[0], rows)
            connection.close()
            raise psycopg.OperationalError("the response was lost")
        return rows

    replace(store, "run_transaction", run_unrepeatable)
    replace(pipeline, "run", run_and_lose)


@mutant("lost-responses", CONTROLS)
def lose_every_response() -> None:
    lose_responses(repeatable=False)


@mutant("blind-repeat")
def repeat_blindly() -> None:
    lose_responses(repeatable=True)


@mutant("repeat-that-undoes")
def repeat_updates() -> None:
    """An update without a condition is repeated after another client has changed the task."""

    async def await_another_change(
        connection: Connection, first: Statement, update: Statement, rows: list[Any]
    ) -> None:
        for _ in range(25):
            [[row]] = await _run(connection, first, (compiled.GET, update[1]))
            if row != rows[0][0]:
                return
            await waiting.sleep(0.1)

    _run = pipeline.run
    lose_responses(
        applies=lambda statement: (
            statement[0] == compiled.UPDATE
            and statement[1]["etags"] is None
            and "description" in statement[1]["given"]
        ),
        repeatable=True,
        interlude=await_another_change,
    )


@mutant("commit-after-the-response")
def commit_after_the_response() -> None:
    run_transaction = store.run_transaction

    async def run_uncommitted(user_id: str, *statements: Statement, **options: Any) -> Any:
        if not options.get("writes"):
            return await run_transaction(user_id, *statements, **options)
        settings = load_settings()
        limits = {"user_id": user_id, "statement_timeout": "4000", "lock_timeout": "1500"}
        try:
            connection = psycopg.connect(settings.DATABASE_URL or "", connect_timeout=4)
            connection.execute(transaction.SESSION_SETTINGS, limits)
            cursors = [connection.execute(text, values) for text, values in statements]
            rows = [cursor.fetchall() if cursor.description else [] for cursor in cursors]
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(outcome_unknown=True) from error
        _uncommitted.append(connection)
        if settings.platform != "lambda":
            before_event()
        return rows

    replace(store, "run_transaction", run_uncommitted)


@mutant("error-reported-as-success")
def report_errors_as_success() -> None:
    delete_task = store.delete_task

    async def delete_or_ignore(*arguments: Any) -> store.StoredTask:
        with contextlib.suppress(DatabaseUnavailable):
            return await delete_task(*arguments)
        return store.StoredTask(str(random.random()), 1)

    replace(store, "delete_task", delete_or_ignore)


@mutant("error-reported-as-not-found")
def report_errors_as_not_found() -> None:
    run_transaction = store.run_transaction

    async def run_or_deny(*arguments: Any, **options: Any) -> Any:
        try:
            return await run_transaction(*arguments, **options)
        except DatabaseUnavailable as error:
            raise TaskNotFound from error

    replace(store, "run_transaction", run_or_deny)


@mutant("nothing-was-changed-is-false")
def claim_that_nothing_was_changed() -> None:
    class Claim(DatabaseUnavailable):
        def __init__(self, *, outcome_unknown: bool) -> None:
            super().__init__(outcome_unknown=False)

    replace(transaction, "DatabaseUnavailable", Claim)


@mutant("deleted-without-trash")
def delete_without_trash() -> None:
    async def delete(
        user: Any, task_id: int, precondition: Precondition = ALWAYS
    ) -> store.StoredTask:
        await store.erase_task(user, task_id, precondition)
        return store.StoredTask(str(random.random()), task_id)

    replace(store, "delete_task", delete)


@mutant("restored-without-new-version")
def restore_without_new_version() -> None:
    for name in ("RESTORE", "RESTORE_ONCE"):
        _replace_text(name, "deleted.version + 1", "deleted.version")


@mutant("erased-but-not-in-records")
def erase_but_not_in_records() -> None:
    _replace_text("ERASE", "SET task=''", "SET task=idempotency_keys.task")


@mutant("erased-into-trash")
def erase_into_trash() -> None:
    replace(store, "erase_task", store.delete_task)


@mutant("restored-by-anyone")
def restore_for_anyone() -> None:
    for name in ("RESTORE", "RESTORE_ONCE"):
        _replace_text(name, " AND deleted_tasks.user_id = %(owner)s::VARCHAR", "")


@mutant("restored-as-copy")
def restore_a_copy_too() -> None:
    restore_task = store.restore_task

    async def restore(user: Any, *arguments: Any, **options: Any) -> store.StoredTask:
        restored = await restore_task(user, *arguments, **options)
        await store.create_task(user, TaskCreate(title=json.loads(restored.body)["title"]))
        return restored

    replace(store, "restore_task", restore)


@mutant("trash-listed-as-live")
def list_the_trash_as_live() -> None:
    list_tasks = store.list_tasks

    async def list_all(user: Any, query: TaskQuery, after: Any) -> store.TaskPage:
        page = await list_tasks(user, query, after)
        if query.status != "all" or page.last:
            return page
        trash = await list_tasks(user, query.model_copy(update={"status": "deleted"}), None)
        parts = filter(None, (body[1:-1] for body in (page.body, trash.body)))
        return page._replace(body=b"[" + b",".join(parts) + b"]")

    replace(store, "list_tasks", list_all)


@mutant("update-forgets-a-field")
def forget_a_field_of_updates() -> None:
    update_task = store.update_task

    async def update(
        user: Any, task_id: int, changes: TaskUpdate, *arguments: Any, **options: Any
    ) -> store.StoredTask:
        given = changes.model_dump(exclude_unset=True)
        if "priority" in given:
            given.pop("tags", None)
        return await update_task(user, task_id, TaskUpdate(**given), *arguments, **options)

    replace(store, "update_task", update)


@mutant("patch-clears-absent-fields")
def clear_absent_fields() -> None:
    """A PATCH replaces the optional fields, as a PUT does in many other APIs."""
    update_task = store.update_task

    async def update(
        user: Any, task_id: int, changes: TaskUpdate, *arguments: Any, **options: Any
    ) -> store.StoredTask:
        cleared: dict[str, Any] = {"priority": None, "due_date": None, "tags": []}
        given = {**cleared, **changes.model_dump(exclude_unset=True)}
        return await update_task(user, task_id, TaskUpdate(**given), *arguments, **options)

    replace(store, "update_task", update)


@mutant("due-date-forgets-its-time")
def forget_the_time_of_due_dates() -> None:
    length = "length(%(due_date)s::VARCHAR)"
    for name in ("CREATE", "CREATE_ONCE", "CREATE_WITH_USER", "CREATE_ONCE_WITH_USER"):
        _replace_text(name, f"{length} = 10", f"{length} > 0")


# The HTTP transport. Each treats a lost response as a request that was not sent, which is repeated.


@mutant("http-closed-connection-is-not-sent")
def treat_a_closed_connection_as_not_sent() -> None:
    messages = (*http_protocol.LOGIN_MESSAGES, "connection closed")
    replace(http_protocol, "LOGIN_MESSAGES", messages)


@mutant("http-lost-response-is-not-sent")
def treat_a_lost_response_as_not_sent() -> None:
    run = http_connection.HttpConnection.run

    async def run_or_deny(self: Any, *statements: Statement, **options: Any) -> Any:
        try:
            return await run(self, *statements, **options)
        except OperationalError as error:
            if str(error) == "the connection ended before the response":
                raise NotConnected(str(error)) from error
            raise

    _replace_method(http_connection.HttpConnection, "run", run_or_deny)


# Tools of MCP.


@mutant("tool-of-first-user")
def call_tools_as_the_first_user() -> None:
    users: list[AuthenticatedUser] = []
    call = mcp_tools.Tool.call

    async def call_as_first(self: Any, user: AuthenticatedUser, arguments: Any) -> str:
        users.append(user)
        return await call(self, users[0], arguments)

    _replace_method(mcp_tools.Tool, "call", call_as_first)


@mutant("tool-ignores-key")
def ignore_keys_of_tools() -> None:
    call = mcp_tools.Tool.call

    async def call_without_key(self: Any, user: Any, arguments: dict[str, Any]) -> str:
        arguments.pop("idempotency_key", None)
        return await call(self, user, arguments)

    _replace_method(mcp_tools.Tool, "call", call_without_key)


@mutant("tool-never-opens")
def complete_whatever_the_tool_is_told() -> None:
    call = mcp_tools.Tool.call

    async def call_to_complete(self: Any, user: Any, arguments: dict[str, Any]) -> str:
        if self.name == "complete_task":
            arguments["completed"] = True
        return await call(self, user, arguments)

    _replace_method(mcp_tools.Tool, "call", call_to_complete)


# The retention job.


def _before_retention(statement: str) -> None:
    untyped: Any = f"WITH early AS ({statement}) {retention.REMOVE_EXPIRED}"
    replace(retention, "REMOVE_EXPIRED", untyped)


@mutant("retention-of-live-tasks")
def remove_live_tasks() -> None:
    _before_retention("DELETE FROM tasks WHERE created_at < now() - interval '1 year'")


@mutant("retention-of-trash-too-early")
def remove_trash_too_early() -> None:
    _before_retention(
        "UPDATE deleted_tasks SET title = '', purged_at = now()"
        " WHERE purged_at IS NULL AND deleted_at < now() - interval '29 days'"
    )


@mutant("retention-of-records-too-early")
def remove_records_too_early() -> None:
    _before_retention("DELETE FROM idempotency_keys WHERE created_at < now() - interval '23 hours'")


@mutant("retention-of-nothing")
def remove_nothing() -> None:
    nothing: Any = "SELECT 0, 0, 0, 0, 0, 0, 0.0::float FROM (SELECT %(max_rows)s::integer)"
    replace(retention, "REMOVE_EXPIRED", nothing)


def _replace_method(owner: type, name: str, method: Any) -> None:
    assert hasattr(owner, name)
    setattr(owner, name, method)


def _replace_text(name: str, old: str, new: str) -> None:
    text = getattr(compiled, name)
    assert old in text
    replace(compiled, name, text.replace(old, new))


# Feeds of changes. Each follower holds transactions open, which reveals them: see held.py.


@mutant("feed-by-timestamp")
def plant_feed_by_timestamp() -> None:
    _feeds().by_position(_feeds().BY_TIMESTAMP, "-infinity")


@mutant("feed-by-sequence")
def plant_feed_by_sequence() -> None:
    _feeds().by_position(_feeds().BY_SEQUENCE, "0")


@mutant("feed-of-later-transactions")
def plant_feed_of_later_transactions() -> None:
    _feeds().keep_xmax_only()


@mutant("feed-with-later-token")
def plant_feed_with_later_token() -> None:
    _feeds().wrap_feed(_feeds().with_later_token)


@mutant("feed-without-deletions")
def plant_feed_without_deletions() -> None:
    _feeds().wrap_feed(_feeds().without_deletions)


@mutant("feed-ending-with-last-page")
def plant_feed_ending_with_last_page() -> None:
    _feeds().wrap_feed(_feeds().ending_with_last_page)


def _feeds() -> ModuleType:
    # Not imported above: it loads the application, which not every process of the run does.
    return import_module("tests.resilience.chaos.feeds")


@mutant("owner-forgotten")
def forget_the_owner() -> None:
    _replace_text("GET", " AND tasks.user_id = %(owner)s::VARCHAR", "")
