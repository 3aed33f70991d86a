"""One chaos run: start everything, run clients and the fault injector, check the result."""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from dev import postgres
from dev.local_database import PASSWORD, ROLE
from tests.resilience.chaos import aged, plan
from tests.resilience.chaos.calls import CRON_SECRET, SECRET, Traffic, User, make_token
from tests.resilience.chaos.clients import Client
from tests.resilience.chaos.contents import RECORD_HISTORY, read_contents
from tests.resilience.chaos.fault_injector import POOLER_SETTINGS, FaultInjector, Target
from tests.resilience.chaos.fleet import Fleet, running_fleet
from tests.resilience.chaos.followers import Follower
from tests.resilience.chaos.held import HeldTransactions
from tests.resilience.chaos.ledger import KINDS, Ledger, Violation, check
from tests.resilience.chaos.mutants import FEEDS, OF_HTTP, WITHOUT_ROW_SECURITY
from tests.resilience.chaos.scenarios import Scenarios
from tests.support import neon_endpoint, pgbouncer
from tests.support.databases import Cluster, Database
from tests.support.neon_endpoint import Endpoint
from tests.support.pgbouncer import Pooler

# A description takes 1,000 characters, and a mark at most four.
MAX_EDITS_PER_TASK = 100
# The share of writes that must be acknowledged. An API that does nothing loses nothing either.
MIN_ACKNOWLEDGED = 0.8
# Seconds for the last operations after the last fault.
GRACE = 20.0
# Seconds for the last rounds of the followers. Those with pages of one change may have many left.
LAST_ROUNDS = 180.0
# Seconds after which a client of a scenario gives up.
SCENARIO_SECONDS = 60.0

OURS = "tests.resilience.chaos.application"
BOTH_TRANSPORTS = ("postgres", "http")

type Progress = Callable[[int, Ledger], None]


@dataclass(frozen=True)
class Size:
    """The size of a run. No operation begins after `seconds`. `speed` shortens all pauses."""

    operations: int
    clients: int
    users: int
    sandboxes: int
    seconds: float
    speed: float = 1.0
    streams: tuple[str, ...] = plan.ALL_STREAMS
    followers: int = 0
    # The sandboxes use these in turn, the instance another one with each seed.
    transports: tuple[str, ...] = ("postgres",)
    # Whether the scenarios come before the clients.
    scenarios: bool = True

    @property
    def instance(self) -> bool:
        return "instance" in self.streams


FULL = Size(10_000, 200, 25, 40, seconds=600, followers=50, transports=BOTH_TRANSPORTS)
QUICK = Size(1_000, 200, 25, 40, seconds=60, speed=2, followers=50, transports=BOTH_TRANSPORTS)
# For tests: few tasks, so that changes of the same task meet, and many faults.
SHORT = Size(300, 60, 4, 16, seconds=12, speed=1.5, followers=8)
# For mutants: no larger than needed to find them.
MUTANT = Size(240, 48, 2, 12, seconds=10, speed=3, streams=("pooler",))
# For those of the HTTP transport.
HTTP = replace(MUTANT, transports=("http",))
# For feeds with a bug: the followers cause what reveals them, and no fault prevents it.
FEED = Size(80, 8, 2, 6, seconds=10, speed=3, streams=(), followers=4, scenarios=False)


def size_of_mutant(name: str) -> Size:
    if name in FEEDS:
        return FEED
    return HTTP if name in OF_HTTP else MUTANT


@dataclass
class Result:
    """`done` counts the operations that were completed; the others were not begun in time."""

    seed: int
    size: Size
    done: int = 0
    calls: int = 0
    mcp_calls: int = 0
    retention_runs: int = 0
    scenario_operations: int = 0
    unmet: list[str] = field(default_factory=list)
    instance_peak: int = 0
    seconds: float = 0.0
    ledger: Ledger = field(default_factory=Ledger)
    faults: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    followers: list[Follower] = field(default_factory=list)
    log: str = ""

    def count(self) -> dict[str, int]:
        counted = Counter(violation.kind for violation in self.violations)
        return {kind: counted[kind] for kind in KINDS}

    def acknowledged_too_little(self) -> bool:
        outcomes = self.ledger.outcomes()
        return outcomes["done"] < MIN_ACKNOWLEDGED * outcomes.total() or not outcomes["done"]


