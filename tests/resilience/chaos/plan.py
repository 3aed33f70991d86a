"""Draws what a run does from its seed: operations, lost responses, faults.

Nothing that happens in a run has an effect on its plan: the same seed gives the same plan.
"""

from collections.abc import Generator
from dataclasses import dataclass
from random import Random

# Of a hundred operations. "Once" means with an Idempotency-Key. An edit is a PUT with If-Match, an
# overwrite one without. A trespass is a request for tasks of another user.
MIX = {
    "create once": 20,
    "create": 6,
    "delete": 10,
    "toggle once": 20,
    "toggle": 10,
    "edit": 12,
    "overwrite": 8,
    "list": 8,
    "trespass": 6,
}
# The share of operations whose client gives up after the first failure, as a closed tab does.
GIVES_UP = 0.04
TWICE_AT_ONCE = 0.04
REPEATED_LATER = 0.15

RESPONSE_LOST = 0.02
TO_INSTANCE = 0.2
SHORT_TIMEOUT = 0.04
# Seconds that a client waits for a response: longer than any budget of the API.
TIMEOUT = 15.0


@dataclass(frozen=True)
class Operation:
    """`choice` picks one of the tasks, pages or requests that are possible when it begins."""

    number: int
    client: int
    kind: str
    choice: float
    gives_up: bool
    twice_at_once: bool
    repeated_later: bool


@dataclass(frozen=True)
class Delivery:
    """Where one call goes, whether its response is lost, and how long the client waits for it."""

    to_instance: bool
    response_lost: bool
    timeout: float


@dataclass(frozen=True)
class Fault:
    """After `pause` seconds do `what` for `seconds`, to the target of this number (modulo the
    number of targets).
    """

    pause: float
    what: str
    target: int
    seconds: float


def operations(seed: int, number: int, clients: int) -> list[list[Operation]]:
    """`number` operations, distributed to the clients."""
    plans: list[list[Operation]] = [[] for _ in range(clients)]
    chance = Random(f"{seed} operations")
    kinds, weights = list(MIX), list(MIX.values())
    for n in range(number):
        client = n % clients
        [kind] = chance.choices(kinds, weights)
        if not plans[client]:
            kind = "create once"  # so that there is something to delete
        draws = [chance.random() for _ in range(4)]
        plans[client].append(
            Operation(
                n, client, kind, draws[0],
                draws[1] < GIVES_UP, draws[2] < TWICE_AT_ONCE, draws[3] < REPEATED_LATER,
            )
        )  # fmt: skip
    return plans


def delivery(seed: int, operation: int, call: int) -> Delivery:
    """The delivery of the n-th call of an operation, at whatever time it is made."""
    chance = Random(f"{seed} call {call} of {operation}")
    return Delivery(
        chance.random() < TO_INSTANCE,
        chance.random() < RESPONSE_LOST,
        chance.uniform(0.2, 3) if chance.random() < SHORT_TIMEOUT else TIMEOUT,
    )


# Each kind of fault has a stream of its own, so that a slow one delays no other: the mean pause in
# seconds, each fault with its weight, and the shortest and longest duration.
STREAMS = {
    "backends": (0.1, {"kill a backend": 1}, (0, 0)),
    "pooler": (
        3.0,
        {"pause the pooler": 2, "cut off the pooler": 3, "kill the pooler": 3},
        (0.1, 1.5),
    ),
    "freezer": (0.4, {"freeze a sandbox": 1}, (0.2, 3)),
    "killer": (0.8, {"kill a sandbox": 1}, (0, 0)),
    "instance": (6.0, {"freeze the instance": 2, "kill the instance": 1}, (0.2, 1.5)),
}


def faults(seed: int, stream: str) -> Generator[Fault]:
    """Faults without end. Backends are killed at a fixed rate, all else at random times."""
    mean, kinds, (shortest, longest) = STREAMS[stream]
    chance = Random(f"{seed} {stream}")
    while True:
        pause = mean if stream == "backends" else mean * chance.uniform(0.5, 1.5)
        [what] = chance.choices(list(kinds), list(kinds.values()))
        yield Fault(pause, what, chance.randrange(1 << 30), chance.uniform(shortest, longest))
