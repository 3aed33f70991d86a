"""Runs all measurements, alternating between the implementations, and collects the figures."""

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import equivalence, instructions, workload
from bench.implementations import AS_ZIPPED, FLOOR, HONO, IMPLEMENTATIONS, OURS, Implementation
from bench.processes import ComparisonError, Sandbox, sandbox, start_cold

# Ages of a sandbox, in requests: a just-in-time compiler optimizes during the first of them.
AGES = (1000, 2000)
WARM = ("list", "get", "create", "toggle")
COLD = ("unauthorized", "list")
CONNECTIONS = (1, 10, 50, 200)
GROWTH = (1, 10, 50, 100, 200)
POOL_SIZES = (2, 4, 8, 16, 32)
WARMED = tuple(
    implementation for implementation in IMPLEMENTATIONS if implementation is not AS_ZIPPED
)


@dataclass(frozen=True)
class Effort:
    """The number of repetitions of each measurement; `server_seconds` in seconds.

    server_connections, growth_connections, pool_sizes: the numbers that are compared.
    kind_rounds, kind_requests: of the measurement of each kind of request on a server.
    """

    sizes: tuple[int, ...]
    started: tuple[Implementation, ...]
    cold_starts: int
    lifetimes: int
    ages: tuple[int, ...]
    warm_up: int
    rounds: int
    requests: int
    server_connections: tuple[int, ...]
    server_rounds: int
    server_seconds: int
    kind_rounds: int
    kind_requests: int
    growth_connections: tuple[int, ...]
    pool_sizes: tuple[int, ...]
    counted: tuple[Implementation, ...]
    counted_warm: tuple[str, ...]
    counted_cold: tuple[str, ...]
    counted_requests: int


FULL = Effort(
    sizes=workload.SIZES, started=IMPLEMENTATIONS, cold_starts=5,
    lifetimes=3, ages=AGES, warm_up=300, rounds=10, requests=40,
    server_connections=CONNECTIONS, server_rounds=3, server_seconds=2,
    kind_rounds=3, kind_requests=150,
    growth_connections=GROWTH, pool_sizes=POOL_SIZES,
    counted=IMPLEMENTATIONS,
    counted_warm=WARM, counted_cold=COLD, counted_requests=30,
)  # fmt: skip
QUICK = Effort(
    sizes=workload.SIZES[:2], started=tuple(p for p in IMPLEMENTATIONS if p is not AS_ZIPPED),
    cold_starts=3, lifetimes=1, ages=AGES[:1], warm_up=60, rounds=5, requests=20,
    server_connections=CONNECTIONS[::2], server_rounds=1, server_seconds=1,
    kind_rounds=2, kind_requests=40,
    growth_connections=GROWTH[::2], pool_sizes=POOL_SIZES[1::2],
    counted=(FLOOR, OURS), counted_warm=("list",), counted_cold=("unauthorized",),
    counted_requests=20,
)  # fmt: skip
# Only shows whether the benchmark works: the figures are not meaningful.
TRIAL = Effort(
    sizes=(10,), started=IMPLEMENTATIONS, cold_starts=1,
    lifetimes=1, ages=(20,), warm_up=2, rounds=1, requests=2,
    server_connections=(1,), server_rounds=1, server_seconds=1,
    kind_rounds=1, kind_requests=2,
    growth_connections=(1,), pool_sizes=(2,),
    counted=(), counted_warm=(), counted_cold=(), counted_requests=1,
)  # fmt: skip
EFFORTS = {"": FULL, "quick": QUICK, "trial": TRIAL}

# (measurement, name of the implementation) -> value: CPU and wall time in seconds, memory in MB.
type Figures = dict[tuple[str, str], float]
type Progress = Callable[[str], None]


@dataclass
class Bench:
    """One run and its figures so far."""

    urls: workload.Urls
    events: Path
    effort: Effort
    progress: Progress
    figures: Figures = field(default_factory=dict)

    def record(self, what: str, implementation: Implementation, value: float) -> None:
        self.figures[what, implementation.name] = value


