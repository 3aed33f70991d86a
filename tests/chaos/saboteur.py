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

from dev import pgbouncer
from dev.pgbouncer import Pooler
from tests.chaos import plan
from tests.chaos.fleet import Fleet, Prey
from tests.chaos.plan import Fault

# Like Neon's, but the pooler forgets a failed login sooner than in 15 seconds: the run goes on.
POOLER_SETTINGS = {"server_login_retry": "1", "default_pool_size": "10"}


@dataclass
class Target:
    """What can be broken. `admin_url`: of another database of the same server."""

    database: str
    admin_url: str
    pooler: Pooler
    folder: Path
    fleet: Fleet


@dataclass
class Saboteur:
    """`done` counts the faults that took place."""

    target: Target
    seed: int
    streams: tuple[str, ...] = tuple(plan.STREAMS)
    # How many times as often as planned: short runs are rougher.
    haste: float = 1.0
    done: Counter[str] = field(default_factory=Counter)
    _frozen: set[asyncio.Task[None]] = field(default_factory=set)
    _restarted: subprocess.Popen[bytes] | None = None
    _pooler_is_dead: bool = False
    _admin: psycopg.AsyncConnection[Any] | None = None

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Break things for the length of the `with`; then all is whole again."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._follow(stream)) for stream in self.streams]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
        # A frozen one thaws when its task is cancelled.
        for task in self._frozen:
            task.cancel()
        await asyncio.gather(*self._frozen, return_exceptions=True)
        await self._restore_pooler()
        if self._admin:
            await self._admin.close()

    def close(self) -> None:
        if self._restarted:
            self._restarted.kill()
            self._restarted.wait()

    async def _follow(self, stream: str) -> None:
        for fault in plan.faults(self.seed, stream):
            await asyncio.sleep(fault.pause / self.haste)
            with contextlib.suppress(psycopg.OperationalError):
                if await self._commit(fault):
                    self.done[fault.what] += 1

    async def _commit(self, fault: Fault) -> bool:
        """Whether there was something to break."""
        fleet, instance = self.target.fleet, self.target.fleet.instance
        sandbox = fleet.sandboxes[fault.target % len(fleet.sandboxes)]
        match fault.what:
            case "kill a backend":
                return await self._kill_backend(fault.target)
            case "pause the pooler":
                await self._pause_pooler(fault.seconds)
            case "cut off the pooler":
                await self._console("KILL {}", fault.seconds, "RESUME {}")
            case "kill the pooler":
                await self._kill_pooler(fault)
            case "freeze a sandbox":
                return sandbox.alive and self._freeze(sandbox, fault.seconds)
            case "kill a sandbox":
                sandbox = next((prey for prey in self._shuffled(fault) if prey.busy), sandbox)
                if not sandbox.alive:
                    return False
                sandbox.kill()
            case "freeze the instance":
                assert instance
                self._freeze(instance, fault.seconds)
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
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            " ORDER BY state = 'idle', md5(pid::text || %s) LIMIT 1"
        )
        if self._admin is None:
            self._admin = await self._connect(self.target.admin_url)
        cursor = await self._admin.execute(statement, [self.target.database, str(salt)])
        return bool(await cursor.fetchall())

    @staticmethod
    async def _connect(url: str) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=5)

    async def _console(self, *steps: str | float) -> None:
        """Commands to the pooler, and pauses in seconds."""
        async with await self._connect(self.target.pooler.admin_url) as console:
            for step in steps:
                if isinstance(step, str):
                    await console.execute(step.format(self.target.database).encode())
                else:
                    await asyncio.sleep(step)

    async def _pause_pooler(self, seconds: float) -> None:
        await self._console("PAUSE {}", seconds, "RESUME {}")

    async def _kill_pooler(self, fault: Fault) -> None:
        """At the worst moment: a crowd has just been let through, and no answer gets back.

        What PostgreSQL was handed by then, it commits.
        """
        await self._console("PAUSE {}", 0.2, "RESUME {}")
        await asyncio.sleep(fault.target % 4 / 1000)
        pid = self._restarted.pid if self._restarted else self.target.pooler.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.05)
        finally:
            os.kill(pid, signal.SIGKILL)
            self._pooler_is_dead = True
        await asyncio.sleep(fault.seconds / 2)
        await self._restart_pooler()

    async def _restart_pooler(self) -> None:
        """On the same port, as its configuration says."""
        if self._restarted:
            self._restarted.wait()
        self._restarted = pgbouncer._start(pgbouncer.binary(), self.target.folder)
        self._pooler_is_dead = False
        while self._restarted.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                await self._console()
                return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"PgBouncer did not start again: {pgbouncer._log(self.target.folder)}")

    async def _restore_pooler(self) -> None:
        if self._pooler_is_dead:
            await self._restart_pooler()
        with contextlib.suppress(psycopg.Error):  # it may not be paused
            await self._console("RESUME {}")
