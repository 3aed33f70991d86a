"""Scenarios that meet each kind of bug in every run, before the clients begin.

Whether the requests of the clients meet each other, and the faults, depends on time. Here two
requests meet at a lock that the run holds, and a pooler, a process of the database or a response
is lost at an exact point of a request. The ledger records these operations as those of clients.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import psycopg

from tests.resilience.chaos.calls import Traffic, User
from tests.resilience.chaos.clients import OperationRun, OwnTasks
from tests.resilience.chaos.fault_injector import FaultInjector
from tests.resilience.chaos.held import APPLICATION_NAME, connect
from tests.resilience.chaos.plan import TIMEOUT, Delivery, Operation
from tests.support.neon_endpoint import Endpoint, Handler

# The numbers of these operations, which differ from those of the clients.
FIRST_NUMBER = 1_000_000
# Seconds until requests have reached the lock. It is less than the time budget of a request, which
# tries again after each lock timeout.
MEETING_TIMEOUT = 3.0
# What Neon's proxy responds if it loses its connection to PostgreSQL.
CLOSED_AFTER_COMMIT = {"message": "connection closed", "code": "", "severity": ""}
TO_A_SANDBOX = Delivery(to_instance=False, response_lost=False, timeout=TIMEOUT)

# Each kind of operation with each of its variants: the `kind` and the `variant` of Operation.
TOUR = (
    ("create once", 0.1), ("create", 0.1), ("create once", 0.1), ("create once", 0.1),
    # By PATCH with other fields and alone, to true and to false.
    ("complete", 0.1), ("complete", 0.25), ("complete", 0.75), ("complete", 0.8),
    ("toggle once", 0.1), ("toggle", 0.1),
    # By PUT and by PATCH.
    ("edit", 0.1), ("edit", 0.9), ("overwrite", 0.1), ("overwrite", 0.9),
    # With a condition or without, restored with a key, without, and with a condition.
    ("delete", 0.1), ("restore", 0.1), ("delete", 0.9), ("restore", 0.45),
    ("delete", 0.9), ("list", 0.1), ("list", 0.9), ("restore", 0.9),
    ("discard", 0.1), ("discard", 0.1), ("discard", 0.9), ("discard", 0.9),
    # In the trash and out of it.
    ("delete", 0.9), ("erase", 0.1), ("erase", 0.9), ("list", 0.1), ("list", 0.9),
    # Each makes some of the requests for tasks of another user.
    ("trespass", 0.1), ("trespass", 0.1), ("trespass", 0.1), ("trespass", 0.1),
)  # fmt: skip

WAITING = """SELECT count(*) FROM pg_stat_activity
WHERE datname = %s AND application_name <> %s AND wait_event_type = 'Lock'"""
BUSY = """SELECT count(*) FROM pg_stat_activity
WHERE datname = %s AND application_name <> %s AND state <> 'idle'"""
END_WAITING = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = %s AND application_name <> %s AND wait_event_type = 'Lock'"""


