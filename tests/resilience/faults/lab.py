"""An API on a database that can be made to fail, a batch of requests, and the changes they made."""

import asyncio
import dataclasses
import json
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
from dev.app import app
from lib.db import pool as database
from lib.db.pool import Pool
from lib.db.transport import Statement
from lib.settings import load_settings
from tests.conftest import bearer
from tests.support import neon_endpoint, pgbouncer, tcp_proxy
from tests.support.databases import Cluster, Database
from tests.support.pgbouncer import Pooler
from tests.support.tcp_proxy import Proxy

# Backends of the pooler; fewer than its clients.
BACKENDS = 5
PASSWORD = "faulty-0123456789"
UNKNOWN = (
    "The database did not confirm the change, which may or may not have been applied. "
    "Read before you retry."
)
UNCHANGED = "The database is unavailable. Nothing was changed. Try again."

# The kinds of request of a batch; one whose name ends in "once" carries an Idempotency-Key.
READS = ("list",)
REPEATABLE = ("create once", "toggle once")
UNREPEATABLE = ("create", "rename", "complete", "toggle", "delete")
KINDS = READS + REPEATABLE + UNREPEATABLE

real_getaddrinfo = socket.getaddrinfo


def resolve_to_this_machine() -> list[Any]:
    return real_getaddrinfo("127.0.0.1", None, type=socket.SOCK_STREAM)


@dataclass
class Lab:
    """A database and a role of its own, behind a proxy, and behind a pooler if `folder` is set.

    With `http`, the proxy is in front of an emulator of Neon's serverless driver endpoint.
    """

    cluster: Cluster
    database: Database
    role: str
    proxy: Proxy
    folder: Path | None
    http: bool = False
    pooler: Pooler | None = None
    resolve: Callable[[], list[Any]] = resolve_to_this_machine
    # Steps of a fault that run after the batch was sent.
    during: list[Callable[[], None]] = field(default_factory=list)
    _pooler_stack: ExitStack = field(default_factory=ExitStack)

    @property
    def host(self) -> str:
        """A host name, so that name resolution can fail as well."""
        return f"{self.database.name.replace('_', '-')}.test"

    @property
    def url(self) -> str:
        address = f"{self.host}:{self.proxy.port}/{self.database.name}"
        return f"postgresql://{self.role}:{PASSWORD}@{address}?sslmode=disable"

    @property
    def variables(self) -> dict[str, str]:
        """The settings of an API that uses the database."""
        if not self.http:
            return {"DATABASE_URL": self.url}
        return {
            "DATABASE_URL": self.cluster.url(self.database.name, self.role, PASSWORD),
            "DATABASE_TRANSPORT": "http",
            # Without TLS, so that the proxy can read the traffic.
            "DATABASE_HTTP_URL": f"http://127.0.0.1:{self.proxy.port}/sql",
        }

    def backends(self) -> list[int]:
        """The pids of the server processes of the API, or of its pooler."""
        rows = self.as_owner("SELECT pid FROM pg_stat_activity WHERE usename = '{role}'")
        return [pid for (pid,) in rows]

    def await_sessions(self, count: int, condition: str) -> None:
        """Return when exactly `count` sessions of the API fulfil a condition in SQL."""
        until = time.monotonic() + 20
        query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{{role}}' AND {condition}"  # noqa: S608
        while self.as_owner(query) != [(count,)]:
            assert time.monotonic() < until, f"never {count} sessions with {condition}"
            time.sleep(0.01)

    def await_closed_connections(self) -> None:
        """Return when all connections of the API are closed, at both of their ends."""
        self.await_sessions(0, "true")
        if not self.http:  # Over HTTP, the endpoint had the sessions.
            self.proxy.await_end_of_responses()

    def as_owner(self, statement: str) -> list[tuple]:
        return self.database.query(statement.format(role=self.role, database=self.database.name))

    def console(self, *commands: str) -> None:
        """Run commands on the console of the pooler."""
        assert self.pooler
        with psycopg.connect(self.pooler.admin_url, autocommit=True) as console:
            for command in commands:
                console.execute(command.format(database=self.database.name).encode())

    def open_all_backends(self) -> None:
        """Make the pooler open as many backends as it may."""
        urls = [self.url.replace(self.host, "127.0.0.1")] * BACKENDS
        with ExitStack() as stack, ThreadPoolExecutor(BACKENDS) as threads:
            connections = [stack.enter_context(psycopg.connect(url)) for url in urls]
            list(threads.map(lambda c: c.execute("SELECT pg_sleep(0.3)"), connections))
        assert len(self.backends()) == BACKENDS

    def start_pooler(self) -> None:
        """Start the pooler, or start it again, and make the proxy forward to it."""
        assert self.folder
        self._pooler_stack.close()
        self.pooler = self._pooler_stack.enter_context(
            pgbouncer.running(
                postgres.Server(self.cluster.port, "", 0, Path()),
                users={self.role: PASSWORD},
                folder=self.folder,
                tls=False,  # so that the proxy can read the traffic
                # As Neon configures it, except that failed logins are forgotten at once.
                settings={"server_login_retry": "0", "default_pool_size": str(BACKENDS)},
            )
        )
        self.proxy._target = self.pooler.port


