"""An API on a database that can be broken, a volley of requests, and the truth about what they did;
knows no single fault.
"""

import dataclasses
import socket
import time
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
from starlette.testclient import TestClient

from dev import postgres
from lib.db import pool as pools
from lib.settings import load_settings
from tests.conftest import bearer
from tests.support import pgbouncer, tcp_proxy
from tests.support.databases import Cluster, Database
from tests.support.pgbouncer import Pooler
from tests.support.tcp_proxy import Proxy

# Of the pooler; fewer than its clients.
BACKENDS = 5
PASSWORD = "faulty-0123456789"
UNKNOWN = (
    "The database did not respond in time. The change may or may not have been applied. "
    "Read before you retry."
)
UNCHANGED = "The database is unavailable. Nothing was changed. Try again."

# What a request of a volley does; a name that ends in "once" carries an Idempotency-Key.
READS = ("list",)
REPEATABLE = ("create once", "toggle once", "rename")
UNREPEATABLE = ("create", "toggle", "delete")
REQUESTS = READS + REPEATABLE + UNREPEATABLE

real_getaddrinfo = socket.getaddrinfo


def resolve_to_this_machine() -> list[Any]:
    return real_getaddrinfo("127.0.0.1", None, type=socket.SOCK_STREAM)


@dataclass
class Lab:
    """A database and a role of its own, behind a proxy, and a pooler if there is one."""

    cluster: Cluster
    database: Database
    role: str
    proxy: Proxy
    folder: Path | None
    pooler: Pooler | None = None
    resolve: Callable[[], list[Any]] = resolve_to_this_machine
    # What a fault wants to do once the volley is on its way.
    during: list[Callable[[], None]] = field(default_factory=list)
    _pooler_runs: ExitStack = field(default_factory=ExitStack)

    @property
    def host(self) -> str:
        """A name, so that name resolution can fail as well."""
        return f"{self.database.name.replace('_', '-')}.test"

    @property
    def url(self) -> str:
        place = f"{self.host}:{self.proxy.port}/{self.database.name}"
        return f"postgresql://{self.role}:{PASSWORD}@{place}?sslmode=disable"

    def backends(self) -> list[int]:
        """The pids of the server processes of the API, or of its pooler."""
        rows = self.as_owner("SELECT pid FROM pg_stat_activity WHERE usename = '{role}'")
        return [pid for (pid,) in rows]

    def await_sessions(self, count: int, condition: str) -> None:
        """Return when as many sessions of the API are in a state."""
        give_up = time.monotonic() + 20
        query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{{role}}' AND {condition}"  # noqa: S608
        while self.as_owner(query) != [(count,)]:
            assert time.monotonic() < give_up, f"never {count} sessions with {condition}"
            time.sleep(0.01)

    def as_owner(self, statement: str) -> list[tuple]:
        return self.database.query(statement.format(role=self.role, database=self.database.name))

    def console(self, *commands: str) -> None:
        """Tell the pooler."""
        assert self.pooler
        with psycopg.connect(self.pooler.admin_url, autocommit=True) as console:
            for command in commands:
                console.execute(command.format(database=self.database.name).encode())

    def use_every_backend(self) -> None:
        """Have the pooler open as many as it may."""
        urls = [self.url.replace(self.host, "127.0.0.1")] * BACKENDS
        with ExitStack() as stack, ThreadPoolExecutor(BACKENDS) as threads:
            connections = [stack.enter_context(psycopg.connect(url)) for url in urls]
            list(threads.map(lambda c: c.execute("SELECT pg_sleep(0.3)"), connections))
        assert len(self.backends()) == BACKENDS

    def start_pooler(self) -> None:
        """Start the pooler (again), and have the proxy stand before it."""
        assert self.folder
        self._pooler_runs.close()
        self.pooler = self._pooler_runs.enter_context(
            pgbouncer.running(
                postgres.Server(self.cluster.port, "", 0, Path()),
                users={self.role: PASSWORD},
                folder=self.folder,
                tls=False,  # so that the proxy sees what passes
                # Like Neon's, but login failures are forgotten at once: tests go on.
                settings={"server_login_retry": "0", "default_pool_size": str(BACKENDS)},
            )
        )
        self.proxy._target = self.pooler.port


@contextmanager
def laboratory(cluster: Cluster, pooler_folder: Path | None = None) -> Generator[Lab]:
    """Behind PgBouncer where a folder for it is given."""
    with ExitStack() as stack:
        database = stack.enter_context(cluster.clone())
        role = stack.enter_context(_role_of_its_own(database))
        proxy = stack.enter_context(tcp_proxy.running(cluster.port))
        lab = Lab(cluster, database, role, proxy, pooler_folder)
        stack.enter_context(lab._pooler_runs)
        if pooler_folder:
            lab.start_pooler()

        beneath = socket.getaddrinfo  # of this machine, or of another laboratory

        def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
            return lab.resolve() if host == lab.host else beneath(host, *rest, **options)

        stack.enter_context(patch.object(socket, "getaddrinfo", getaddrinfo))
        yield lab


