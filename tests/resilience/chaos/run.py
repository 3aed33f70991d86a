"""One chaos run: set up, run clients beside the fault injector, check the result."""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from dev import postgres
from dev.local_database import PASSWORD, ROLE
from tests.resilience.chaos import plan
from tests.resilience.chaos.clients import SECRET, Client, Traffic, User, make_token
from tests.resilience.chaos.fault_injector import POOLER_SETTINGS, FaultInjector, Target
from tests.resilience.chaos.fleet import Fleet, running_fleet
from tests.resilience.chaos.ledger import KINDS, Ledger, Row, Violation, check
from tests.resilience.chaos.mutants import PAST_ROW_SECURITY
from tests.support import pgbouncer
from tests.support.databases import Cluster, Database
from tests.support.pgbouncer import Pooler

# A list takes 1,000 characters, a mark four of them at most, and nobody should come near.
EDITS_OF_ONE_TASK = 100
# Of all writes, what must have been acknowledged.
ENOUGH = 0.8
# What the last operations may take once the faults are over.
GRACE = 20.0

type Progress = Callable[[int, Ledger], None]


@dataclass(frozen=True)
class Size:
    """Of a run; `seconds` bounds it where the machine is slow."""

    operations: int
    clients: int
    users: int
    sandboxes: int
    seconds: float
    haste: float = 1.0
    streams: tuple[str, ...] = tuple(plan.STREAMS)

    @property
    def instance(self) -> bool:
        return "instance" in self.streams


FULL = Size(10_000, 200, 25, 40, seconds=200)
QUICK = Size(1_000, 200, 25, 40, seconds=60, haste=2)
# For the tests: few tasks, so that changes meet, and many faults.
SHORT = Size(300, 60, 4, 16, seconds=12, haste=1.5)
# For planted bugs: no more than it takes to find them.
PLANTED = Size(240, 48, 2, 12, seconds=10, haste=3, streams=("pooler",))


@dataclass
class Result:
    """`done` of the operations that were asked for; the rest was not begun in time."""

    seed: int
    size: Size
    done: int = 0
    calls: int = 0
    seconds: float = 0.0
    ledger: Ledger = field(default_factory=Ledger)
    faults: Counter[str] = field(default_factory=Counter)
    trouble: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    log: str = ""

    def count(self) -> dict[str, int]:
        counted = Counter(violation.kind for violation in self.violations)
        return {kind: counted[kind] for kind in KINDS}

    def proves_little(self) -> bool:
        """An API that answers nobody loses nothing either."""
        outcomes = self.ledger.outcomes()
        return outcomes["done"] < ENOUGH * outcomes.total() or not outcomes["done"]


async def run(
    cluster: Cluster,
    seed: int,
    size: Size,
    *,
    mutant: str = "",
    stops_at_once: bool = False,
    progress: Progress = lambda _done, _ledger: None,
) -> Result:
    """Everything, on a new database of this cluster.

    stops_at_once: at the first thing that a client sees to be wrong.
    """
    result = Result(seed, size)
    began = time.monotonic()
    async with stage(cluster, size.sandboxes, mutant=mutant, instance=size.instance) as scene:
        users = make_users(scene.database, size)
        ledger = result.ledger
        for user in users:
            for task in (user.toggled, user.toggled_once):
                ledger.toggles[task] = []
            for task in user.edited:
                ledger.edits[task] = []
        end = time.monotonic() + size.seconds
        traffic = Traffic(
            seed, scene.fleet, users, ledger, end + min(GRACE, size.seconds), size.haste
        )
        traffic.stop = lambda: time.monotonic() > end
        fault_injector = FaultInjector(scene.target, seed, size.streams, size.haste)
        plans = plan.operations(seed, size.operations, size.clients)
        try:
            async with fault_injector.at_work():
                await _work(traffic, plans, progress, stops_at_once=stops_at_once)
            if stops_at_once and ledger.seen:
                result.violations = ledger.seen
            else:
                await scene.fleet.settle()
                await _quiet(scene.database)
                result.violations = check(ledger, *_contents(scene.database))
        finally:
            fault_injector.close()
        result.log = scene.log()
    result.done, result.calls, result.trouble = traffic.done, traffic.calls, traffic.trouble
    result.faults = fault_injector.done
    result.seconds = time.monotonic() - began
    return result


