"""What a run will do, drawn from its seed: operations, lost answers, faults; knows nothing that
happens, so that the same seed gives the same plan.
"""

from collections.abc import Generator
from dataclasses import dataclass
from random import Random

# Of a hundred operations. "Once" is with an Idempotency-Key.
MIX = {
    "create once": 22,
    "create": 6,
    "delete": 10,
    "toggle once": 20,
    "toggle": 10,
    "edit": 16,
    "list": 10,
    "trespass": 6,
}
# Of these, the client may give up after the first failure: whoever closes the tab never comes back.
GIVES_UP = 0.04
TWICE_AT_ONCE = 0.04
REPEATED_LATER = 0.15

ANSWER_LOST = 0.02
TO_INSTANCE = 0.2
IMPATIENT = 0.04
# Seconds. The longest wait of a client is longer than any budget of the API.
PATIENCE = 15.0


@dataclass(frozen=True)
class Operation:
    """`choice` picks among the tasks, pages or transports that there are when its turn comes."""

    number: int
    client: int
    kind: str
    choice: float
    gives_up: bool
    twice_at_once: bool
    repeated_later: bool


@dataclass(frozen=True)
class Journey:
    """Where one call goes, and what becomes of it on its way."""

    to_instance: bool
    answer_lost: bool
    patience: float


@dataclass(frozen=True)
class Fault:
    """After `pause` seconds do `what`, to number `target` (modulo how many there are), for
    `seconds`."""

    pause: float
    what: str
    target: int
    seconds: float


def operations(seed: int, number: int, clients: int) -> list[list[Operation]]:
    """`number` operations, dealt to the clients."""
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


def journey(seed: int, operation: int, call: int) -> Journey:
    """Of the n-th call of an operation, whenever it comes."""
    chance = Random(f"{seed} call {call} of {operation}")
    return Journey(
        chance.random() < TO_INSTANCE,
        chance.random() < ANSWER_LOST,
        chance.uniform(0.2, 3) if chance.random() < IMPATIENT else PATIENCE,
    )


# Each kind has a stream of its own, so that a slow one delays no other. Mean pause in seconds,
# what may happen with its weight, and how long it lasts.
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
    """Without end. Backends die at a steady beat, all else at random moments."""
    mean, kinds, (shortest, longest) = STREAMS[stream]
    chance = Random(f"{seed} {stream}")
    while True:
        pause = mean if stream == "backends" else mean * chance.uniform(0.5, 1.5)
        [what] = chance.choices(list(kinds), list(kinds.values()))
        yield Fault(pause, what, chance.randrange(1 << 30), chance.uniform(shortest, longest))
