"""Bugs that the checker must find: each breaks the application in one way; never part of it."""

import contextlib
import json
import random
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import psycopg

from api import tasks
from lib.db import compiled as sql
from lib.db import pool as database
from lib.db import tasks as store
from lib.db.connection import connect
from lib.db.pool import Session
from lib.errors import DatabaseUnavailable, TaskNotFound
from lib.schemas import TaskUpdate

MUTANTS: dict[str, Callable[[], None]] = {}

_unfinished: list[psycopg.Connection[Any]] = []


def mutant(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(breaks: Callable[[], None]) -> Callable[[], None]:
        MUTANTS[name] = breaks
        return breaks

    return register


def replace(module: ModuleType, name: str, value: Any) -> None:
    """For good: the process with the bug in it ends with the run."""
    assert hasattr(module, name)
    setattr(module, name, value)


def wake_up() -> None:
    """A sandbox stands still from an answer to the next event: so does what it left to do."""
    while _unfinished:
        connection = _unfinished.pop()
        with contextlib.suppress(psycopg.OperationalError):
            connection.execute("COMMIT")
        connection.close()


@mutant("if-match-ignored")
def ignore_if_match() -> None:
    replace(tasks, "allowed_versions", lambda _: None)


@mutant("toggle-by-read-then-write")
def toggle_by_read_then_write() -> None:
    complete_task = store.complete_task

    def complete(
        session: Session, owner: str, task_id: int, wanted: Any, versions: Any, once: Any
    ) -> store.StoredTask:
        if once:
            return complete_task(session, owner, task_id, wanted, versions, once)
        before = store.get_task(session, owner, task_id)
        opposite = TaskUpdate(completed=not json.loads(before.json)["completed"])
        return store.update_task(session, owner, task_id, opposite, None)

    replace(store, "complete_task", complete)


@mutant("key-ignored")
def ignore_keys() -> None:
    replace(tasks, "_once", lambda *_: None)


@mutant("blind-repeat")
def repeat_blindly() -> None:
    """Every write is taken for one that may be done twice."""
    run = database.run

    async def run_blindly(*arguments: Any, **options: Any) -> Any:
        return await run(*arguments, **{**options, "repeatable": True})

    replace(database, "run", run_blindly)


@mutant("commit-after-the-answer")
def commit_after_the_answer() -> None:
    run = database.run

    async def run_first(owner: str, work: Any, *arguments: Any, **options: Any) -> Any:
        if not options.get("writes"):
            return await run(owner, work, *arguments, **options)
        settings = database.load_settings()
        parameters = database.connection_parameters(settings.DATABASE_URL or "")
        try:
            connection = connect(parameters, time.monotonic() + 4)
            connection.deadline = time.monotonic() + 4
            connection.execute("BEGIN")
            answer = work(Session(connection, owner), *arguments)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(outcome_unknown=True) from error
        _unfinished.append(connection)
        if settings.platform != "lambda":
            wake_up()
        return answer

    replace(database, "run", run_first)


@mutant("error-answered-as-success")
def answer_errors_as_success() -> None:
    run = database.run

    async def run_and_hope(owner: str, work: Any, *arguments: Any, **options: Any) -> Any:
        # The faults of a short run meet few deletes, so that some of these errors are made here.
        if work is store.delete_task and random.random() < 0.1:
            return None
        try:
            return await run(owner, work, *arguments, **options)
        except DatabaseUnavailable:
            if work is store.delete_task:
                return None
            raise

    replace(database, "run", run_and_hope)


@mutant("error-answered-as-not-found")
def answer_errors_as_not_found() -> None:
    run = database.run

    async def run_or_deny(*arguments: Any, **options: Any) -> Any:
        try:
            return await run(*arguments, **options)
        except DatabaseUnavailable as error:
            raise TaskNotFound from error

    replace(database, "run", run_or_deny)


@mutant("nothing-was-changed-is-untrue")
def claim_that_nothing_was_changed() -> None:
    class Claim(DatabaseUnavailable):
        def __init__(self, *, outcome_unknown: bool) -> None:
            super().__init__(outcome_unknown=False)

    replace(database, "DatabaseUnavailable", Claim)


# Row-level security alone would hold here: these serve as the owner of everything.
PAST_ROW_SECURITY = {"owner-forgotten"}


@mutant("owner-forgotten")
def forget_the_owner() -> None:
    replace(sql, "GET", sql.GET.replace(" AND tasks.user_id = %(owner)s::VARCHAR", ""))
