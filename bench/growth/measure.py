"""Measures the bytes of each table and index, and what PostgreSQL does for each kind of request.

The database has users with the tasks that assumptions.py describes. The requests go through the
Lambda handler, each from another user. Only CPU time is measured: a busy machine changes it little.
"""

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg
from psycopg import sql

from bench import workload
from bench.growth.assumptions import MIX, assumed, per_user_and_day
from bench.implementations import OURS
from bench.processes import LAMBDA, WORKER, ComparisonError, Sandbox, postgres_cpu_seconds
from dev import postgres
from dev.local_database import PASSWORD, ROLE, create_app_role
from migrations.runner import migrate

ROOT = Path(__file__).parents[2]
TABLES = ("users", "tasks", "deleted_tasks", "idempotency_keys")
TRASH_DAYS = 31  # the ids of deleted tasks are kept for so long
ROUNDS = 7
REQUESTS = 60  # of each kind in a round
RECORDS = 2_000  # of idempotency keys
EXPLAINED = 5
CLUSTERED = ("list", "page")  # explained again with the tasks of a user in adjacent blocks
# Inserted in the order of time. Successive tasks belong to different users, as in production: the
# tasks of one user are in different blocks of the table.
TASKS = """
INSERT INTO tasks
    (user_id, title, description, priority, due_at, due_is_date, tags, created_at, updated_at)
SELECT md5((n %% %(users)s::bigint)::text), rpad(md5(n::text), %(title)s, ' about the tap'),
    CASE WHEN n %% 1000 < 1000 * %(described)s
        THEN rpad(md5('d' || n), %(description)s, ' in the mornings') END,
    n %% 5,
    CASE WHEN n %% 997 < 997 * %(dated)s
        THEN timestamptz '2026-01-01Z' + (n %% 365) * interval '1 day' ELSE 'infinity' END,
    n %% 997 < 997 * %(dated)s,
    CASE WHEN n %% 991 < 991 * %(tagged)s
        THEN ARRAY['tag-' || 1000 + n %% 9, 'tag-' || 2000 + n %% 7] ELSE '{}' END,
    timestamptz '2026-01-01Z' + n * interval '31 milliseconds',
    timestamptz '2026-01-01Z' + n * interval '31 milliseconds'
FROM generate_series(%(first)s::bigint, %(last)s) AS n
"""
BATCH = 20_000
USERS = """
INSERT INTO users (id, name, email)
SELECT md5(n::text), 'Ada Lovelace', 'user-' || n || '@example.com'
FROM generate_series(0::bigint, %s - 1) AS n
"""
CHANGE = """
UPDATE tasks SET completed = id %% 10 < 7, updated_at = created_at + interval '3 days',
    version = version + 1
WHERE id %% 5 = %s
"""
SIZES = """
SELECT %(table)s::text, pg_relation_size(%(table)s::text::regclass)
UNION ALL
SELECT indexrelid::regclass::text, pg_relation_size(indexrelid)
FROM pg_index WHERE indrelid = %(table)s::text::regclass
"""
# auto_explain writes the plan of each statement to the log of the server.
EXPLAIN = {
    "session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on", "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off", "auto_explain.log_format": "json",
}  # fmt: skip
PLAN = re.compile(r"LOG:  duration: [\d.]+ ms  plan:\n((?:\t.*\n)+)")

type Figures = dict[str, Any]


def measure(
    folder: Path,
    users: int,
    progress: Callable[[str], None] = lambda _: None,
    *,
    rounds: int = ROUNDS,
    requests: int = REQUESTS,
    records: int = RECORDS,
) -> Figures:
    """Create a database of so many users in `folder`, and measure it.

    Raises postgres.PostgresError and ComparisonError.
    """
    with postgres.running(folder, durable=False) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            # The steps below vacuum when the model says.
            connection.execute("ALTER SYSTEM SET autovacuum = off")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CREATE DATABASE growth")
        admin = server.url("growth")
        migrate(admin)
        create_app_role(admin)
        urls = workload.Urls(server.url("growth", user=ROLE, password=PASSWORD), admin, server.pid)
        with psycopg.connect(admin, autocommit=True) as connection:
            progress(f"inserting {users * assumed('tasks'):,.0f} tasks")
            fill(connection, users)
            relations = _sizes(connection, *TABLES[:-1])
            with _worker(urls, folder) as worker:
                progress("sending requests")
                measured = _measure_requests(
                    connection, worker, urls, users, rounds=rounds, requests=requests
                )
                progress("storing idempotency records")
                _store_records(connection, worker, users, records)
            connection.execute("VACUUM ANALYZE")
            relations |= _sizes(connection, TABLES[-1])
            for name, value in EXPLAIN.items():
                role, setting = sql.Identifier(ROLE), sql.Identifier(*name.split("."))
                connection.execute(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(role, setting, sql.Literal(value))
                )
            with _worker(urls, folder) as worker:
                progress("explaining requests")
                explained = _explain(connection, worker, folder / "log", users, MIX)
                progress("putting the tasks of each user together")
                connection.execute("CLUSTER tasks USING tasks_by_created_at")
                connection.execute("VACUUM ANALYZE tasks")
                clustered = _explain(connection, worker, folder / "log", users, CLUSTERED)
    requests_of_kind = {kind: of_kind | explained[kind] for kind, of_kind in measured.items()}
    return {
        "users": users, "relations": relations, "requests": requests_of_kind, "clustered": clustered
    }  # fmt: skip


