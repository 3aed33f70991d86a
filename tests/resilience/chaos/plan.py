"""Draws what a run does from its seed: operations, lost responses, faults.

Nothing that happens in a run has an effect on its plan: the same seed gives the same plan.
"""

from collections.abc import Generator
from dataclasses import dataclass
from random import Random
from typing import Any

# Of a hundred operations. "Once" means with an Idempotency-Key. An edit is a PUT or PATCH with
# If-Match, an overwrite one without. Clients complete, delete, restore and erase (delete
# permanently) tasks of their own. A discard deletes or restores a task that other clients delete
# and restore as well. A trespass is a request for tasks of another user.
MIX = {
    "create once": 16,
    "create": 6,
    "delete": 9,
    "restore": 6,
    "erase": 4,
    "discard": 6,
    "toggle once": 13,
    "toggle": 8,
    "complete": 6,
    "edit": 9,
    "overwrite": 7,
    "list": 6,
    "trespass": 4,
}
# The share of operations that call MCP tools, where there are tools for them.
BY_MCP = 0.25
# The share of operations whose client gives up after the first failure, as a closed tab does.
GIVES_UP = 0.04
TWICE_AT_ONCE = 0.04
REPEATED_LATER = 0.25

RESPONSE_LOST = 0.02
# Of 200 clients, most of which wait for a sandbox, this keeps 50 and more at the instance.
TO_INSTANCE = 0.3
SHORT_TIMEOUT = 0.04
# Seconds that a client waits for a response: longer than any budget of the API.
TIMEOUT = 15.0


@dataclass(frozen=True)
class Delivery:
    """Where one call goes, whether its response is lost, and how long the client waits for it.

    A sandbox of any transport handles it, or one of the named transport.
    """

    to_instance: bool
    response_lost: bool
    timeout: float
    transport: str = ""


@dataclass(frozen=True)
class Operation:
    """`choice` picks one of the tasks, pages or requests that are possible when it begins.

    `variant` picks how it is requested: by PUT or PATCH, with or without a condition or a key;
    `by_mcp` picks a tool in their place. `delivery` is that of each of its calls, if not drawn.
    """

    number: int
    client: int
    kind: str
    choice: float
    variant: float
    by_mcp: bool
    gives_up: bool
    twice_at_once: bool
    repeated_later: bool
    delivery: Delivery | None = None


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
        choice, variant, *draws = [chance.random() for _ in range(6)]
        plans[client].append(
            Operation(
                n, client, kind, choice, variant, draws[3] < BY_MCP,
                draws[0] < GIVES_UP, draws[1] < TWICE_AT_ONCE, draws[2] < REPEATED_LATER,
            )
        )  # fmt: skip
    return plans


def optional_fields(number: int) -> dict[str, Any]:
    """The fields that an operation sends besides the title and the description."""
    return {
        "priority": (None, "low", "medium", "high", "urgent")[number % 5],
        "due_date": (None, "2026-12-24", "2026-12-24T13:30:00.000000Z")[number % 3],
        "tags": [f"home {number % 7}", f"work {number % 4}"][: number % 3],
    }


@dataclass(frozen=True)
class Following:
    """How a client follows the changes of a user.

    It begins when this share of the operations is done, asks for pages of `limit` changes, and
    waits up to `pause` seconds before each, also while it holds a transaction open.
    """

    number: int
    begins: float
    limit: int | None
    pause: float


def followers_plan(seed: int, number: int) -> list[Following]:
    """Four kinds in turn: eager, with small pages, one that begins in the middle, a slow one."""
    chance = Random(f"{seed} followers")
    kinds = [
        lambda: (0.0, None, 0.2),
        lambda: (0.0, chance.randint(1, 2), 0.2),
        lambda: (chance.uniform(0.2, 0.7), chance.choice((5, 50, None)), 0.5),
        lambda: (chance.uniform(0, 0.3), chance.choice((3, 20, 500)), 4.0),
    ]
    return [Following(each, *kinds[each % len(kinds)]()) for each in range(number)]


def delivery(seed: int, operation: int | str, call: int) -> Delivery:
    """The delivery of the n-th call of an operation or a follower, at whatever time it is made."""
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
# A run uses these unless it names others.
ALL_STREAMS = tuple(STREAMS)
# Each fault of the pooler alone, as often as all of them together.
STREAMS |= {
    what: (STREAMS["pooler"][0], {what: 1}, STREAMS["pooler"][2]) for what in STREAMS["pooler"][1]
}


def faults(seed: int, stream: str) -> Generator[Fault]:
    """Faults without end. Backends are killed at a fixed rate, all else at random times."""
    mean, kinds, (shortest, longest) = STREAMS[stream]
    chance = Random(f"{seed} {stream}")
    while True:
        pause = mean if stream == "backends" else mean * chance.uniform(0.5, 1.5)
        [what] = chance.choices(list(kinds), list(kinds.values()))
        yield Fault(pause, what, chance.randrange(1 << 30), chance.uniform(shortest, longest))