def measure_cold_starts(bench: Bench) -> None:
    """Measure new processes, alternating between the implementations: medians."""
    results: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for number in range(bench.effort.cold_starts):
        bench.progress(f"cold starts, {number + 1} of {bench.effort.cold_starts}")
        for implementation in bench.effort.started:
            for name in COLD:
                results[name, implementation.name].append(
                    start_cold(implementation, bench.urls, bench.events, name)
                )
    for (name, implementation), starts in results.items():
        for what in ("cpu", "wall", "rss"):
            median = statistics.median(start[what] for start in starts)
            bench.figures[f"cold {name} {what}", implementation] = median


def measure_lifetimes(bench: Bench) -> None:
    """Measure the CPU time of a list of 10 by the age of a sandbox, from its second request on.

    All sandboxes run at the same time, and each gets 20 requests in turn.
    """
    cpu: dict[tuple[int, Implementation], list[float]] = defaultdict(list)
    for number in range(bench.effort.lifetimes):
        bench.progress(f"sandbox lifetimes, {number + 1} of {bench.effort.lifetimes}")
        with ExitStack() as stack:
            running = {p: stack.enter_context(sandbox(p, bench.urls, bench.events)) for p in WARMED}
            for process in running.values():
                process.send("list")  # opens the database connection
            begin = 0
            for age in bench.effort.ages:
                for implementation, seconds in _cpu_of_lists(running, age - begin).items():
                    cpu[age, implementation].append(seconds / (age - begin))
                begin = age
    for (age, implementation), values in cpu.items():
        bench.record(f"age {age} cpu", implementation, statistics.median(values))
        # Compared within each lifetime, because the load of the machine changes between them.
        pairs = zip(values, cpu[age, HONO], strict=True)
        bench.record(
            f"age {age} cpu relative to hono",
            implementation,
            statistics.median(a / b for a, b in pairs),
        )


