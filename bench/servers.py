"""Measures the implementations as servers: concurrent requests, each kind of request, and growth.

A server runs on one processor, as an instance of Vercel has one. PostgreSQL and wrk run on the
others, so that they do not take its time. With one processor they share it.
"""

import json
import os
import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg

from bench import equivalence, workload
from bench.implementations import H11, HTTPTOOLS, OUR_SERVER, SERVERS, TUTORIAL_SERVER, Server
from bench.load import Client, Load, run_load
from bench.measure import Bench
from bench.processes import (
    ComparisonError,
    children,
    cpu_seconds,
    peak_memory,
    postgres_cpu_seconds,
    server,
)
from dev.local_database import ROLE

# The kinds of request, and the names of their events.
KINDS = {"list": "list", "page": "page 10", "get": "get", "create": "create", "toggle": "toggle"}
# Connections of the comparison of pool sizes.
POOL_CONNECTIONS = 50
# With more, the tutorial stands still: the requests that wait for a connection of SQLAlchemy's pool
# (5 and 10 more) take all 40 threads, and a connection is returned by a thread.
MAX_TUTORIAL_CONNECTIONS = 55


def measure_servers(bench: Bench) -> None:
    with _processors(bench) as (serving, others):
        with ExitStack() as stack:
            running = {
                chosen: stack.enter_context(server(chosen, bench.urls, serving))
                for chosen in SERVERS
            }
            _measure_kinds(
                bench,
                {
                    chosen: each
                    for chosen, each in running.items()
                    if chosen.options not in (H11, HTTPTOOLS)
                },
            )
            _measure_concurrency(bench, running, others)
        _measure_growth(bench, serving, others)
        _measure_pool_sizes(bench, serving, others)


@contextmanager
def _processors(bench: Bench) -> Iterator[tuple[set[int], set[int]]]:
    """Yield the processors of a server, and those of PostgreSQL and wrk."""
    available = os.sched_getaffinity(0)
    first, *rest = sorted(available)
    serving, others = {first}, set(rest) or {first}

    def pin_postgres(cpus: set[int]) -> None:
        for pid in (bench.urls.pid, *children(bench.urls.pid)):
            os.sched_setaffinity(pid, cpus)

    pin_postgres(others)  # also the processes that it starts later
    try:
        yield serving, others
    finally:
        pin_postgres(available)


def _measure_kinds(bench: Bench, running: dict[Server, tuple[int, int]]) -> None:
    """Measure one request of each kind at a time: CPU of the server and of PostgreSQL, medians."""
    events = json.loads(bench.events.read_text())
    cpu: dict[tuple[str, Server], list[float]] = defaultdict(list)
    postgres: dict[tuple[str, Server], list[float]] = defaultdict(list)
    expected: dict[str, Any] = {}
    clients = {chosen: Client(port) for chosen, (port, _) in running.items()}
    for chosen, client in clients.items():
        equivalence.check(chosen.title, lambda name, send=client.send: send(events[name]), expected)
        client.close()
    for number in range(bench.effort.kind_rounds):
        bench.progress(f"kinds of request, {number + 1} of {bench.effort.kind_rounds}")
        for kind, name in KINDS.items():
            for chosen, client in clients.items():
                _, pid = running[chosen]
                before = cpu_seconds(pid), postgres_cpu_seconds(bench.urls.pid)
                for _ in range(bench.effort.kind_requests):
                    response = client.send(events[name])
                    if response["statusCode"] not in (200, 201):
                        raise ComparisonError(f"{chosen.title} does not {kind}: {response}")
                after = cpu_seconds(pid), postgres_cpu_seconds(bench.urls.pid)
                client.close()  # servers close a connection that is idle
                used = [
                    (b - a) / bench.effort.kind_requests for a, b in zip(before, after, strict=True)
                ]
                cpu[kind, chosen].append(used[0])
                postgres[kind, chosen].append(used[1])
    for (kind, chosen), values in cpu.items():
        bench.figures[f"kind {kind} cpu", chosen.name] = statistics.median(values)
        bench.figures[f"kind {kind} postgres", chosen.name] = statistics.median(
            postgres[kind, chosen]
        )


