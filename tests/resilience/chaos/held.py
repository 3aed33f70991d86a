"""Transactions of other sessions that stay open while a follower reads.

Such a transaction has written a task before other tasks were changed, and commits after a follower
has read these changes. A feed that continues after the newest change misses what it has written.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.resilience.chaos.contents import document
from tests.resilience.chaos.ledger import Ledger

# Terminations of backends spare the sessions of this name.
APPLICATION_NAME = "fault_injector"
# More than a follower with small pages reads at once.
CHANGED_MEANWHILE = 3

INSERT = "INSERT INTO tasks (user_id, title) VALUES (%s, %s) RETURNING to_jsonb(tasks)"
UPDATE = """UPDATE tasks SET description = %s, version = version + 1,
    updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')
WHERE id = ANY(%s) RETURNING to_jsonb(tasks)"""
DELETE = "DELETE FROM tasks WHERE id = ANY(%s) RETURNING to_jsonb(tasks)"


async def connect(url: str) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(
        url, autocommit=True, connect_timeout=10, application_name=APPLICATION_NAME
    )


@dataclass
class HeldTransactions:
    """Those that are open. The connections are the superuser's: no policy hides a row from them."""

    url: str
    ledger: Ledger
    held: int = 0
    _open: set["Holder"] = field(default_factory=set)
    _allowed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._allowed.set()

    @asynccontextmanager
    async def none_open(self) -> AsyncGenerator[None]:
        """Commit all. During the `with` none begins: they would keep others from locking tables."""
        self._allowed.clear()
        try:
            for holder in list(self._open):
                await holder.commit()
            yield
        finally:
            self._allowed.set()


class Holder:
    """Holds transactions for one follower, one at a time, on tasks that no client changes."""

    def __init__(self, transactions: HeldTransactions, user: str, name: str) -> None:
        self._transactions, self._user, self._name = transactions, user, name
        self._connection: psycopg.AsyncConnection[Any] | None = None
        # A fault may commit the transaction while it begins.
        self._lock = asyncio.Lock()
        self._number = self.committed = 0
        self._inserted: int | None = None
        self._changed: list[int] = []
        self._written: list[dict[str, Any]] = []
        self._shows: set[str] = set()

    @property
    def _ledger(self) -> Ledger:
        return self._transactions.ledger

    async def begin(self) -> None:
        """Write a task in a transaction that stays open. Then change others, and commit these."""
        await self._transactions._allowed.wait()
        self._transactions._open.add(self)
        async with self._lock:
            self._number += 1
            connection = self._connection = await connect(self._transactions.url)
            await connection.execute("BEGIN")
            self._written = await self._write(connection)
            async with await connect(self._transactions.url) as other, other.transaction():
                changed = await self._change_others(other)
            for task in changed:
                self._ledger.observe(task)
            self._shows = {task["updated_at"] for task in changed}
            self._transactions.held += 1

    async def _write(self, connection: psycopg.AsyncConnection[Any]) -> list[dict[str, Any]]:
        """Insert a task, change it the next time, delete it the time after that."""
        match self._number % 3:
            case 1:
                title = f"{self._user} holds {self._number} of {self._name}"
                written = await _run(connection, INSERT, self._user, title)
                self._inserted = written[0]["id"]
                self._ledger.held.add(written[0]["id"])
                return written
            case 2:
                return await _run(connection, UPDATE, str(self._number), [self._inserted])
            case _:
                deleted = await _run(connection, DELETE, [self._inserted])
                self._ledger.deleting.add(deleted[0]["id"])
                return deleted

    async def _change_others(
        self, connection: psycopg.AsyncConnection[Any]
    ) -> list[dict[str, Any]]:
        if self._changed:
            return await _run(connection, UPDATE, str(self._number), self._changed)
        inserted = []
        for number in range(CHANGED_MEANWHILE):
            title = f"{self._user} shows {number} of {self._name}"
            inserted += await _run(connection, INSERT, self._user, title)
        self._changed = [task["id"] for task in inserted]
        self._ledger.held.update(self._changed)
        return inserted

    def is_met(self, page: dict[str, Any]) -> bool:
        """Whether the page shows a change that is newer than the transaction, which is open."""
        shown = {task["updated_at"] for task in page["tasks"] if task["id"] in self._changed}
        return self._connection is not None and not self._shows.isdisjoint(shown)

    async def commit(self) -> None:
        async with self._lock:
            if self._connection is None:
                return
            await self._connection.execute("COMMIT")
            await self.close()
            for task in self._written:
                self._ledger.observe(task, deleted=self._number % 3 == 0)
            self.committed += 1

    async def close(self) -> None:
        """Close the connection, which rolls back what was not committed."""
        self._transactions._open.discard(self)
        if self._connection:
            await self._connection.close()
            self._connection = None


async def _run(
    connection: psycopg.AsyncConnection[Any], text: Any, *values: Any
) -> list[dict[str, Any]]:
    cursor = await connection.execute(text, values)
    return [document(row) for (row,) in await cursor.fetchall()]
