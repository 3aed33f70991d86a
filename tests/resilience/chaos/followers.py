"""Clients that follow the feed of changes, and compare their copies with what is committed.

Each holds a transaction open around some of its rounds: see held.py.
"""

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from tests.resilience.chaos import plan
from tests.resilience.chaos.calls import DONE, REFUSED, Traffic, User
from tests.resilience.chaos.held import Holder
from tests.resilience.chaos.ledger import FOREIGN, MISSED, WRONG, Document, Row
from tests.resilience.chaos.plan import Following

# The share of pages that are asked for again with the same token, as after a crash of the client.
ASKED_AGAIN = 0.1
# Pages of one round. Without a limit, a feed that repeats itself would never end.
MAX_PAGES = 2_000

type Committed = dict[int, tuple[str, bool]]


class Follower:
    """Keeps a copy of the tasks of a user by the feed alone."""

    def __init__(self, traffic: Traffic, following: Following) -> None:
        self._traffic, self._following = traffic, following
        self.user: User = traffic.users[following.number % len(traffic.users)]
        self.name = f"follower {following.number}"
        self.copy: dict[int, Document] = {}
        self.rounds = self.changes = 0
        self.is_finished = False
        self._calls = 0
        self._token: str | None = None
        self._holder = Holder(traffic.held, self.user.name, self.name)

    async def run(self, clients: asyncio.Task[None]) -> None:
        """Follow until the clients are done, and a transaction was held open at least once."""
        begins = self._following.begins * self._traffic.operations
        while self._traffic.done < begins and not clients.done():
            await asyncio.wait({clients}, timeout=0.05)
        held, following = -1, True
        try:
            while following and not (clients.done() and self._holder.committed):
                # Every second round, so that the others read while no transaction is open.
                if self.rounds != held and self.rounds % 2 == 0:
                    held = self.rounds
                    await self._holder.begin()
                pause = self._following.pause * random.uniform(0.5, 1) / self._traffic.speed
                await asyncio.wait({clients}, timeout=pause)
                following = await self._read_page()
                if self.rounds != held:
                    await self._holder.commit()
            await self._holder.commit()
        finally:
            await self._holder.close()

    async def finish(self) -> None:
        """Follow a round that begins after the last write."""
        before = self.rounds
        for _ in range(MAX_PAGES):
            if not await self._read_page() or self.rounds > before:
                break
        self.is_finished = self.rounds > before
        if not self.is_finished:
            self._report(WRONG, "the last round does not end")

    async def _read_page(self) -> bool:
        """Read and apply a page. Returns whether there was one."""
        page, committed = await self._request_page()
        if page is None:
            return False
        if self._token is None:
            # A first page names no deleted tasks, so that it replaces what an earlier one gave.
            self.copy.clear()
        self._apply(page)
        # Between two pages of a round, or between two rounds.
        if self._holder.is_met(page):
            await self._holder.commit()
        elif random.random() < ASKED_AGAIN:
            return True
        self._token = page["next"]
        if not page["more"]:
            self.rounds += 1
            self._compare_with(committed)
        return True

    async def _request_page(self) -> tuple[dict[str, Any] | None, Committed]:
        """The next page, and what was committed before it was requested."""
        query = {"since": self._token, "limit": self._following.limit}
        encoded = urlencode({name: value for name, value in query.items() if value is not None})
        traffic = self._traffic
        while True:
            committed = dict(traffic.ledger.committed[self.user.name])
            delivery = plan.delivery(traffic.seed, self.name, self._calls)
            self._calls += 1
            result = await traffic.call(self.user, delivery, "GET", "/changes", query=encoded)
            if result.effect == DONE:
                return result.body, committed
            if result.effect == REFUSED:
                self._report(WRONG, f"got {result.status}: {result.body}")
            if result.effect == REFUSED or time.monotonic() > traffic.give_up_at:
                return None, committed
            await asyncio.sleep((result.retry_after or 0.1) / traffic.speed)

    def _apply(self, page: dict[str, Any]) -> None:
        for task in page["tasks"]:
            known = self.copy.get(task["id"])
            if task["user_id"] != self.user.name:
                self._report(FOREIGN, f"the changes have {task}")
            if known and known["updated_at"] > task["updated_at"]:
                self._report(WRONG, f"the changes go back from {known} to {task}")
            self.copy[task["id"]] = task
        for task_id in page["deleted"]:
            self.copy.pop(task_id, None)
        self.changes += len(page["tasks"]) + len(page["deleted"])

    def _compare_with(self, committed: Committed) -> None:
        """After the last page, the copy has every state that was committed before its request."""
        for task_id, (updated_at, deleted) in committed.items():
            task = self.copy.get(task_id)
            if task is None:
                missed = not deleted and task_id not in self._traffic.ledger.deleting
            else:
                state = (task["updated_at"], False)
                missed = state < (updated_at, deleted)
            if missed:
                what = "deletion" if deleted else "change"
                self._report(MISSED, f"the {what} of {updated_at}, has {task} of task {task_id}")

    def compare_with_rows(self, rows: Iterable[Row]) -> None:
        """After the last write, the copy has the tasks of the database, value by value."""
        tasks = {
            row.id: row.document
            for row in rows
            if row.place == "live" and row.document["user_id"] == self.user.name
        }
        for task_id in tasks.keys() | self.copy.keys():
            expected, task = tasks.get(task_id), self.copy.get(task_id)
            if task != expected:
                self._report(MISSED, f"has {task}, the database {expected}")

    def _report(self, kind: str, text: str) -> None:
        self._traffic.ledger.report(kind, f"{self.name} of {self.user.name}: {text}")