def _measure_concurrency(
    bench: Bench, running: dict[Server, tuple[int, int]], others: set[int]
) -> None:
    """Measure lists of 10 over several connections, alternating between the servers: medians."""
    events = workload.lists()
    results: dict[tuple[int, Server], list[dict[str, float]]] = defaultdict(list)
    for port, _ in running.values():  # opens the database connections, and lets compilers optimize
        run_load(port, events, 50, bench.effort.server_seconds, others)
    for number in range(bench.effort.server_rounds):
        for connections in bench.effort.server_connections:
            bench.progress(
                f"servers, {connections} connections, {number + 1} of {bench.effort.server_rounds}"
            )
            for chosen, (port, pid) in running.items():
                if chosen is TUTORIAL_SERVER and connections > MAX_TUTORIAL_CONNECTIONS:
                    continue
                results[connections, chosen].append(
                    _under_load(bench, port, pid, events, connections, others)
                )
    for (connections, chosen), values in results.items():
        for what in values[0]:
            median = statistics.median(value[what] for value in values)
            bench.figures[f"server {connections} {what}", chosen.name] = median


def _under_load(
    bench: Bench,
    port: int,
    pid: int,
    events: list[dict[str, Any]],
    connections: int,
    others: set[int],
) -> dict[str, float]:
    before = cpu_seconds(pid), postgres_cpu_seconds(bench.urls.pid)
    load: Load = run_load(port, events, connections, bench.effort.server_seconds, others)
    after = cpu_seconds(pid), postgres_cpu_seconds(bench.urls.pid)
    return {
        "rate": load.requests / load.seconds,
        "p50": load.p50,
        "p99": load.p99,
        "cpu": (after[0] - before[0]) / load.requests,
        "postgres": (after[1] - before[1]) / load.requests,
        "wrk": load.cpu / load.requests,
    }


def _measure_growth(bench: Bench, serving: set[int], others: set[int]) -> None:
    """Measure what a process of this API needs, with more and more connections."""
    with server(OUR_SERVER, bench.urls, serving) as (port, pid):
        for connections in bench.effort.growth_connections:
            bench.progress(f"growth, {connections} connections")
            run_load(port, workload.lists(), connections, bench.effort.server_seconds, others)
            name = str(connections)
            bench.figures["growth rss", name] = peak_memory(pid)
            bench.figures["growth connections", name] = _database_connections(bench)


def _measure_pool_sizes(bench: Bench, serving: set[int], others: set[int]) -> None:
    """Measure this API with connection pools of several sizes, alternating between them: medians."""
    results: dict[int, list[dict[str, float]]] = defaultdict(list)
    with ExitStack() as stack:
        running = {
            size: stack.enter_context(
                server(OUR_SERVER, bench.urls, serving, {"DATABASE_POOL_SIZE": str(size)})
            )
            for size in bench.effort.pool_sizes
        }
        before = 0
        for size, (port, _) in running.items():  # opens the database connections
            run_load(port, workload.lists(), POOL_CONNECTIONS, 1, others)
            opened = _database_connections(bench)
            bench.figures["pool connections", str(size)] = opened - before
            before = opened
        for number in range(bench.effort.server_rounds):
            bench.progress(f"pool sizes, {number + 1} of {bench.effort.server_rounds}")
            for size, (port, pid) in running.items():
                results[size].append(
                    _under_load(bench, port, pid, workload.lists(), POOL_CONNECTIONS, others)
                )
    for size, values in results.items():
        for what in values[0]:
            median = statistics.median(value[what] for value in values)
            bench.figures[f"pool {what}", str(size)] = median


def _database_connections(bench: Bench) -> int:
    with psycopg.connect(bench.urls.admin) as connection:
        [[number]] = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [ROLE]
        ).fetchall()
    return number