async def _work(
    traffic: Traffic, plans: list[list[plan.Operation]], progress: Progress, *, stops_at_once: bool
) -> None:
    async def all_clients() -> None:
        async with asyncio.TaskGroup() as group:
            for number, operations in enumerate(plans):
                group.create_task(Client(traffic, number, operations).work())

    working = asyncio.create_task(all_clients())
    while not working.done():
        await asyncio.wait({working}, timeout=0.2)
        progress(traffic.done, traffic.ledger)
        if stops_at_once and traffic.ledger.seen:
            working.cancel()
            await asyncio.wait({working})
            return
    working.result()


@dataclass
class Stage:
    """A database behind a pooler, and the processes that serve it."""

    database: Database
    fleet: Fleet
    target: Target
    folder: Path

    def log(self) -> str:
        """What the processes said: errors only."""
        return (self.folder / "log").read_text(errors="replace")


@asynccontextmanager
async def stage(
    cluster: Cluster,
    sandboxes: int,
    *,
    mutant: str = "",
    module: str = "api.tasks",
    instance: bool = True,
) -> AsyncGenerator[Stage]:
    """Set it up for a module with a `lambda_handler`, and an `app` if an instance is wanted.

    Others than ours serve past row-level security, of which they know nothing.
    """
    ours = module == "api.tasks"
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as name,
        cluster.clone() as database,
        _pooler(cluster, Path(name) / "pooler") as pooler,
        (Path(name) / "log").open("wb") as log,
    ):
        past_security = mutant in PAST_ROW_SECURITY or not ours
        user, password = ("postgres", cluster.password) if past_security else (ROLE, PASSWORD)
        environment = {
            "DATABASE_URL": pooler.url(database.name, user=user, password=password),
            "BETTER_AUTH_SECRET": SECRET,
            "CORS_ORIGINS": "https://app.example.com",
            "LOG_LEVEL": "ERROR",
        }
        async with running_fleet(
            module, environment, log, sandboxes=sandboxes, mutant=mutant, instance=instance
        ) as fleet:
            admin = cluster.url("postgres")
            folder = Path(name) / "pooler"
            target = Target(database.name, database.admin_url, admin, pooler, folder, fleet)
            yield Stage(database, fleet, target, Path(name))


def _pooler(cluster: Cluster, folder: Path) -> AbstractContextManager[Pooler]:
    return pgbouncer.running(
        postgres.Server(cluster.port, "", 0, Path()),
        users={ROLE: PASSWORD, "postgres": cluster.password},
        folder=folder,
        tls=False,
        settings=POOLER_SETTINGS,
    )


def make_users(database: Database, size: Size) -> list[User]:
    """With the tasks that their clients share."""
    edits = size.operations * plan.MIX["edit"] // sum(plan.MIX.values())
    lists = 1 + edits // size.users // EDITS_OF_ONE_TASK
    users = []
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        for number in range(size.users):
            name = f"user-{number}-of-chaos"
            admin.execute(
                "INSERT INTO users (id, name, email) VALUES (%s, %s, %s)",
                [name, name, f"{name}@example.com"],
            )
            titles = [f"{name} shares {n}" for n in range(2 + lists)]
            ids = [
                task_id
                for title in titles
                for (task_id,) in admin.execute(
                    "INSERT INTO tasks (user_id, title) VALUES (%s, %s) RETURNING id",
                    [name, title],
                )
            ]
            users.append(User(name, make_token(name), ids[0], ids[1], ids[2:]))
    return users


async def _quiet(database: Database) -> None:
    """Return when the database has nothing left to do of what it was sent."""
    busy = (
        "SELECT state, wait_event, now() - xact_start, now() - state_change, query"
        " FROM pg_stat_activity"
        " WHERE datname = %s AND state <> 'idle' AND pid <> pg_backend_pid()"
    )
    give_up = time.monotonic() + 30
    while rows := database.query(busy, database.name):
        assert time.monotonic() < give_up, f"the database does not come to rest: {rows}"
        await asyncio.sleep(0.05)


def _contents(database: Database) -> tuple[list[Row], list[tuple[str, int]]]:
    rows = database.query(
        "SELECT id, user_id, title, coalesce(description, ''), completed, version FROM tasks"
    )
    keys = database.query("SELECT key, task_id FROM idempotency_keys")
    return [Row(*row) for row in rows], [(key, task_id) for key, task_id in keys]
