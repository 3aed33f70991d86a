"""Runs every measurement side by side and gives the figures; knows nothing of tables."""

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

from bench import fairness, instructions, load, workload
from bench.partners import AS_ZIPPED, FLOOR, HONO, OURS, PARTNERS, Partner
from bench.processes import Sandbox, Unfair, cpu_seconds, sandbox, server, start_cold

# Of a sandbox's life, in requests: some compilers need the first part to learn what is asked.
AGES = (1000, 2000)
WARM = ("list", "get", "create", "toggle")
COLD = ("unauthorized", "list")
WARMED = tuple(partner for partner in PARTNERS if partner is not AS_ZIPPED)


@dataclass(frozen=True)
class Effort:
    """How much is run. Seconds where it says so."""

    sizes: tuple[int, ...]
    started: tuple[Partner, ...]
    cold_starts: int
    lives: int
    ages: tuple[int, ...]
    warm_up: int
    rounds: int
    requests: int
    server_rounds: int
    server_seconds: float
    counted: tuple[Partner, ...]
    counted_warm: tuple[str, ...]
    counted_cold: tuple[str, ...]
    counted_requests: int


FULL = Effort(
    sizes=workload.SIZES, started=PARTNERS, cold_starts=5,
    lives=3, ages=AGES, warm_up=300, rounds=10, requests=40,
    server_rounds=3, server_seconds=2.0,
    counted=PARTNERS,
    counted_warm=WARM, counted_cold=COLD, counted_requests=30,
)  # fmt: skip
QUICK = Effort(
    sizes=workload.SIZES[:2], started=tuple(p for p in PARTNERS if p is not AS_ZIPPED),
    cold_starts=3, lives=1, ages=AGES[:1], warm_up=60, rounds=5, requests=20,
    server_rounds=1, server_seconds=1.0,
    counted=(FLOOR, OURS), counted_warm=("list",), counted_cold=("unauthorized",),
    counted_requests=20,
)  # fmt: skip
# Whether it works at all: its figures say nothing.
TRIAL = Effort(
    sizes=(10,), started=PARTNERS, cold_starts=1,
    lives=1, ages=(20,), warm_up=2, rounds=1, requests=2,
    server_rounds=1, server_seconds=0.2,
    counted=(), counted_warm=(), counted_cold=(), counted_requests=1,
)  # fmt: skip
EFFORTS = {"": FULL, "quick": QUICK, "trial": TRIAL}

# (what, partner's name) -> number: CPU and waiting in seconds, instructions as such, memory in MB.
type Figures = dict[tuple[str, str], float]
type Progress = Callable[[str], None]


@dataclass
class Bench:
    """One run: where everything is, and the figures so far."""

    urls: workload.Urls
    events: Path
    effort: Effort
    progress: Progress
    figures: Figures = field(default_factory=dict)

    def note(self, what: str, partner: Partner, value: float) -> None:
        self.figures[what, partner.name] = value


def measure_cold_starts(bench: Bench) -> None:
    """New processes, one partner after the other, several times: medians."""
    seen: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for number in range(bench.effort.cold_starts):
        bench.progress(f"cold starts, {number + 1} of {bench.effort.cold_starts}")
        for partner in bench.effort.started:
            for name in COLD:
                seen[name, partner.name].append(start_cold(partner, bench.urls, bench.events, name))
    for (name, partner), starts in seen.items():
        for what in ("cpu", "wall", "rss"):
            median = statistics.median(start[what] for start in starts)
            bench.figures[f"cold {name} {what}", partner] = median


def measure_lives(bench: Bench) -> None:
    """A list of 10 from a sandbox's second request on, all partners alive, twenty in turn."""
    cpu: dict[tuple[int, Partner], list[float]] = defaultdict(list)
    for number in range(bench.effort.lives):
        bench.progress(f"lives of a sandbox, {number + 1} of {bench.effort.lives}")
        with ExitStack() as stack:
            alive = {p: stack.enter_context(sandbox(p, bench.urls, bench.events)) for p in WARMED}
            for process in alive.values():
                process.answer("list")  # makes its connection
            begin = 0
            for age in bench.effort.ages:
                for partner, seconds in _spend(alive, age - begin).items():
                    cpu[age, partner].append(seconds / (age - begin))
                begin = age
    for (age, partner), values in cpu.items():
        bench.note(f"life {age} cpu", partner, statistics.median(values))
        # Life by life, since what else the machine does changes from one to the next.
        pairs = zip(values, cpu[age, HONO], strict=True)
        bench.note(f"life {age} cpu of hono's", partner, statistics.median(a / b for a, b in pairs))