@contextmanager
def running_lab(
    cluster: Cluster, pooler_folder: Path | None = None, *, http: bool = False
) -> Generator[Lab]:
    """Set up a lab, behind PgBouncer where a folder for it is given."""
    with ExitStack() as stack:
        clone = stack.enter_context(cluster.clone())
        role = stack.enter_context(_role(clone))
        port = cluster.port
        if http:
            port = stack.enter_context(neon_endpoint.running()).port
        proxy = stack.enter_context(tcp_proxy.running(port))
        lab = Lab(cluster, clone, role, proxy, pooler_folder, http=http)
        stack.enter_context(lab._pooler_stack)
        if pooler_folder:
            lab.start_pooler()

        original = socket.getaddrinfo  # of this machine, or of another lab

        def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
            return lab.resolve() if host == lab.host else original(host, *rest, **options)

        stack.enter_context(patch.object(socket, "getaddrinfo", getaddrinfo))
        yield lab


@contextmanager
def _role(clone: Database) -> Generator[str]:
    """A role like production's. A fault may lock it out without an effect on other tests."""
    role = f"faulty_{uuid.uuid4().hex[:12]}"
    clone.query(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' IN ROLE task_api")
    try:
        yield role
    finally:
        clone.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role
        )
        clone.query(f"DROP ROLE {role}")


@dataclass(frozen=True)
class Outcome:
    """The response to one request, and what really happened.

    `applied` counts how often its effect was in the database when nothing was under way any more,
    `finally_applied` how often after the client had repeated what carries a key. `same_response`
    is whether that repeat got the first response.
    """

    kind: str
    status: int
    body: Any
    retry_after: bool
    seconds: float
    applied: int = 0
    finally_applied: int = 0
    same_response: bool = True

    @property
    def reported(self) -> str:
        """`done`, `unchanged`, `unknown`, or the status of another response."""
        if self.status != 503:
            return "done" if self.status < 300 else str(self.status)
        return {UNKNOWN: "unknown", UNCHANGED: "unchanged"}.get(self.body["detail"], "503 ?")

    @property
    def lost(self) -> bool:
        promised = self.reported == "done" or self.kind.endswith("once")
        return self.kind not in READS and promised and self.finally_applied < 1

    @property
    def doubled(self) -> bool:
        return self.finally_applied > 1

    @property
    def misreported(self) -> bool:
        return (self.reported == "unchanged" and self.applied > 0) or not self.same_response

    @property
    def sound(self) -> bool:
        return not (self.lost or self.doubled or self.misreported)


type Fault = Callable[[Lab, Batch], AbstractContextManager[None]]


class Batch:
    """Requests that are sent at once, each by a user of its own.

    `client` must have been entered, so that all requests run in one event loop, as in a server.
    """

    def __init__(self, lab: Lab, client: TestClient, kinds: tuple[str, ...] = KINDS) -> None:
        self.lab = lab
        self.client = client
        self.requests = [Request(lab.database, client, kind) for kind in kinds]

    @property
    def users(self) -> list[str]:
        return [request.user for request in self.requests]

    def send(self, fault: Fault) -> list[Outcome]:
        """Send all requests during the fault, then compare the responses with the database."""
        self._open_connections()
        with fault(self.lab, self), ThreadPoolExecutor(len(self.requests)) as threads:
            futures = [threads.submit(request.send) for request in self.requests]
            for step in self.lab.during:
                step()
            self.lab.during.clear()
            outcomes = [future.result(60) for future in futures]
        self.lab.await_sessions(0, "state <> 'idle'")
        return [
            request.settle(outcome)
            for request, outcome in zip(self.requests, outcomes, strict=True)
        ]

    def _open_connections(self) -> None:
        """Fill the pool with connections that work."""
        assert self.client.portal, "the client was not entered"
        self.client.portal.call(use_connections, database.get_pool(load_settings()))