def _cpu_of_lists(
    running: Mapping[Implementation, Sandbox], requests: int
) -> dict[Implementation, float]:
    """Return the CPU seconds of each implementation for this many lists."""
    cpu = dict.fromkeys(running, 0.0)
    for _ in range(requests // 20):
        for implementation, process in running.items():
            cpu[implementation] += 20 * process.send("list", 20)["cpu"]
    return cpu


def measure_warm(bench: Bench) -> None:
    """Measure warm requests through the Lambda handler, a few per implementation in turn: medians."""
    expected: dict[str, Any] = {}
    with ExitStack() as stack:
        running: dict[Implementation, Sandbox] = {}
        for implementation in WARMED:
            process = stack.enter_context(sandbox(implementation, bench.urls, bench.events))
            equivalence.check(
                implementation.name,
                lambda name, process=process: process.send(name)["response"],
                expected,
            )
            running[implementation] = process
        bench.progress("all implementations return the same responses; warming up")
        for process in running.values():
            for name in WARM:
                process.send(name, bench.effort.warm_up)
        _measure_requests(bench, running)
        for implementation, process in running.items():
            bench.record("warm rss", implementation, process.send("get")["rss"])
        _measure_growth(bench, running)


def _measure_requests(bench: Bench, running: dict[Implementation, Sandbox]) -> None:
    cpu: dict[tuple[str, Implementation], list[float]] = defaultdict(list)
    wall_times: dict[tuple[str, Implementation], list[float]] = defaultdict(list)
    for number in range(bench.effort.rounds):
        bench.progress(f"warm requests, {number + 1} of {bench.effort.rounds}")
        for name in WARM:
            for implementation, process in running.items():
                result = process.send(name, bench.effort.requests)
                cpu[name, implementation].append(result["cpu"])
                wall_times[name, implementation] += result["wall_times"]
    for (name, implementation), values in cpu.items():
        bench.record(f"warm {name} cpu", implementation, statistics.median(values))
        bench.record(
            f"warm {name} wall", implementation, statistics.median(wall_times[name, implementation])
        )


def _measure_growth(bench: Bench, running: dict[Implementation, Sandbox]) -> None:
    for size in bench.effort.sizes:
        bench.progress(f"lists of a user with {size:,} tasks")
        times = 20 if size <= 10 else 4 if size <= 1_000 else 1
        for implementation, process in running.items():
            kinds: dict[str, Any] = {"full": f"full {size}", "page": f"page {size}"}
            if size > workload.PAGE:
                kinds["deep"] = _deep_page(implementation, process, size)
            for kind, event in kinds.items():
                repeats = times if kind == "full" else 20
                results = [process.send(event, repeats) for _ in range(3)]
                status = results[-1]["response"]["statusCode"]
                if status == 422 and implementation is OURS and kind == "full":
                    continue  # more than the 6 MB of a Lambda response
                if status != 200:
                    raise ComparisonError(
                        f"{implementation.name} does not return the {kind} list of {size}."
                    )
                wall_times = [wall for each in results for wall in each["wall_times"]]
                cpu = statistics.median(each["cpu"] for each in results)
                bench.record(f"{kind} {size} cpu", implementation, cpu)
                bench.record(f"{kind} {size} wall", implementation, statistics.median(wall_times))


def _deep_page(implementation: Implementation, process: Sandbox, size: int) -> dict[str, Any]:
    """Return the event for the page after 90 % of the list: by offset, or by following links."""
    owner = workload.reader(size)
    path = f"/api/{owner}/tasks"
    if implementation is not OURS:
        query = f"limit={workload.PAGE}&offset={size * 9 // 10}"
        return workload.event("GET", path, owner, query=query)
    query = "limit=100"
    for _ in range(size * 9 // 10 // 100):
        page = process.send(workload.event("GET", path, owner, query=query))["response"]
        headers = {name.lower(): value for name, value in page["headers"].items()}
        query = headers["link"].partition("?")[2].partition(">")[0]
    query = query.replace("limit=100", f"limit={workload.PAGE}")
    return workload.event("GET", path, owner, query=query)


def count_instructions(bench: Bench) -> None:
    """Count instructions, in parallel: other processes do not change the counts."""
    jobs = list(_counting_jobs(bench))
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for number, counted in enumerate(threads.map(lambda job: job(), jobs), 1):
            bench.figures.update(counted)
            bench.progress(f"instructions, {number} of {len(jobs)} processes counted")


def _counting_jobs(bench: Bench) -> Iterable[Callable[[], Figures]]:
    effort = bench.effort
    for implementation in reversed(effort.counted):  # the slowest first
        # Without bytecode a process takes minutes, so only one is counted.
        for name in (
            effort.counted_cold if implementation is not AS_ZIPPED else effort.counted_cold[:1]
        ):
            yield partial(_count_cold, bench, implementation, name)
        if implementation.node:
            yield partial(_count_warm_node, bench, implementation)
        elif implementation is not AS_ZIPPED:
            yield partial(_count_warm, bench, implementation)


def _count_cold(bench: Bench, implementation: Implementation, name: str) -> Figures:
    counted = instructions.count_cold(implementation, bench.urls, bench.events, name)
    return {(f"cold {name} instructions", implementation.name): counted}


def _count_warm(bench: Bench, implementation: Implementation) -> Figures:
    effort = bench.effort
    counted = instructions.count_warm(
        implementation, bench.urls, bench.events, effort.counted_warm, effort.counted_requests
    )
    return {
        (f"warm {name} instructions", implementation.name): value for name, value in counted.items()
    }


def _count_warm_node(bench: Bench, implementation: Implementation) -> Figures:
    # After the same warm-up as the others, over enough requests to include the compiler's work.
    counted = instructions.count_warm_node(
        implementation, bench.urls, bench.events, "list", bench.effort.warm_up, 1000
    )
    return {("warm list instructions", implementation.name): counted}


def print_progress() -> Progress:
    """Return a function that prints a step with the seconds since the start."""
    began = time.monotonic()

    def progress(step: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {step}", flush=True)

    return progress