def _spend(alive: Mapping[Partner, Sandbox], requests: int) -> dict[Partner, float]:
    """Seconds of CPU for so many lists."""
    spent = dict.fromkeys(alive, 0.0)
    for _ in range(requests // 20):
        for partner, process in alive.items():
            spent[partner] += 20 * process.answer("list", 20)["cpu"]
    return spent


def measure_warm(bench: Bench) -> None:
    """Through the Lambda handler, all partners alive, a few requests of each in turn: medians."""
    expected: dict[str, Any] = {}
    with ExitStack() as stack:
        alive: dict[Partner, Sandbox] = {}
        for partner in WARMED:
            process = stack.enter_context(sandbox(partner, bench.urls, bench.events))
            fairness.check(partner.name, process, expected)
            alive[partner] = process
        bench.progress("all partners answer the same; warming up")
        for process in alive.values():
            for name in WARM:
                process.answer(name, bench.effort.warm_up)
        _measure_requests(bench, alive)
        for partner, process in alive.items():
            bench.note("warm rss", partner, process.answer("get")["rss"])
        _measure_growth(bench, alive)


def _measure_requests(bench: Bench, alive: dict[Partner, Sandbox]) -> None:
    cpu: dict[tuple[str, Partner], list[float]] = defaultdict(list)
    walls: dict[tuple[str, Partner], list[float]] = defaultdict(list)
    for number in range(bench.effort.rounds):
        bench.progress(f"warm requests, {number + 1} of {bench.effort.rounds}")
        for name in WARM:
            for partner, process in alive.items():
                told = process.answer(name, bench.effort.requests)
                cpu[name, partner].append(told["cpu"])
                walls[name, partner] += told["walls"]
    for (name, partner), values in cpu.items():
        bench.note(f"warm {name} cpu", partner, statistics.median(values))
        bench.note(f"warm {name} wall", partner, statistics.median(walls[name, partner]))


def _measure_growth(bench: Bench, alive: dict[Partner, Sandbox]) -> None:
    for size in bench.effort.sizes:
        bench.progress(f"lists of a user with {size:,} tasks")
        times = 20 if size <= 10 else 4 if size <= 1_000 else 1
        for partner, process in alive.items():
            kinds: dict[str, Any] = {"whole": f"whole {size}", "page": f"page {size}"}
            if size > workload.PAGE:
                kinds["deep"] = _deep_page(partner, process, size)
            for kind, event in kinds.items():
                repeats = times if kind == "whole" else 20
                told = [process.answer(event, repeats) for _ in range(3)]
                status = told[-1]["answer"]["statusCode"]
                if status == 422 and partner is OURS and kind == "whole":
                    continue  # Lambda would drop so large an answer: ours says so
                if status != 200:
                    raise Unfair(f"{partner.name} does not give the {kind} list of {size}.")
                walls = [wall for one in told for wall in one["walls"]]
                cpu = statistics.median(one["cpu"] for one in told)
                bench.note(f"{kind} {size} cpu", partner, cpu)
                bench.note(f"{kind} {size} wall", partner, statistics.median(walls))


def _deep_page(partner: Partner, process: Sandbox, size: int) -> dict[str, Any]:
    """The request for the page behind 90 % of the list: an offset, or where following links led."""
    owner = workload.reader(size)
    path = f"/api/{owner}/tasks"
    if partner is not OURS:
        query = f"limit={workload.PAGE}&offset={size * 9 // 10}"
        return workload.event("GET", path, owner, query=query)
    query = "limit=100"
    for _ in range(size * 9 // 10 // 100):
        page = process.answer(workload.event("GET", path, owner, query=query))["answer"]
        headers = {name.lower(): value for name, value in page["headers"].items()}
        query = headers["link"].partition("?")[2].partition(">")[0]
    query = query.replace("limit=100", f"limit={workload.PAGE}")
    return workload.event("GET", path, owner, query=query)


def measure_servers(bench: Bench) -> None:
    """A list of 10 through a server of many requests at once, at 1 and at 50 connections."""
    owner = workload.reader(bench.effort.sizes[0])
    event = workload.event("GET", f"/api/{owner}/tasks", owner)
    headers = {name: value for name, value in event["headers"].items() if name != "content-length"}
    request = load.request_bytes(event["rawPath"], headers)
    partners = [partner for partner in PARTNERS if partner.application]
    waits: dict[tuple[int, Partner], list[float]] = defaultdict(list)
    rates: dict[tuple[int, Partner], list[float]] = defaultdict(list)
    cpu: dict[tuple[int, Partner], list[float]] = defaultdict(list)
    expected: dict[str, Any] = {}
    with ExitStack() as stack:
        alive = {p: stack.enter_context(server(p, bench.urls)) for p in partners}
        for partner, (port, _) in alive.items():
            served = fairness.comparable(load.ask_once(port, request))
            if expected.setdefault("list", served) != served:
                raise Unfair(f"{partner.name} serves another list than the others.")
            load.run_load(port, request, 50, bench.effort.server_seconds)
        for number in range(bench.effort.server_rounds):
            bench.progress(f"servers, {number + 1} of {bench.effort.server_rounds}")
            for connections in (1, 50):
                for partner, (port, pid) in alive.items():
                    before = cpu_seconds(pid)
                    seen = load.run_load(port, request, connections, bench.effort.server_seconds)
                    used = cpu_seconds(pid) - before
                    cpu[connections, partner].append(used / len(seen.waits))
                    rates[connections, partner].append(len(seen.waits) / seen.seconds)
                    waits[connections, partner] += seen.waits
    for (connections, partner), values in waits.items():
        key = connections, partner
        percentiles = statistics.quantiles(values, n=100)
        bench.note(f"server {connections} rate", partner, statistics.median(rates[key]))
        bench.note(f"server {connections} cpu", partner, statistics.median(cpu[key]))
        bench.note(f"server {connections} p50", partner, percentiles[49])
        bench.note(f"server {connections} p99", partner, percentiles[98])


def count_instructions(bench: Bench) -> None:
    """Under valgrind, as many at once as there are processors: counts do not mind."""
    jobs = list(_counting_jobs(bench))
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for number, counted in enumerate(threads.map(lambda job: job(), jobs), 1):
            bench.figures.update(counted)
            bench.progress(f"instructions, {number} of {len(jobs)} processes counted")


def _counting_jobs(bench: Bench) -> Iterable[Callable[[], Figures]]:
    effort = bench.effort
    for partner in reversed(effort.counted):  # the longest first
        # Without bytecode a process takes minutes: once is enough.
        for name in effort.counted_cold if partner is not AS_ZIPPED else effort.counted_cold[:1]:
            yield partial(_count_cold, bench, partner, name)
        if partner.node:
            yield partial(_count_warm_node, bench, partner)
        elif partner is not AS_ZIPPED:
            yield partial(_count_warm, bench, partner)


def _count_cold(bench: Bench, partner: Partner, name: str) -> Figures:
    counted = instructions.count_cold(partner, bench.urls, bench.events, name)
    return {(f"cold {name} instructions", partner.name): counted}


def _count_warm(bench: Bench, partner: Partner) -> Figures:
    effort = bench.effort
    counted = instructions.count_warm(
        partner, bench.urls, bench.events, effort.counted_warm, effort.counted_requests
    )
    return {(f"warm {name} instructions", partner.name): value for name, value in counted.items()}


def _count_warm_node(bench: Bench, partner: Partner) -> Figures:
    # From where the clock starts on the others, over as many requests as make its compiler rest.
    counted = instructions.count_warm_node(
        partner, bench.urls, bench.events, "list", bench.effort.warm_up, 1000
    )
    return {("warm list instructions", partner.name): counted}


def started_at() -> Progress:
    """Prints each step with the seconds since the start."""
    began = time.monotonic()

    def progress(step: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {step}", flush=True)

    return progress
