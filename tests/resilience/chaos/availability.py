"""Measures errors and latency at a fixed rate of requests, without and with faults.

It compares this API with one in the style of tutorials. Latency counts from the time at which a
request was due, not from the time at which it could be sent.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random

from tests.resilience.chaos.calls import User
from tests.resilience.chaos.fault_injector import FaultInjector
from tests.resilience.chaos.fleet import Fleet, Request, TransportError
from tests.resilience.chaos.plan import TIMEOUT
from tests.resilience.chaos.run import Size, make_users, running_environment
from tests.support.databases import Cluster

APPLICATIONS = {"this API": "api.tasks", "tutorial style": "bench.tutorial"}
SANDBOXES = 40
USERS = 25
RATE = 40.0  # requests a second
# Only faults that an application can handle: a killed sandbox responds to no request.
STREAMS = ("backends", "pooler")
MIX = {"get": 35, "list": 20, "create": 20, "toggle": 25}


@dataclass
class Figures:
    """The figures of one application in one phase, with the `seconds` of every request."""

    application: str
    phase: str
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def percentile(self, percent: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[math.ceil(percent / 100 * len(ordered)) - 1]


async def measure(
    cluster: Cluster, seed: int, seconds: float, write_line: Callable[[str], None]
) -> list[Figures]:
    """Measure each application for some seconds without faults, and as long with faults."""
    found = []
    for name, module in APPLICATIONS.items():
        async with running_environment(
            cluster, SANDBOXES, module=module, instance=False
        ) as environment:
            users = make_users(environment.database, Size(0, 0, USERS, SANDBOXES, seconds))
            warm = Figures(name, "warm-up")
            first = [_request("get", users[0], "") for _ in range(SANDBOXES)]
            await asyncio.gather(*(_send(environment.fleet, one, 0.0, warm) for one in first))
            for phase in ("no faults", "faults"):
                write_line(f"{name}, {phase}: {seconds:.0f} s ...")
                fault_injector = FaultInjector(environment.target, seed, streams=STREAMS)
                figures = Figures(name, phase)
                try:
                    async with AsyncExitStack() as stack:
                        if phase == "faults":
                            await stack.enter_async_context(fault_injector.running())
                        await _open_loop(environment.fleet, users, seed, seconds, figures)
                finally:
                    fault_injector.close()
                found.append(figures)
    return found


async def _open_loop(
    fleet: Fleet, users: list[User], seed: int, seconds: float, figures: Figures
) -> None:
    chance = Random(f"{seed} availability")
    kinds, weights = list(MIX), list(MIX.values())
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * RATE)):
            due = began + number / RATE
            await asyncio.sleep(due - time.monotonic())
            [kind] = chance.choices(kinds, weights)
            request = _request(kind, chance.choice(users), key=str(number))
            group.create_task(_send(fleet, request, due, figures))


def _request(kind: str, user: User, key: str) -> Request:
    tasks = f"/api/{user.name}/tasks"
    headers = {"authorization": f"Bearer {user.token}"}
    if kind in ("create", "toggle"):
        # As our own frontend sends it. The tutorial's application ignores it.
        headers["idempotency-key"] = f"{kind}-{key}"
    match kind:
        case "get":
            return Request("GET", f"{tasks}/{user.toggled}", headers)
        case "list":
            return Request("GET", tasks, headers)
        case "create":
            return Request("POST", tasks, headers, {"title": "Buy milk"})
        case _:
            return Request("PATCH", f"{tasks}/{user.toggled}/complete", headers)


async def _send(fleet: Fleet, request: Request, due: float, figures: Figures) -> None:
    try:
        status = (await fleet.invoke(request, TIMEOUT)).status
        failure = str(status) if status >= 300 else ""
    except TransportError:
        failure = "no response"
    figures.seconds.append(time.monotonic() - due)
    if failure:
        figures.errors[failure] += 1


def table(found: list[Figures]) -> list[str]:
    lines = [f"{'':<24}{'requests':>9}{'errors':>17}{'p50 ms':>9}{'p99 ms':>9}   errors by status"]
    for one in found:
        number, wrong = len(one.seconds), one.errors.total()
        lines.append(
            f"{one.application + ', ' + one.phase:<24}{number:>9,}{wrong:>8,}"
            f"{100 * wrong / number:>7.2f} %{one.percentile(50):>9,.0f}"
            f"{one.percentile(99):>9,.0f}   "
            + ", ".join(f"{count} × {what}" for what, count in sorted(one.errors.items()))
        )
    return [line.rstrip() for line in lines]
