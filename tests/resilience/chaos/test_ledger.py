"""What the checker lets pass, and what not, in the cases that a run seldom meets."""

from collections.abc import Callable

import pytest

from tests.resilience.chaos.ledger import (
    DOUBLED,
    FOREIGN,
    LOST,
    LOST_UPDATE,
    WRONG,
    Change,
    Creation,
    Ledger,
    Row,
    check,
)


def created(*rows: Row, **told: object) -> set[str]:
    ledger = Ledger(creations=[Creation("ann", "ann made 1", **told)])  # ty: ignore[invalid-argument-type]
    return {violation.kind for violation in check(ledger, rows, [])}


def row(number: int = 1, user: str = "ann") -> Row:
    return Row(number, user, "ann made 1", "", completed=False, version=1)


DONE = {"outcome": "done", "task_id": 1}


@pytest.mark.parametrize(
    ("rows", "told", "kinds"),
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
def test_creations(rows: list[Row], told: dict[str, object], kinds: set[str]) -> None:
    assert created(*rows, **told) == kinds


def test_a_task_that_nobody_asked_for() -> None:
    assert [violation.kind for violation in check(Ledger(), [row()], [])] == [DOUBLED]


def toggled(version: int, *changes: Change, completed: bool | None = None) -> set[str]:
    is_completed = bool((version - 1) % 2) if completed is None else completed
    rows = [Row(1, "ann", "shared", "", is_completed, version)]
    ledger = Ledger(toggles={1: list(changes)})
    return {violation.kind for violation in check(ledger, rows, [])}


def edited(description: str, *changes: Change) -> set[str]:
    marks = description.split()
    rows = [Row(1, "ann", "shared", description, completed=False, version=1 + len(marks))]
    ledger = Ledger(edits={1: list(changes)})
    return {violation.kind for violation in check(ledger, rows, [])}


def done(mark: str, version: int | None) -> Change:
    return Change(mark, None, "done", version)


UNKNOWN, UNCHANGED = Change("u", None), Change("u", None, "unchanged")


@pytest.mark.parametrize(
    ("seen", "kinds"),
    [
        (lambda: toggled(3, done("a", 2), done("b", 3)), set()),
        (lambda: toggled(2, done("a", 2), done("b", 2)), {LOST_UPDATE}),
        (lambda: toggled(2, done("a", 2), done("b", 3)), {LOST_UPDATE}),
        (lambda: toggled(2, done("a", 2), UNKNOWN), set()),
        (lambda: toggled(3, done("a", 2), UNKNOWN), set()),
        (lambda: toggled(4, done("a", 2), UNKNOWN), {DOUBLED}),
        (lambda: toggled(3, done("a", 2), UNCHANGED), {DOUBLED}),
        (lambda: toggled(2, done("a", 2), completed=False), {LOST_UPDATE}),
        (lambda: edited("a b", done("a", 2), done("b", 3)), set()),
        (lambda: edited("b", done("a", 2), done("b", 2)), {LOST_UPDATE}),
        (lambda: edited("b a", done("a", 2), done("b", 3)), {LOST_UPDATE}),
        (lambda: edited("a u", done("a", 2), UNKNOWN), set()),
        (lambda: edited("a", done("a", 2), UNKNOWN), set()),
        (lambda: edited("a u u", done("a", 2), UNKNOWN), {DOUBLED}),
        (lambda: edited("a u", done("a", 2), UNCHANGED), {WRONG, DOUBLED}),
    ],
)
def test_changes(seen: Callable[[], set[str]], kinds: set[str]) -> None:
    assert seen() == kinds