def fill(connection: psycopg.Connection, users: int) -> None:
    """Insert users and tasks, move some to the trash, and change all others as assumed."""
    trash = round(TRASH_DAYS * per_user_and_day("delete"))
    number = users * (int(assumed("tasks")) + trash)
    connection.execute(USERS, [users])
    names = ("title", "description", "described", "dated", "tagged")
    values = {"users": users} | {name: assumed(name) for name in names}
    values |= {"title": int(assumed("title")), "description": int(assumed("description"))}
    for first in range(0, number, BATCH):
        last = min(first + BATCH, number) - 1
        connection.execute(TASKS, values | {"first": first, "last": last})
    connection.execute("DELETE FROM tasks WHERE id <= %s", [users * trash])
    connection.execute("VACUUM tasks")
    for _ in range(int(assumed("changes"))):
        for part in range(5):
            connection.execute(CHANGE, [part])
            connection.execute("VACUUM tasks")
    connection.execute("VACUUM ANALYZE")


def _sizes(connection: psycopg.Connection, *tables: str) -> Figures:
    """Return the bytes of each table and index, and its rows."""
    found = {}
    for table in tables:
        counted = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        [(rows,)] = connection.execute(counted).fetchall()
        for name, size in connection.execute(SIZES, {"table": table}).fetchall():
            found[name] = {"table": table, "bytes": size, "rows": rows}
    return found


