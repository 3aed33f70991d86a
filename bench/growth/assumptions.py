"""What the model of growth assumes about the users. Change a value here, then run `make growth`."""

from typing import NamedTuple


class Assumption(NamedTuple):
    """A value, and what it means."""

    value: float
    meaning: str


ASSUMPTIONS = {
    "tasks": Assumption(100, "tasks of a user outside the trash: about 16 months of use"),
    "active": Assumption(0.1, "share of the users who are active on a day"),
    "requests": Assumption(40, "requests of an active user on a day"),
    "peak": Assumption(5, "requests per second in the busiest minutes, relative to the average"),
    "title": Assumption(40, "characters of a title"),
    "description": Assumption(120, "characters of a description"),
    "described": Assumption(1 / 3, "share of the tasks with a description"),
    "tagged": Assumption(1 / 3, "share of the tasks with two tags of 8 characters"),
    "dated": Assumption(0.4, "share of the tasks with a due date"),
    "changes": Assumption(1, "changes of a task after its creation, with a vacuum after each 20 %"),
    "keyed": Assumption(1 / 3, "share of creates, toggles and updates with an `Idempotency-Key`"),
    "round_trip": Assumption(2, "milliseconds from the function to the database and back"),
    "utilization": Assumption(0.6, "share of a processor that the database may use at the peak"),
    "history": Assumption(7, "days of Neon's history, to which a database can be restored"),
    "idle_sandboxes": Assumption(
        3, "Lambda sandboxes that exist, for each that is busy at the peak"
    ),
}

# The kinds of request, with their shares. Whole lists of `tasks` tasks, pages of 50 tasks, and
# requests for changes that find none.
MIX = {
    "list": 0.10, "page": 0.20, "get": 0.05, "changes": 0.30,
    "create": 0.10, "toggle": 0.15, "update": 0.05, "delete": 0.05,
}  # fmt: skip

# The numbers of users that the page shows.
USERS = (1_000, 100_000, 10_000_000)


def assumed(name: str) -> float:
    """Return the value of an assumption."""
    return ASSUMPTIONS[name].value


def per_user_and_day(*kinds: str) -> float:
    """Return the requests of these kinds that one user sends on an average day."""
    return assumed("active") * assumed("requests") * sum(MIX[kind] for kind in kinds)
