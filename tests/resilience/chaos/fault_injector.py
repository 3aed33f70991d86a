"""Carries out the planned faults on backends, pooler, sandboxes and instance; knows no task."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.resilience.chaos import plan
from tests.resilience.chaos.fleet import Fleet, Prey
from tests.resilience.chaos.plan import Fault
from tests.support import pgbouncer
from tests.support.pgbouncer import Pooler

OURSELVES = "fault_injector"
# How long writes gather before the pooler dies, below their lock timeout; and then to commit.
CROWD_SECONDS = 0.25

# Like Neon's, but the pooler forgets a failed login sooner than in 15 seconds: the run goes on.
POOLER_SETTINGS = {"server_login_retry": "1", "default_pool_size": "10"}


@dataclass
class Target:
    """What can be broken. `admin_url` is of another database of the same server."""

    database: str
    admin_url_of_database: str
    admin_url: str
    pooler: Pooler
    folder: Path
    fleet: Fleet


@dataclass
class FaultInjector:
    """`done` counts the faults that took place."""

    target: Target
    seed: int
    streams: tuple[str, ...] = tuple(plan.STREAMS)
    # How many times as fast as planned all this goes: short runs are rougher.
    haste: float = 1.0
    done: Counter[str] = field(default_factory=Counter)
    _frozen: set[asyncio.Task[None]] = field(default_factory=set)
    _restarted: subprocess.Popen[bytes] | None = None
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _admin: psycopg.AsyncConnection[Any] | None = None

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Break things for the length of the `with`; then all is whole again."""
        async with asyncio.TaskGroup() as group:
            for stream in self.streams:
                group.create_task(self._follow(stream))
            try:
                yield
            finally:
                self._over.set()
        # A frozen one thaws when its task is cancelled.
        for task in self._frozen:
            task.cancel()
        await asyncio.gather(*self._frozen, return_exceptions=True)
        if self._admin:
            await self._admin.close()

    def close(self) -> None:
        if self._restarted:
            self._restarted.kill()
            self._restarted.wait()

    async def _follow(self, stream: str) -> None:
        for fault in plan.faults(self.seed, stream):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), fault.pause / self.haste)
                return
            if await self._commit(fault):
                self.done[fault.what] += 1

    async def _commit(self, fault: Fault) -> bool:
        """Whether there was something to break."""
        seconds = fault.seconds / self.haste
        fleet, instance = self.target.fleet, self.target.fleet.instance
        sandbox = fleet.sandboxes[fault.target % len(fleet.sandboxes)]
        match fault.what:
            case "kill a backend":
                return await self._kill_backend(fault.target)
            case "pause the pooler":
                await self._pause_pooler(seconds)
            case "cut off the pooler":
                await self._cut_off_pooler()
            case "kill the pooler":
                await self._kill_pooler(seconds)
            case "freeze a sandbox":
                return sandbox.alive and self._freeze(sandbox, seconds)
            case "kill a sandbox":
                sandbox = next((prey for prey in self._shuffled(fault) if prey.busy), sandbox)
                if not sandbox.alive:
                    return False
                sandbox.kill()
            case "freeze the instance":
                assert instance
                self._freeze(instance, seconds)
            case "kill the instance":
                assert instance
                instance.kill()
                await instance.replace()
        return True

    def _shuffled(self, fault: Fault) -> list[Any]:
        sandboxes = self.target.fleet.sandboxes
        first = fault.target % len(sandboxes)
        return [box for box in sandboxes[first:] + sandboxes[:first] if box.alive]

    def _freeze(self, prey: Prey, seconds: float) -> bool:
        task = asyncio.create_task(prey.freeze(seconds))
        self._frozen.add(task)
        task.add_done_callback(self._frozen.discard)
        return True

    async def _kill_backend(self, salt: int) -> bool:
        """One that is at work, if there is one."""
        statement = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND application_name <> %s"
            " ORDER BY state = 'idle', md5(pid::text || %s) LIMIT 1"
        )
        if self._admin is None:
            self._admin = await _connect(self.target.admin_url)
        values = [self.target.database, OURSELVES, str(salt)]
        return bool(await (await self._admin.execute(statement, values)).fetchall())

    async def _console(self, *steps: str | float) -> None:
        """Commands to the pooler, and pauses in seconds."""
        async with await _connect(self.target.pooler.admin_url) as console:
            for step in steps:
                if isinstance(step, str):
                    await console.execute(step.format(self.target.database).encode())
                else:
                    await asyncio.sleep(step)

    async def _pause_pooler(self, seconds: float) -> None:
        async with await _connect(self.target.pooler.admin_url) as console:
            # Without waiting for its answer, which comes when the last transaction has ended, and
            # after a RESUME never.
            console.pgconn.send_query(f"PAUSE {self.target.database}".encode())
            console.pgconn.flush()
            await asyncio.sleep(seconds)
            await self._console("RESUME {}")
            console.pgconn.finish()

    async def _cut_off_pooler(self) -> None:
        """Every connection through it breaks in mid-write, and new ones work at once."""
        async with self._crowd_of_writes():
            cutting = asyncio.create_task(self._console("KILL {}", "RESUME {}"))
            await asyncio.wait({cutting}, timeout=2)
            if not cutting.done():
                os.kill(self._pooler_pid(), signal.SIGKILL)
            try:
                await cutting
            except psycopg.OperationalError:
                # PgBouncer 1.24.1 itself crashes, or runs in circles for ever, when it is told to
                # kill a connection that is just closing.
                self.done["the pooler broke by itself"] += 1
                await self._restart_pooler()

    def _pooler_pid(self) -> int:
        return self._restarted.pid if self._restarted else self.target.pooler.pid

    async def _kill_pooler(self, seconds: float) -> None:
        async with self._crowd_of_writes():
            pid = self._pooler_pid()
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(CROWD_SECONDS)
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(seconds / 2)
        await self._restart_pooler()

    @asynccontextmanager
    async def _crowd_of_writes(self) -> AsyncGenerator[None]:
        """The worst moment: PostgreSQL has writes in hand, which it ends behind the `with`."""
        async with await _connect(self.target.admin_url_of_database) as holder:
            # A planted bug may keep its own locks.
            await holder.execute("SET lock_timeout = '2s'")
            await holder.execute("BEGIN")
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                await holder.execute("LOCK TABLE tasks IN EXCLUSIVE MODE")
            await asyncio.sleep(CROWD_SECONDS)
            yield
            await holder.execute("ROLLBACK")

    async def _restart_pooler(self) -> None:
        """On the same port, as its configuration says."""
        if self._restarted:
            self._restarted.wait()
        self._restarted = pgbouncer._start(pgbouncer.binary(), self.target.folder)
        while self._restarted.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                await self._console()
                return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"PgBouncer did not start again: {pgbouncer._log(self.target.folder)}")


async def _connect(url: str) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(
        url, autocommit=True, connect_timeout=10, application_name=OURSELVES
    )