@contextmanager
def _worker(urls: workload.Urls, folder: Path) -> Iterator[Sandbox]:
    """A process with the Lambda handler of the working tree."""
    events = folder / "events.json"
    events.write_text("{}")
    environment = {
        "PATH": os.defpath,
        "TZ": "UTC",
        "PYTHONPATH": str(ROOT),
        **workload.environment(urls, ours=True),
        **LAMBDA,
    }
    with subprocess.Popen(
        [sys.executable, "-P", str(WORKER), "api.tasks", str(events), "warm"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Sandbox(process, OURS)
        finally:
            process.kill()


def add_key(event: dict[str, Any]) -> dict[str, Any]:
    """Give a request a new idempotency key."""
    event["headers"]["idempotency-key"] = str(uuid4())
    return event


class _Requests:
    """Makes requests of each kind, each for another user and another task."""

    def __init__(self, connection: psycopg.Connection, worker: Sandbox, users: int) -> None:
        self._connection, self._worker, self._users = connection, worker, users
        self._number = 0

    def make(self, kind: str) -> dict[str, Any]:
        """Return the event of one request."""
        self._number += 1
        # Steps that share no factor with the number of users reach all of them.
        user = self._user(self._number * 7919 % self._users)
        path, task = f"/api/{user}/tasks", f"/api/{user}/tasks/{self._task(user)}"
        changed = {"title": f"Call the plumber about tap {self._number}"}
        event = {
            "list": lambda: workload.event("GET", path, user),
            "page": lambda: workload.event("GET", path, user, query="limit=50"),
            "get": lambda: workload.event("GET", task, user),
            "changes": lambda: workload.event(
                "GET", f"{path}/changes", user, query=f"since={quote(self._token(path, user))}"
            ),
            "create": lambda: workload.event("POST", path, user, body=changed),
            "toggle": lambda: workload.event("PATCH", f"{task}/complete", user),
            "update": lambda: workload.event("PUT", task, user, body=changed),
            "delete": lambda: workload.event("DELETE", task, user),
        }[kind]()
        if kind in ("create", "toggle", "update") and self._number % 3 < 3 * assumed("keyed"):
            add_key(event)
        return event

    def send(self, event: dict[str, Any]) -> dict[str, Any]:
        """Send a request. Raises ComparisonError if it fails."""
        result = self._worker.send(event)
        if result["response"]["statusCode"] not in (200, 201, 204):
            raise ComparisonError(f"The request {event} failed: {result['response']}")
        return result

    def _user(self, number: int) -> str:
        [(user,)] = self._connection.execute("SELECT md5(%s)", [str(number)]).fetchall()
        return user

    def _task(self, user: str) -> int:
        statement = "SELECT id FROM tasks WHERE user_id = %s ORDER BY md5(id || %s) LIMIT 1"
        [(task,)] = self._connection.execute(statement, [user, str(self._number)]).fetchall()
        return task

    def _token(self, path: str, user: str) -> str:
        query = "limit=500"
        while True:
            event = workload.event("GET", f"{path}/changes", user, query=query)
            page = json.loads(self.send(event)["response"]["body"])
            if not page["more"]:
                return page["next"]
            query = f"limit=500&since={quote(page['next'])}"


def _measure_requests(
    connection: psycopg.Connection,
    worker: Sandbox,
    urls: workload.Urls,
    users: int,
    *,
    rounds: int,
    requests: int,
) -> Figures:
    made = _Requests(connection, worker, users)
    for kind in MIX:  # opens the connection, prepares the statements
        for _ in range(12):
            made.send(made.make(kind))
    found: dict[str, dict[str, list[float]]] = {kind: {} for kind in MIX}
    for _ in range(rounds):
        for kind in MIX:
            events = [made.make(kind) for _ in range(requests)]
            began = _wal(connection), postgres_cpu_seconds(urls.pid)
            results = [made.send(event) for event in events]
            ended = postgres_cpu_seconds(urls.pid), _wal(connection)
            values = {
                "postgres_ms": 1e3 * (ended[0] - began[1]) / requests,
                "function_ms": 1e3 * statistics.mean(each["cpu"] for each in results),
                "wal_bytes": (ended[1] - began[0]) / requests,
                "response_bytes": statistics.mean(map(_response_bytes, results)),
            }
            for name, value in values.items():
                found[kind].setdefault(name, []).append(value)
    return {
        kind: {
            # Other programs on the machine only add to CPU time: the lowest value is the best one.
            name: round((min if name.endswith("_ms") else statistics.median)(values), 3)
            for name, values in of_kind.items()
        }
        for kind, of_kind in found.items()
    }


def _store_records(
    connection: psycopg.Connection, worker: Sandbox, users: int, number: int
) -> None:
    made = _Requests(connection, worker, users)
    for _ in range(number):
        made.send(add_key(made.make("create")))


def _wal(connection: psycopg.Connection) -> int:
    statement = "SELECT pg_current_wal_insert_lsn() - '0/0'"
    [(position,)] = connection.execute(statement).fetchall()
    return int(position)


def _response_bytes(result: dict[str, Any]) -> int:
    response = result["response"]
    headers = response["headers"] | {"status": "200 OK"}
    return len(response["body"].encode()) + sum(
        len(name) + len(str(value)) + 4 for name, value in headers.items()
    )


def _explain(
    connection: psycopg.Connection, worker: Sandbox, log: Path, users: int, kinds: Iterable[str]
) -> dict[str, Figures]:
    """Return the indexes, the most rows and the median of blocks of 8 KB that requests read.

    By kind. The system catalog is left out.
    """
    made = _Requests(connection, worker, users)
    found = {}
    for kind in kinds:
        events = [made.make(kind) for _ in range(EXPLAINED)]
        indexes: set[str] = set()
        rows, blocks = [], []
        for event in events:
            before = log.stat().st_size
            made.send(event)
            with log.open("rb") as file:
                file.seek(before)
                plans = list(_plans(file.read().decode()))
            nodes = [node for plan in plans for node in _nodes(plan) if not _is_of_catalog(node)]
            indexes |= {node["Index Name"] for node in nodes if "Index Name" in node}
            rows.append(sum(map(_rows_read, nodes)))
            blocks.append(
                sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans)
            )
        found[kind] = {
            "indexes": sorted(indexes),
            "rows": max(rows),
            "blocks": statistics.median(blocks),
        }
    return found


def _plans(log: str) -> Iterator[dict[str, Any]]:
    for text in PLAN.findall(log):
        yield json.loads(text.replace("\n\t", "\n"))["Plan"]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)


def _is_of_catalog(node: dict[str, Any]) -> bool:
    return node.get("Relation Name", node.get("Index Name", "")).startswith("pg_")


def _rows_read(node: dict[str, Any]) -> int:
    """The rows that a scan of a table has read, also those that a condition removed."""
    if "Relation Name" not in node or node["Node Type"] == "ModifyTable":
        return 0
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    rows = node["Actual Rows"] + sum(node.get(name, 0) for name in removed)
    return round(rows * node["Actual Loops"])
