"""Which results of a run the checker accepts, also in cases that a run seldom has."""

from collections.abc import Callable
from typing import Any

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
    Discard,
    Document,
    Ledger,
    Outcome,
    Place,
    Row,
    State,
    check,
)


def created(*rows: Row, **outcome: object) -> set[str]:
    ledger = Ledger(creations=[Creation("ann", "ann made 1", **outcome)])  # ty: ignore[invalid-argument-type]
    return {violation.kind for violation in check(ledger, Contents(rows))}


def task(number: int = 1, **fields: Any) -> Document:
    shown = {"id": number, "user_id": "ann", "title": "ann made 1", "description": None}
    return {**shown, "completed": False, "priority": None, "tags": [], **fields}


def row(number: int = 1, user: str = "ann", place: Place = "live", **fields: Any) -> Row:
    return Row(place, 1, task(number, user_id=user, **fields))


DONE = {"outcome": "done", "task_id": 1}
TRASHED, ERASED = row(place="trashed"), row(place="erased", title="")


def moved(*moves: Any) -> dict[str, object]:
    return DONE | {"moves": list(zip(moves[::2], moves[1::2], strict=True))}


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
        ([TRASHED], DONE, {LOST}),
        ([TRASHED], moved("trashed", "done"), set()),
        ([row()], moved("trashed", "done"), {LOST}),
        ([], moved("trashed", "done"), {LOST}),
        ([row(), TRASHED], moved("trashed", "done"), {DOUBLED}),
        ([TRASHED], moved("trashed", "unknown"), set()),
        ([row()], moved("trashed", "unknown"), set()),
        ([row()], moved("trashed", "unchanged"), set()),
        ([TRASHED], moved("trashed", "unchanged"), {LOST}),
        ([row()], moved("trashed", "done", "live", "done"), set()),
        ([TRASHED], moved("trashed", "done", "live", "done"), {LOST}),
        ([TRASHED], moved("trashed", "done", "live", "unknown"), set()),
        ([row()], moved("trashed", "done", "live", "unknown"), set()),
        ([ERASED], moved("trashed", "done", "live", "unknown"), {LOST}),
        ([ERASED], moved("erased", "done"), set()),
        ([TRASHED], moved("erased", "done"), {LOST}),
        ([row(place="erased")], moved("erased", "done"), {LOST}),
        ([row(priority="low")], DONE | {"fields": {"priority": "low"}}, set()),
        ([row(priority="low")], DONE | {"fields": {"priority": "high"}}, {LOST}),
    ],
)
def test_creations(rows: list[Row], outcome: dict[str, object], kinds: set[str]) -> None:
    assert created(*rows, **outcome) == kinds


def test_a_task_that_no_client_requested() -> None:
    assert [violation.kind for violation in check(Ledger(), Contents([row()]))] == [DOUBLED]


def test_a_shared_task_that_does_not_exist() -> None:
    ledger = Ledger(overwrites={1: []})
    assert [violation.kind for violation in check(ledger, Contents([]))] == [LOST]


def test_the_text_of_an_erased_task_in_the_record_of_a_key() -> None:
    ledger = Ledger(creations=[Creation("ann", "ann made 1", **moved("erased", "done"))])  # ty: ignore[invalid-argument-type]
    contents = Contents([ERASED], [("create-1", 1)], texts={1: "ann made 1"})
    assert [violation.kind for violation in check(ledger, contents)] == [LOST]


def states(*descriptions: str, deleted: bool = False) -> list[State]:
    """A history, whose states have their version as timestamp."""
    return [
        State(
            version,
            deleted and version % 2 == 0,
            task(
                description=description,
                completed=bool((version - 1) % 2),
                updated_at=str(version),
                tags=[description],
            ),
        )
        for version, description in enumerate(descriptions, 1)
    ]


def kinds_of(ledger: Ledger, history: list[State], *keys: str, **last: Any) -> set[str]:
    shown: Document = history[-1].document | {"title": "shared", **last}
    rows = [Row("live", shown.pop("version", history[-1].version), shown)]
    contents = Contents(rows, [(key, 1) for key in keys], history)
    return {violation.kind for violation in check(ledger, contents)}


def toggled(version: int, *changes: Change, keys: tuple[str, ...] = (), **last: Any) -> set[str]:
    ledger = Ledger(toggles={1: list(changes)})
    return kinds_of(ledger, states(*[""] * version), *keys, **last)


def edited(description: str, *changes: Change) -> set[str]:
    marks = description.split()
    history = states(*(" ".join(marks[:number]) for number in range(len(marks) + 1)))
    return kinds_of(Ledger(edits={1: list(changes)}), history)


def overwritten(descriptions: str, *changes: Change, **last: Any) -> set[str]:
    history = states("", *descriptions.split())
    return kinds_of(Ledger(overwrites={1: list(changes)}), history, **last)


def discarded(number: int, *discards: Discard, history: list[State] | None = None) -> set[str]:
    history = history or states(*[""] * number, deleted=True)
    return kinds_of(Ledger(discards={1: list(discards)}), history)


def deleted(outcome: Outcome, **fields: Any) -> Discard:
    return Discard(restores=False, outcome=outcome, **fields)


def restored(outcome: Outcome, **fields: Any) -> Discard:
    return Discard(restores=True, outcome=outcome, **fields)


def done(mark: str, version: int | None, key: str | None = None) -> Change:
    completed = None if version is None else bool((version - 1) % 2)
    return Change(mark, key, "done", None if version is None else str(version), completed)


UNKNOWN, UNCHANGED = Change("u", None), Change("u", None, "unchanged")
MIXED = Change("a", None, "done", "2", completed=True, fields={"tags": ["b"]})
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
        (lambda: overwritten("a", MIXED), {LOST_UPDATE}),
        (lambda: discarded(1), set()),
        (lambda: discarded(2, deleted("done")), set()),
        (lambda: discarded(1, deleted("done")), {LOST_UPDATE}),
        (lambda: discarded(2), {DOUBLED}),
        (lambda: discarded(1, deleted("unknown")), set()),
        (lambda: discarded(2, deleted("unknown")), set()),
        (lambda: discarded(2, deleted("unchanged")), {DOUBLED}),
        (lambda: discarded(3, deleted("done"), restored("done", updated_at="3")), set()),
        (lambda: discarded(3, deleted("done")), {DOUBLED}),
        # The second restoration finds the task restored.
        (
            lambda: discarded(
                3, deleted("done"), *[restored("done", updated_at="3") for _ in range(2)]
            ),
            set(),
        ),
        (
            lambda: discarded(
                3, deleted("done"), *[restored("done", updated_at="3", etag="e") for _ in range(2)]
            ),
            {LOST_UPDATE},
        ),
        (lambda: discarded(2, deleted("done"), restored("done", updated_at="3")), {WRONG}),
        (
            lambda: discarded(
                4, restored("done"), *[deleted("done", deleted_etag="e") for _ in range(2)]
            ),
            {LOST_UPDATE},
        ),
        (lambda: discarded(3, deleted("done"), history=states("", "", "")), {DOUBLED, LOST_UPDATE}),
        (lambda: overwritten("a", done("a", 2), description="b"), {LOST_UPDATE}),
    ],
)
def test_changes(check_run: Callable[[], set[str]], kinds: set[str]) -> None:
    assert check_run() == kinds