@contextmanager
def _role_of_its_own(database: Database) -> Generator[str]:
    """A role like production's, which a fault may lock out without hurting other tests."""
    role = f"faulty_{uuid.uuid4().hex[:12]}"
    database.query(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' IN ROLE task_api")
    try:
        yield role
    finally:
        database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role
        )
        database.query(f"DROP ROLE {role}")


@dataclass(frozen=True)
class Outcome:
    """What one request of a volley was told, and what really happened.

    applied: how often its effect was in the database when everything had settled, and `finally_`
    after the client had repeated what carries a key. `first`: the repeat gave the first outcome.
    """

    name: str
    status: int
    answer: dict[str, Any]
    retry_after: bool
    seconds: float
    applied: int = 0
    finally_applied: int = 0
    first: bool = True

    @property
    def said(self) -> str:
        if self.status != 503:
            return "done" if self.status < 300 else str(self.status)
        return {UNKNOWN: "unknown", UNCHANGED: "unchanged"}.get(self.answer["detail"], "503 ?")

    @property
    def lost(self) -> bool:
        promised = self.said == "done" or self.name.endswith("once")
        return self.name not in READS and promised and self.finally_applied < 1

    @property
    def doubled(self) -> bool:
        return self.finally_applied > 1

    @property
    def untrue(self) -> bool:
        return (self.said == "unchanged" and self.applied > 0) or not self.first


type Fault = Callable[[Lab, Volley], AbstractContextManager[None]]


class Volley:
    """One request of each kind, each by a user of its own, all at once."""

    def __init__(self, lab: Lab, client: TestClient) -> None:
        self.lab = lab
        self.client = client
        self.users = {name: f"{name}-{uuid.uuid4().hex}".replace(" ", "-") for name in REQUESTS}
        self.tasks = {name: self._create(name) for name in REQUESTS}

    def _create(self, name: str) -> int:
        user = self.users[name]
        body = {"title": "Before"}
        answer = self.client.post(f"/api/{user}/tasks", json=body, headers=bearer(user))
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def fly(self, fault: Fault) -> list[Outcome]:
        """Send the volley while the fault is there, then find out what happened."""
        self._warm_up()
        with fault(self.lab, self), ThreadPoolExecutor(len(REQUESTS)) as threads:
            shots = [threads.submit(self._send, name) for name in REQUESTS]
            for step in self.lab.during:
                step()
            self.lab.during.clear()
            outcomes = [shot.result(60) for shot in shots]
        self.lab.await_sessions(0, "state <> 'idle'")
        return [self._settle(outcome) for outcome in outcomes]

    def _warm_up(self) -> None:
        """Give each request a connection that works."""
        pool = pools.pool_of(load_settings())
        with ExitStack() as stack:
            for _ in REQUESTS:
                stack.enter_context(pool.lend(time.monotonic()))

    def _send(self, name: str) -> Outcome:
        method, path, body = {
            "list": ("GET", "", None),
            "create": ("POST", "", {"title": "After"}),
            "create once": ("POST", "", {"title": "After"}),
            "rename": ("PUT", f"/{self.tasks[name]}", {"title": "After"}),
            "toggle": ("PATCH", f"/{self.tasks[name]}/complete", None),
            "toggle once": ("PATCH", f"/{self.tasks[name]}/complete", None),
            "delete": ("DELETE", f"/{self.tasks[name]}", None),
        }[name]
        user = self.users[name]
        headers = bearer(user) | ({"Idempotency-Key": "k"} if name.endswith("once") else {})
        started = time.monotonic()
        answer = self.client.request(method, f"/api/{user}/tasks{path}", headers=headers, json=body)
        seconds = time.monotonic() - started
        content = answer.json() if answer.content else {}
        return Outcome(name, answer.status_code, content, "retry-after" in answer.headers, seconds)

    def _settle(self, outcome: Outcome) -> Outcome:
        applied = self._applied(outcome.name)
        if not outcome.name.endswith("once"):
            return dataclasses.replace(outcome, applied=applied, finally_applied=applied)
        repeat = self._send(outcome.name)
        assert repeat.said == "done", repeat
        newest = "SELECT max(id) FROM tasks WHERE user_id = %s"
        [(newest_id,)] = self.lab.database.query(newest, self.users[outcome.name])
        return dataclasses.replace(
            outcome,
            applied=applied,
            finally_applied=self._applied(outcome.name),
            first=repeat.answer["id"] == newest_id
            and (outcome.said != "done" or repeat.answer == outcome.answer),
        )

    def _applied(self, name: str) -> int:
        count = {
            "list": "0",
            "create": "(SELECT count(*) - 1 FROM tasks WHERE user_id = %s)",
            "create once": "(SELECT count(*) - 1 FROM tasks WHERE user_id = %s)",
            "delete": "(SELECT 1 - count(*) FROM tasks WHERE user_id = %s)",
        }.get(name, "(SELECT version - 1 FROM tasks WHERE user_id = %s)")
        values = [self.users[name]] if "%s" in count else []
        [(applied,)] = self.lab.database.query(f"SELECT {count}", *values)
        return applied
