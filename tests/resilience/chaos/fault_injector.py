"""Carries out the planned faults on the backends, the pooler, the sandboxes and the instance."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.resilience.chaos import plan
from tests.resilience.chaos.fleet import Fleet, Process
from tests.resilience.chaos.held import APPLICATION_NAME, HeldTransactions, connect
from tests.resilience.chaos.plan import Fault
from tests.support import pgbouncer
from tests.support.pgbouncer import Pooler

# Seconds in which writes gather before the pooler is killed, below their lock timeout, and again in
# which they commit.
CROWD_SECONDS = 0.25

# As Neon configures it, except that a failed login is forgotten sooner than in 15 seconds.
POOLER_SETTINGS = {"server_login_retry": "1", "default_pool_size": "10"}


@dataclass
class Target:
    """What faults are injected into. `admin_url` names another database of the same server."""

    database: str
    admin_url_of_database: str
    admin_url: str
    pooler: Pooler
    folder: Path
    fleet: Fleet


@dataclass
class FaultInjector:
    """`done` counts the faults that took place. `speed` divides their pauses and durations."""

    target: Target
    seed: int
    streams: tuple[str, ...] = plan.ALL_STREAMS
    speed: float = 1.0
    held: HeldTransactions | None = None
    done: Counter[str] = field(default_factory=Counter)
    _frozen: set[asyncio.Task[None]] = field(default_factory=set)
    _restarted: subprocess.Popen[bytes] | None = None
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _admin: psycopg.AsyncConnection[Any] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Inject faults for the length of the `with`. After it, nothing is frozen any more."""
        async with asyncio.TaskGroup() as group:
            for stream in self.streams:
                group.create_task(self._inject_stream(stream))
            try:
                yield
            finally:
                self._over.set()
        # The cancellation continues a frozen process.
        for task in self._frozen:
            task.cancel()
        await asyncio.gather(*self._frozen, return_exceptions=True)
        if self._admin:
            await self._admin.close()

    def close(self) -> None:
        if self._restarted:
            self._restarted.kill()
            self._restarted.wait()

    async def _inject_stream(self, stream: str) -> None:
        for fault in plan.faults(self.seed, stream):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), fault.pause / self.speed)
                return
            if await self._inject(fault):
                self.done[fault.what] += 1

    async def _inject(self, fault: Fault) -> bool:
        """Inject one fault. Returns whether there was a target."""
        seconds = fault.seconds / self.speed
        fleet, instance = self.target.fleet, self.target.fleet.instance
        sandbox = fleet.sandboxes[fault.target % len(fleet.sandboxes)]
        match fault.what:
            case "kill a backend":
                return await self._kill_backend(fault.target)
            case "pause the pooler":
                try:
                    await self._pause_pooler(seconds)
                except psycopg.OperationalError:
                    await self._restart_crashed_pooler()
            case "cut off the pooler":
                await self._cut_off_pooler()
            case "kill the pooler":
                await self._kill_pooler(seconds)
            case "freeze a sandbox":
                return sandbox.alive and self._freeze(sandbox, seconds)
            case "kill a sandbox":
                sandbox = next((each for each in self._shuffled(fault) if each.busy), sandbox)
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

    def _freeze(self, process: Process, seconds: float) -> bool:
        task = asyncio.create_task(process.freeze(seconds))
        self._frozen.add(task)
        task.add_done_callback(self._frozen.discard)
        return True

    async def _kill_backend(self, salt: int) -> bool:
        """Kill a backend, if possible one that runs a statement."""
        statement = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND application_name <> %s"
            " ORDER BY state = 'idle', md5(pid::text || %s) LIMIT 1"
        )
        if self._admin is None:
            self._admin = await connect(self.target.admin_url)
        values = [self.target.database, APPLICATION_NAME, str(salt)]
        return bool(await (await self._admin.execute(statement, values)).fetchall())

    async def _console(self, *steps: str | float) -> None:
        """Run commands on the console of the pooler, with pauses in seconds."""
        async with await connect(self.target.pooler.admin_url) as console:
            for step in steps:
                if isinstance(step, str):
                    await console.execute(step.format(self.target.database).encode())
                else:
                    await asyncio.sleep(step)

    async def _pause_pooler(self, seconds: float) -> None:
        async with await connect(self.target.pooler.admin_url) as console:
            # Not awaited: the response comes when the last transaction has ended, and never after a
            # RESUME.
            console.pgconn.send_query(f"PAUSE {self.target.database}".encode())
            console.pgconn.flush()
            await asyncio.sleep(seconds)
            await self._console("RESUME {}")
            console.pgconn.finish()

    async def _cut_off_pooler(self) -> None:
        """Close every connection during writes. New connections work at once."""
        async with self._crowd_of_writes():
            cutting = asyncio.create_task(self._console("KILL {}", "RESUME {}"))
            await asyncio.wait({cutting}, timeout=2)
            if not cutting.done():
                os.kill(self._pooler_pid(), signal.SIGKILL)
            try:
                await cutting
            except psycopg.OperationalError:
                await self._restart_crashed_pooler()

    async def _restart_crashed_pooler(self) -> None:
        """PgBouncer 1.24.1 crashes, or loops, if it has to kill a connection that is closing."""
        self.done["the pooler crashed by itself"] += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pooler_pid(), signal.SIGKILL)
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

    async def kill_pooler_after(self, commit: Coroutine[Any, Any, None]) -> None:
        """Freeze the pooler, then commit, then kill it: so it delivers no response."""
        pid = self._pooler_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            await commit
        finally:
            os.kill(pid, signal.SIGKILL)
        await self._restart_pooler()

    @asynccontextmanager
    async def _crowd_of_writes(self) -> AsyncGenerator[None]:
        """Hold writes inside PostgreSQL, which completes them after the `with`."""
        async with AsyncExitStack() as stack:
            if self.held:
                await stack.enter_async_context(self.held.none_open())
            url = self.target.admin_url_of_database
            session = await stack.enter_async_context(await connect(url))
            # A mutant may hold locks of its own.
            await session.execute("SET lock_timeout = '2s'")
            await session.execute("BEGIN")
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                await session.execute("LOCK TABLE tasks IN EXCLUSIVE MODE")
            await asyncio.sleep(CROWD_SECONDS)
            yield
            await session.execute("ROLLBACK")

    async def _restart_pooler(self) -> None:
        """Start the pooler again, on the same port."""
        if self._restarted:
            self._restarted.wait()
        self._restarted = pgbouncer._start(pgbouncer.binary(), self.target.folder)
        while self._restarted.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                await self._console()
                return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"PgBouncer did not restart: {pgbouncer._log(self.target.folder)}")
