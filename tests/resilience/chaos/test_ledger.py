"""Which results of a run the checker accepts, also in cases that a run seldom has."""

from collections.abc import Callable

import pytest

from tests.resilience.chaos.ledger import (
    DOUBLED,
    FOREIGN,
    LOST,
    LOST_UPDATE,
    WRONG,
    Change,
    Contents,
    Creation,
    Ledger,
    Row,
    State,
    check,
)


def created(*rows: Row, **outcome: object) -> set[str]:
    ledger = Ledger(creations=[Creation("ann", "ann made 1", **outcome)])  # ty: ignore[invalid-argument-type]
    return {violation.kind for violation in check(ledger, Contents(rows))}


def row(number: int = 1, user: str = "ann") -> Row:
    return Row(number, user, "ann made 1", "", completed=False, version=1)


DONE = {"outcome": "done", "task_id": 1}


@pytest.mark.parametrize(
    ("rows", "outcome", "kinds"),
    [
        ([row()], DONE, set()),
        ([], DONE, {LOST}),
        ([row(), row(2)], DONE, {DOUBLED}),
        ([row(2)], DONE, {DOUBLED}),
        ([row(user="bob")], DONE, {FOREIGN}),
        ([], {"outcome": "unknown"}, set()),
        ([row()], {"outcome": "unknown"}, set()),
        ([row(), row(2)], {"outcome": "unknown"}, {DOUBLED}),
        ([], {"outcome": "unchanged"}, set()),
        ([row()], {"outcome": "unchanged"}, {WRONG}),
        ([], DONE | {"deleted": "done"}, set()),
        ([row()], DONE | {"deleted": "done"}, {LOST}),
        ([], DONE | {"deleted": "unknown"}, set()),
        ([row()], DONE | {"deleted": "unknown"}, set()),
        ([], DONE | {"deleted": "unchanged"}, {LOST}),
    ],
)
def test_creations(rows: list[Row], outcome: dict[str, object], kinds: set[str]) -> None:
    assert created(*rows, **outcome) == kinds


def test_a_task_that_no_client_requested() -> None:
    assert [violation.kind for violation in check(Ledger(), Contents([row()]))] == [DOUBLED]


def test_a_shared_task_that_does_not_exist() -> None:
    ledger = Ledger(overwrites={1: []})
    assert [violation.kind for violation in check(ledger, Contents([]))] == [LOST]


def states(*descriptions: str) -> list[State]:
    """A history, whose states have their version as timestamp."""
    return [
        State(1, version, str(version), description, bool((version - 1) % 2))
        for version, description in enumerate(descriptions, 1)
    ]


def kinds_of(ledger: Ledger, history: list[State], *keys: str, **last: object) -> set[str]:
    values = {
        "description": history[-1].description,
        "completed": history[-1].completed,
        "version": history[-1].version,
    }
    rows = [Row(1, "ann", "shared", **{**values, **last})]  # ty: ignore[invalid-argument-type]
    contents = Contents(rows, [(key, 1) for key in keys], history)
    return {violation.kind for violation in check(ledger, contents)}


def toggled(version: int, *changes: Change, keys: tuple[str, ...] = (), **last: object) -> set[str]:
    ledger = Ledger(toggles={1: list(changes)})
    return kinds_of(ledger, states(*[""] * version), *keys, **last)


def edited(description: str, *changes: Change) -> set[str]:
    marks = description.split()
    history = states(*(" ".join(marks[:number]) for number in range(len(marks) + 1)))
    return kinds_of(Ledger(edits={1: list(changes)}), history)


def overwritten(descriptions: str, *changes: Change, **last: object) -> set[str]:
    history = states("", *descriptions.split())
    return kinds_of(Ledger(overwrites={1: list(changes)}), history, **last)


def done(mark: str, version: int | None, key: str | None = None) -> Change:
    completed = None if version is None else bool((version - 1) % 2)
    return Change(mark, key, "done", None if version is None else str(version), completed)


UNKNOWN, UNCHANGED = Change("u", None), Change("u", None, "unchanged")
WRONGLY_COMPLETED = Change("a", None, "done", "2", completed=False)


@pytest.mark.parametrize(
    ("check_run", "kinds"),
    [
        (lambda: toggled(3, done("a", 2), done("b", 3)), set()),
        (lambda: toggled(2, done("a", 2), done("b", 2)), {LOST_UPDATE}),
        (lambda: toggled(2, done("a", 2), done("b", 3)), {LOST_UPDATE, WRONG}),
        (lambda: toggled(2, done("a", 2), UNKNOWN), set()),
        (lambda: toggled(3, done("a", 2), UNKNOWN), set()),
        (lambda: toggled(4, done("a", 2), UNKNOWN), {DOUBLED}),
        (lambda: toggled(3, done("a", 2), UNCHANGED), {DOUBLED}),
        (lambda: toggled(2, done("a", 2), completed=False), {LOST_UPDATE}),
        (lambda: toggled(2, WRONGLY_COMPLETED), {WRONG}),
        (lambda: toggled(2, done("a", 2, "k"), keys=("k",)), set()),
        (lambda: toggled(2, done("a", 2, "k")), {DOUBLED, LOST}),
        (lambda: toggled(2, Change("a", "k"), keys=("k",)), set()),
        (lambda: toggled(1, Change("a", "k"), keys=("k",)), {DOUBLED}),
        (lambda: edited("a b", done("a", 2), done("b", 3)), set()),
        (lambda: edited("b", done("a", 2), done("b", 2)), {LOST_UPDATE}),
        (lambda: edited("b a", done("a", 2), done("b", 3)), {LOST_UPDATE}),
        (lambda: edited("a u", done("a", 2), UNKNOWN), set()),
        (lambda: edited("a", done("a", 2), UNKNOWN), set()),
        (lambda: edited("a u u", done("a", 2), UNKNOWN), {DOUBLED}),
        (lambda: edited("a u", done("a", 2), UNCHANGED), {WRONG, DOUBLED}),
        (lambda: overwritten("a b", done("a", 2), done("b", 3)), set()),
        (lambda: overwritten("a u", done("a", 2), UNKNOWN), set()),
        (lambda: overwritten("a", done("a", 2), UNKNOWN), set()),
        # The repeat of a has undone b.
        (lambda: overwritten("a b a", done("a", 4), done("b", 3)), {DOUBLED}),
        (lambda: overwritten("a b a", done("a", 4), done("b", 3), UNKNOWN), {DOUBLED}),
        (lambda: overwritten("u a u", UNKNOWN, done("a", 3)), {DOUBLED}),
        (lambda: overwritten("a u", done("a", 2), UNCHANGED), {WRONG, DOUBLED}),
        (lambda: overwritten("a", done("a", 2), done("b", 2)), {LOST_UPDATE}),
        (lambda: overwritten("a x", done("a", 2), UNKNOWN), {DOUBLED}),
        (lambda: overwritten("a b", done("a", 3), done("b", 2)), {LOST_UPDATE}),
        (lambda: overwritten("a", done("a", 2), description="b"), {LOST_UPDATE}),
    ],
)
def test_changes(check_run: Callable[[], set[str]], kinds: set[str]) -> None:
    assert check_run() == kinds