async def use_connections(pool: Pool) -> None:
    """Open as many connections as the pool may have, and as many backends."""
    users = [f"user-{number}" for number in range(pool._size)]
    connections = [await pool.acquire(user, time.monotonic()) for user in users]
    sleep: Statement = ("SELECT pg_sleep(0.2)", {})
    await asyncio.gather(*(connection.run(sleep) for connection in connections))
    for user, connection in zip(users, connections, strict=True):
        pool.release(user, connection)


async def open_connections(pool: Pool) -> None:
    """Open as many connections as the pool may have."""
    users = [f"user-{number}" for number in range(pool._size)]
    connections = [(user, await pool.acquire(user, time.monotonic())) for user in users]
    for user, connection in connections:
        pool.release(user, connection)


class Request:
    """One request of a new user who has one task."""

    def __init__(self, clone: Database, client: TestClient, kind: str) -> None:
        self._database = clone
        self._client = client
        self.kind = kind
        self.user = f"{kind}-{uuid.uuid4().hex}".replace(" ", "-")
        response = client.post(
            f"/api/{self.user}/tasks", json={"title": "Before"}, headers=bearer(self.user)
        )
        assert response.status_code == 201, response.text
        self._task = response.json()["id"]

    def send(self) -> Outcome:
        method, path, body = {
            "list": ("GET", "", None),
            "create": ("POST", "", {"title": "After"}),
            "create once": ("POST", "", {"title": "After"}),
            "rename": ("PUT", f"/{self._task}", {"title": "After"}),
            "complete": ("PATCH", f"/{self._task}/complete", {"completed": True}),
            "toggle": ("PATCH", f"/{self._task}/complete", None),
            "toggle once": ("PATCH", f"/{self._task}/complete", None),
            "delete": ("DELETE", f"/{self._task}", None),
        }[self.kind]
        key = {"Idempotency-Key": "k"} if self.kind.endswith("once") else {}
        headers = bearer(self.user) | key
        started = time.monotonic()
        response = self._client.request(
            method, f"/api/{self.user}/tasks{path}", headers=headers, json=body
        )
        return Outcome(
            self.kind,
            response.status_code,
            response.json() if response.content else {},
            "retry-after" in response.headers,
            time.monotonic() - started,
        )

    def settle(self, outcome: Outcome) -> Outcome:
        """Complete the outcome from the database, after a repeat if the request has a key."""
        applied = self.applied()
        if not self.kind.endswith("once"):
            return dataclasses.replace(outcome, applied=applied, finally_applied=applied)
        repeat = self.send()
        assert repeat.reported == "done", repeat
        newest = "SELECT max(id) FROM tasks WHERE user_id = %s"
        [(newest_id,)] = self._database.query(newest, self.user)
        return dataclasses.replace(
            outcome,
            applied=applied,
            finally_applied=self.applied(),
            same_response=repeat.body["id"] == newest_id
            and (outcome.reported != "done" or repeat.body == outcome.body),
        )

    def applied(self) -> int:
        """How often the effect of the request is in the database."""
        count = {
            "list": "0",
            "create": "(SELECT count(*) - 1 FROM tasks WHERE user_id = %s)",
            "create once": "(SELECT count(*) - 1 FROM tasks WHERE user_id = %s)",
            "delete": "(SELECT 1 - count(*) FROM tasks WHERE user_id = %s)",
        }.get(self.kind, "(SELECT version - 1 FROM tasks WHERE user_id = %s)")
        values = [self.user] if "%s" in count else []
        [(applied,)] = self._database.query(f"SELECT {count}", *values)
        return applied


async def asgi_request(
    method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, Any]:
    """Send one request to the ASGI application. Returns the status and the JSON document.

    Receiving and sending wait too, as in a server.
    """

    messages: list[Any] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), (b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        messages.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in messages[1:])
    return messages[0]["status"], json.loads(content) if content else None
