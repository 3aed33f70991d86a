"""Measures errors and latency at a fixed rate of requests, without and with faults.

It compares this API with one in the style of tutorials. Latency counts from the time at which a
request was due, not from the time at which it could be sent.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.resilience.chaos.calls import User
from tests.resilience.chaos.fault_injector import FaultInjector
from tests.resilience.chaos.fleet import Fleet, Request, Response, TransportError
from tests.resilience.chaos.ledger import Ledger
from tests.resilience.chaos.plan import TIMEOUT
from tests.resilience.chaos.run import OURS, Size, make_users, running_environment
from tests.resilience.faults.lab import UNCHANGED, UNKNOWN
from tests.support.databases import Cluster

APPLICATIONS = {"this API": OURS, "tutorial style": "bench.tutorial"}
SANDBOXES = 40
USERS = 25
RATE = 40.0  # requests a second
# Only faults that an application can handle: a killed sandbox responds to no request.
PHASES: dict[str, tuple[str, ...]] = {
    "no faults": (),
    "backends killed": ("backends",),
    "pooler paused": ("pause the pooler",),
    "pooler cut off": ("cut off the pooler",),
    "pooler killed": ("kill the pooler",),
    "all faults": ("backends", "pooler"),
}
# "Once" means with an Idempotency-Key, as our own frontend sends it. The tutorial's application
# ignores it.
MIX = {"get": 30, "list": 20, "create once": 20, "toggle once": 20, "create": 5, "complete": 5}
# A response that confirms no change, because a repeat might undo that of another client: allowed
# for writes without a key alone.
NOT_CONFIRMED = "503 unknown"


@dataclass
class Figures:
    """The figures of one application in one phase, with the `seconds` of every request.

    `unconfirmed` counts the writes without a key whose outcome is unknown, which are no errors.
    """

    application: str
    phase: str
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    unconfirmed: int = 0
    faults: int = 0

    @property
    def share(self) -> float:
        """The share of errors in the requests that could be answered."""
        return self.errors.total() / (len(self.seconds) - self.unconfirmed)

    def percentile(self, percent: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[math.ceil(percent / 100 * len(ordered)) - 1]


async def measure(
    cluster: Cluster, seed: int, seconds: float, write_line: Callable[[str], None]
) -> list[Figures]:
    """Measure each application for some seconds in each phase."""
    found = []
    for name, module in APPLICATIONS.items():
        async with running_environment(
            cluster, SANDBOXES, module=module, instance=False
        ) as environment:
            users = make_users(environment.database, Size(0, 0, USERS, SANDBOXES, 0), Ledger())
            warm = Figures(name, "warm-up")
            first = [_request("get", users[0], "") for _ in range(SANDBOXES)]
            await asyncio.gather(*(_send(environment.fleet, one, 0.0, warm) for one in first))
            for phase, streams in PHASES.items():
                write_line(f"{name}, {phase}: {seconds:.0f} s ...")
                fault_injector = FaultInjector(environment.target, seed, streams)
                figures = Figures(name, phase)
                try:
                    async with fault_injector.running():
                        await _open_loop(environment.fleet, users, seed, seconds, figures)
                finally:
                    fault_injector.close()
                figures.faults = fault_injector.done.total()
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
            request = _request(kind, chance.choice(users), key=f"{figures.phase} {number}")
            group.create_task(_send(fleet, request, due, figures))


def _request(kind: str, user: User, key: str) -> Request:
    tasks = f"/api/{user.name}/tasks"
    headers = {"authorization": f"Bearer {user.token}"}
    if kind.endswith("once"):
        headers["idempotency-key"] = f"{kind} {key}".replace(" ", "-")
    match kind.removesuffix(" once"):
        case "get":
            return Request("GET", f"{tasks}/{user.toggled}", headers)
        case "list":
            return Request("GET", tasks, headers)
        case "create":
            return Request("POST", tasks, headers, {"title": "Buy milk"})
        case "complete":
            return Request(
                "PATCH", f"{tasks}/{user.toggled}/complete", headers, {"completed": True}
            )
        case _:
            return Request("PATCH", f"{tasks}/{user.toggled}/complete", headers)


async def _send(fleet: Fleet, request: Request, due: float, figures: Figures) -> None:
    try:
        response = await fleet.invoke(request, TIMEOUT)
        failure = _failure(response)
    except TransportError:
        failure = "no response"
    figures.seconds.append(time.monotonic() - due)
    has_key = "idempotency-key" in request.headers
    if failure == NOT_CONFIRMED and request.method != "GET" and not has_key:
        figures.unconfirmed += 1
    elif failure:
        figures.errors[failure] += 1


def _failure(response: Response) -> str:
    if response.status < 300:
        return ""
    detail = response.body.get("detail") if isinstance(response.body, dict) else None
    known = {UNKNOWN: NOT_CONFIRMED, UNCHANGED: "503 unchanged"}
    return known.get(str(detail), str(response.status))


def table(found: list[Figures]) -> list[str]:
    lines = [
        f"{'':<32}{'faults':>7}{'requests':>9}{'unconfirmed':>12}{'errors':>16}{'p50 ms':>8}"
        f"{'p99 ms':>8}   errors by status"
    ]
    lines.extend(
        f"{one.application + ', ' + one.phase:<32}{one.faults:>7,}{len(one.seconds):>9,}"
        f"{one.unconfirmed:>12,}{one.errors.total():>7,}{100 * one.share:>7.2f} %"
        f"{one.percentile(50):>8,.0f}{one.percentile(99):>8,.0f}   "
        + ", ".join(f"{count} × {what}" for what, count in sorted(one.errors.items()))
        for one in found
    )
    return [line.rstrip() for line in lines]