class Scenarios:
    """`unmet` names what did not happen as described, so that a scenario says nothing."""

    def __init__(
        self,
        traffic: Traffic,
        fault_injector: FaultInjector,
        endpoint: Endpoint,
        *,
        stop_at_violation: bool,
    ) -> None:
        self._traffic, self._fault_injector = traffic, fault_injector
        self._stop_at_violation = stop_at_violation
        self._target, self._endpoint = fault_injector.target, endpoint
        self._own = {user.name: OwnTasks() for user in traffic.users}
        self._numbers = count(FIRST_NUMBER)
        self.operations = 0
        self.unmet: list[str] = []

    async def run(self) -> None:
        """Run all scenarios, or until the first violation if the run stops there."""
        [one, other] = self._traffic.users[:2]
        # In half of the runs, tools of MCP are the first to meet a bug that requests meet as well.
        by_mcp = self._traffic.seed % 2 == 1
        scenarios: list[Callable[[], Coroutine[Any, Any, None]]] = [
            lambda: self._every_kind(one, by_mcp=by_mcp),
            lambda: self._every_kind(other, by_mcp=not by_mcp),
            lambda: self._two_users_in_every_sandbox(one, other),
            lambda: self._two_at_once("toggle", one, one.toggled),
            lambda: self._two_at_once("toggle once", one, one.toggled_once),
            lambda: self._two_at_once("edit", one, one.edited[0]),
            lambda: self._two_at_once("overwrite", one, one.overwritten),
            lambda: self._two_at_once("discard", one, one.discarded),
            lambda: self._backend_lost_before_commit(one),
        ]
        transports = {sandbox.transport for sandbox in self._target.fleet.sandboxes}
        if "postgres" in transports:
            scenarios.append(lambda: self._pooler_lost_after_commit(one))
        if "http" in transports:
            scenarios += [
                lambda: self._response_of_endpoint_lost(one, {}),
                lambda: self._response_of_endpoint_lost(one, CLOSED_AFTER_COMMIT),
            ]
        for scenario in scenarios:
            await scenario()
            if self._is_over:
                return

    @property
    def _is_over(self) -> bool:
        return self._stop_at_violation and bool(self._traffic.ledger.violations)

    async def _every_kind(self, user: User, *, by_mcp: bool) -> None:
        """Operations one after the other, without faults."""
        for kind, variant in TOUR:
            # With and without a limit, also for lists of the trash.
            for choice in (0.0, 0.6) if kind == "list" else (0.0,):
                await self._operation(user, kind, variant, choice, by_mcp=by_mcp, repeats=True)
                if self._is_over:
                    return

    async def _two_users_in_every_sandbox(self, *users: User) -> None:
        """All sandboxes at once serve one user, then the other."""
        for user in users:
            lists = [
                self._operation(user, "list", 0.9, by_mcp=True)
                for _ in self._target.fleet.sandboxes
            ]
            await asyncio.gather(*lists)

    async def _two_at_once(self, kind: str, user: User, task_id: int) -> None:
        """Two requests change the same task, and both have read it before one of them writes."""
        async with self._locked(task_id) as release:
            # By PUT and by PATCH, which may be a call of a tool.
            both = [
                asyncio.create_task(self._operation(user, kind, variant, by_mcp=variant > 0.5))
                for variant in (0.1, 0.9)
            ]
            await self._until(WAITING, 2, f"two at once: {kind}", both)
            await release()
            await asyncio.gather(*both)

    async def _backend_lost_before_commit(self, user: User) -> None:
        """PostgreSQL rolls a deletion back, whose process is killed."""
        await self._operation(user, "create once", 0.1)
        live = self._own[user.name].live
        if not live:
            self.unmet.append("a task to delete")
            return
        task_id = live[-1].creation.task_id or 0
        async with self._locked(task_id) as release:
            # `choice` picks the last task.
            deletion = asyncio.create_task(self._operation(user, "delete", 0.9, choice=0.999))
            await self._until(WAITING, 1, "a deletion that is rolled back", [deletion])
            await self._query(END_WAITING)
            await release()
            await deletion

    async def _pooler_lost_after_commit(self, user: User) -> None:
        """PostgreSQL commits an overwrite, whose response the pooler does not get.

        All statements have arrived by then. By HTTP they would arrive one after the other.
        """
        async with self._locked(user.overwritten) as release:
            overwrite = asyncio.create_task(self._unconfirmed_overwrite(user, "postgres"))
            await self._until(WAITING, 1, "a commit without a response", [overwrite])

            async def commit() -> None:
                await release()
                await self._until(BUSY, 0, "the commit behind a frozen pooler")

            await self._fault_injector.kill_pooler_after(commit())
            await overwrite

    async def _response_of_endpoint_lost(self, user: User, replacement: dict[str, Any]) -> None:
        """The HTTP endpoint commits an overwrite, and its response is lost or replaced."""
        lost = False

        def lose(handler: Handler) -> bool:
            nonlocal lost
            _, payload = handler.endpoint.requests[-1]
            if lost or not any("UPDATE tasks" in each["query"] for each in payload["queries"]):
                return False
            lost = True
            if replacement:
                return handler.respond(400, json.dumps(replacement).encode())
            return handler.drop()

        self._endpoint.after = lose
        try:
            await self._unconfirmed_overwrite(user, "http")
        finally:
            self._endpoint.after = None
        if not lost:
            self.unmet.append("a lost response of the endpoint")

    async def _unconfirmed_overwrite(self, user: User, transport: str) -> None:
        """By a client that gives up, so that another attempt would not be its own."""
        await self._operation(
            user,
            "overwrite",
            0.1,
            gives_up=True,
            delivery=replace(TO_A_SANDBOX, transport=transport),
        )

    async def _operation(
        self,
        user: User,
        kind: str,
        variant: float,
        choice: float = 0.0,
        *,
        by_mcp: bool = False,
        repeats: bool = False,
        gives_up: bool = False,
        delivery: Delivery = TO_A_SANDBOX,
    ) -> None:
        """`repeats`: send two requests with a key at once, and a third one later."""
        operation = Operation(
            next(self._numbers), 0, kind, choice, variant, by_mcp,
            gives_up, repeats, repeats, delivery,
        )  # fmt: skip
        self.operations += 1
        await OperationRun(self._traffic, user, operation, self._own[user.name]).run()

    @asynccontextmanager
    async def _locked(
        self, task_id: int
    ) -> AsyncGenerator[Callable[[], Coroutine[Any, Any, None]]]:
        """Lock the row of a task, which can be read but not changed until the yielded call."""
        async with await connect(self._target.admin_url_of_database) as session:
            await session.execute("BEGIN")
            await session.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", [task_id])

            async def release() -> None:
                await session.execute("COMMIT")

            yield release

    async def _until(
        self, query: str, number: int, what: str, running: list[asyncio.Task[None]] | None = None
    ) -> None:
        """Wait until the query returns the number, or nothing runs that could bring this about."""
        until = time.monotonic() + MEETING_TIMEOUT
        while await self._query(query) != [(number,)]:
            ended = running and any(task.done() for task in running)
            if ended or time.monotonic() > until:
                self.unmet.append(what)
                return
            await asyncio.sleep(0.01)

    async def _query(self, query: str) -> list[tuple[Any, ...]]:
        untyped: Any = query
        async with await psycopg.AsyncConnection.connect(
            self._target.admin_url, autocommit=True, application_name=APPLICATION_NAME
        ) as admin:
            cursor = await admin.execute(untyped, [self._target.database, APPLICATION_NAME])
            return await cursor.fetchall()