async def run(
    cluster: Cluster,
    seed: int,
    size: Size,
    *,
    mutant: str = "",
    stop_at_violation: bool = False,
    progress: Progress = lambda _done, _ledger: None,
) -> Result:
    """Run it on a new database of the cluster.

    `stop_at_violation` ends the run at the first violation that a client sees.
    """
    result = Result(seed, size)
    began = time.monotonic()
    async with running_environment(
        cluster,
        size.sandboxes,
        mutant=mutant,
        instance=size.instance,
        transports=size.transports,
        of_instance=seed % len(size.transports),
    ) as environment:
        ledger = result.ledger
        users = make_users(environment.database, size, ledger)
        for user in users:
            for task in (user.toggled, user.toggled_once):
                ledger.toggles[task] = []
            ledger.overwrites[user.overwritten] = []
            ledger.discards[user.discarded] = []
            for task in user.edited:
                ledger.edits[task] = []
        environment.database.query(RECORD_HISTORY)
        traffic = Traffic(
            seed,
            environment.fleet,
            users,
            ledger,
            HeldTransactions(environment.database.admin_url, ledger),
            size.operations,
            time.monotonic() + SCENARIO_SECONDS,
            size.speed,
        )
        fault_injector = FaultInjector(
            environment.target, seed, size.streams, size.speed, traffic.held
        )
        result.followers = [
            Follower(traffic, one) for one in plan.followers_plan(seed, size.followers)
        ]
        stage = Stage(environment, traffic, fault_injector, result, stop_at_violation)
        try:
            if size.scenarios:
                await stage.run_scenarios()
            if not result.violations:
                await stage.run_clients(progress)
        finally:
            fault_injector.close()
        result.log = environment.log()
    result.done, result.calls, result.failures = traffic.done, traffic.calls, traffic.failures
    result.mcp_calls = traffic.mcp_calls
    if environment.fleet.instance:
        result.instance_peak = environment.fleet.instance.peak
    result.faults = fault_injector.done
    if traffic.held.held:
        result.faults["hold a transaction"] = traffic.held.held
    result.seconds = time.monotonic() - began
    return result


@dataclass
class Stage:
    """What the two parts of a run share: the scenarios, and then the clients."""

    environment: "Environment"
    traffic: Traffic
    fault_injector: FaultInjector
    result: Result
    stop_at_violation: bool

    async def run_scenarios(self) -> None:
        """Run the scenarios. With `stop_at_violation`, check the database after them."""
        result, traffic = self.result, self.traffic
        scenarios = Scenarios(
            traffic,
            self.fault_injector,
            self.environment.endpoint,
            stop_at_violation=self.stop_at_violation,
        )
        await scenarios.run()
        result.scenario_operations, result.unmet = scenarios.operations, scenarios.unmet
        if not self.stop_at_violation:
            return
        if not result.ledger.violations:
            await self._complete()
            contents = read_contents(self.environment.database)
            result.violations = check(result.ledger, contents)
        else:
            result.violations = result.ledger.violations

    async def run_clients(self, progress: Progress) -> None:
        """Run the clients, the followers and the faults, and check the database after them."""
        result, traffic, fleet = self.result, self.traffic, self.environment.fleet
        seed, size = result.seed, result.size
        end = time.monotonic() + size.seconds
        traffic.give_up_at = end + min(GRACE, size.seconds)
        traffic.stop = lambda: time.monotonic() > end
        plans = plan.operations(seed, size.operations, size.clients)
        async with self.fault_injector.running():
            result.retention_runs = await _run_clients(
                traffic,
                plans,
                result.followers,
                progress,
                stop_at_violation=self.stop_at_violation,
            )
        if self.stop_at_violation and result.ledger.violations:
            result.violations = result.ledger.violations
            return
        await self._complete()
        traffic.give_up_at = time.monotonic() + LAST_ROUNDS
        await asyncio.gather(*(each.finish() for each in result.followers))
        await fleet.settle()
        await _idle(self.environment.database)
        contents = read_contents(self.environment.database)
        for follower in result.followers:
            if follower.is_finished:
                follower.compare_with_rows(contents.rows)
        result.violations = check(result.ledger, contents)

    async def _complete(self) -> None:
        await self.environment.fleet.finish_calls()
        await _idle(self.environment.database)
        await aged.finish(self.traffic)


async def _run_clients(
    traffic: Traffic,
    plans: list[list[plan.Operation]],
    followers: list[Follower],
    progress: Progress,
    *,
    stop_at_violation: bool,
) -> int:
    """Run the clients and the followers, and the retention job beside them.

    Returns how often the job ran.
    """

    async def all_clients() -> None:
        async with asyncio.TaskGroup() as group:
            for number, operations in enumerate(plans):
                group.create_task(Client(traffic, number, operations).run())

    clients = asyncio.create_task(all_clients())
    retention = asyncio.create_task(aged.run_beside(traffic, clients))
    tasks = [clients, *(asyncio.create_task(each.run(clients)) for each in followers)]
    running: set[asyncio.Task[Any]] = {*tasks, retention}
    while running:
        _, running = await asyncio.wait(running, timeout=0.2)
        progress(traffic.done, traffic.ledger)
        if stop_at_violation and traffic.ledger.violations:
            for task in running:
                task.cancel()
            await asyncio.wait([*tasks, retention])
            return 0
    for task in tasks:
        task.result()
    return retention.result()


@dataclass
class Environment:
    """A database behind a pooler, and the processes that use it."""

    database: Database
    fleet: Fleet
    target: Target
    folder: Path
    endpoint: Endpoint

    def log(self) -> str:
        """The log lines of the processes: errors only."""
        return (self.folder / "log").read_text(errors="replace")


@asynccontextmanager
async def running_environment(
    cluster: Cluster,
    sandboxes: int,
    *,
    mutant: str = "",
    module: str = OURS,
    instance: bool = True,
    transports: Sequence[str] = ("postgres",),
    of_instance: int = 0,
) -> AsyncGenerator[Environment]:
    """Start a module that has a `lambda_handler`, and an `app` if an instance is requested.

    The sandboxes use the transports in turn, the instance the one at the index `of_instance`.
    Another module than ours does not set the user of row-level security, so that it connects as
    the superuser.
    """
    ours = module == OURS
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as name,
        cluster.clone() as database,
        _pooler(cluster, Path(name) / "pooler") as pooler,
        (Path(name) / "log").open("wb") as log,
        neon_endpoint.running() as endpoint,
    ):
        superuser = mutant in WITHOUT_ROW_SECURITY or not ours
        user, password = ("postgres", cluster.password) if superuser else (ROLE, PASSWORD)
        variables = {
            "DATABASE_URL": pooler.url(database.name, user=user, password=password),
            "BETTER_AUTH_SECRET": SECRET,
            "CRON_SECRET": CRON_SECRET,
            "DATABASE_HTTP_URL": endpoint.url,
            "CORS_ORIGINS": "https://app.example.com",
            "LOG_LEVEL": "ERROR",
        }
        environments = [variables | {"DATABASE_TRANSPORT": each} for each in transports]
        async with running_fleet(
            module,
            environments,
            environments[of_instance] if instance else None,
            log,
            sandboxes=sandboxes,
            mutant=mutant,
        ) as fleet:
            admin = cluster.url("postgres")
            folder = Path(name) / "pooler"
            target = Target(database.name, database.admin_url, admin, pooler, folder, fleet)
            yield Environment(database, fleet, target, Path(name), endpoint)


def _pooler(cluster: Cluster, folder: Path) -> AbstractContextManager[Pooler]:
    return pgbouncer.running(
        postgres.Server(cluster.port, "", 0, Path()),
        users={ROLE: PASSWORD, "postgres": cluster.password},
        folder=folder,
        tls=False,
        settings=POOLER_SETTINGS,
    )


def make_users(database: Database, size: Size, ledger: Ledger) -> list[User]:
    """Create the users, the tasks that their clients share, and rows that have an age."""
    edits = size.operations * plan.MIX["edit"] // sum(plan.MIX.values())
    lists = 1 + edits // size.users // MAX_EDITS_PER_TASK
    users = []
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        for number in range(size.users):
            name = f"user-{number}-of-chaos"
            admin.execute(
                "INSERT INTO users (id, name, email) VALUES (%s, %s, %s)",
                [name, name, f"{name}@example.com"],
            )
            titles = [f"{name} shares {n}" for n in range(4 + lists)]
            ids = [
                task_id
                for title in titles
                for (task_id,) in admin.execute(
                    "INSERT INTO tasks (user_id, title) VALUES (%s, %s) RETURNING id",
                    [name, title],
                )
            ]
            trashed = aged.insert(admin, name, ledger)
            users.append(User(name, make_token(name), *ids[:4], trashed, ids[4:]))
    return users


async def _idle(database: Database) -> None:
    """Return when the database has completed every statement."""
    busy = (
        "SELECT state, wait_event, now() - xact_start, now() - state_change, query"
        " FROM pg_stat_activity"
        " WHERE datname = %s AND state <> 'idle' AND pid <> pg_backend_pid()"
    )
    until = time.monotonic() + 30
    while rows := database.query(busy, database.name):
        assert time.monotonic() < until, f"the database does not become idle: {rows}"
        await asyncio.sleep(0.05)
