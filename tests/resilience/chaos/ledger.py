"""What clients asked for and were told, and what the database may hold after it; knows no client,
no fault and no HTTP.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

# Unknown: it may have happened, once at most. Unchanged: every answer said that it had not.
type Outcome = Literal["done", "unknown", "unchanged"]

LOST = "lost"
DOUBLED = "doubled"
LOST_UPDATE = "lost updates"
FOREIGN = "foreign rows"
WRONG = "wrong answers"
KINDS = (LOST, DOUBLED, LOST_UPDATE, FOREIGN, WRONG)


@dataclass(frozen=True)
class Violation:
    kind: str
    text: str


@dataclass
class Creation:
    """A task that a client asked for; `deleted` is the outcome of its deletion, if it was asked."""

    user: str
    title: str
    outcome: Outcome = "unknown"
    task_id: int | None = None
    deleted: Outcome | None = None


@dataclass
class Change:
    """A toggle or an edit of a shared task; `version` is the one that the answer told."""

    mark: str
    key: str | None
    outcome: Outcome = "unknown"
    version: int | None = None


@dataclass(frozen=True)
class Row:
    """A task as the database holds it."""

    id: int
    user: str
    title: str
    description: str
    completed: bool
    version: int


@dataclass
class Ledger:
    """Every operation of a run, and what was seen to be wrong while it went on."""

    creations: list[Creation] = field(default_factory=list)
    toggles: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    edits: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    seen: list[Violation] = field(default_factory=list)
    reads: int = 0

    def accuse(self, kind: str, text: str) -> None:
        self.seen.append(Violation(kind, text))

    def outcomes(self) -> Counter[Outcome]:
        changes = [
            change for log in (self.toggles, self.edits) for c in log.values() for change in c
        ]
        counted = Counter[Outcome](change.outcome for change in changes)
        for creation in self.creations:
            counted[creation.outcome] += 1
            if creation.deleted:
                counted[creation.deleted] += 1
        return counted


def check(ledger: Ledger, rows: Iterable[Row], keys: Iterable[tuple[str, int]]) -> list[Violation]:
    """Compare what was told with what is there. `keys`: each idempotency key with its task."""
    by_id, by_title = {}, defaultdict(list)
    for row in rows:
        by_id[row.id] = row
        by_title[row.title].append(row)
    found = list(ledger.seen)
    for creation in ledger.creations:
        found += _check_creation(creation, by_title.pop(creation.title, []))
    shared = ledger.toggles.keys() | ledger.edits.keys()
    for title, uninvited in by_title.items():
        if not shared.issuperset(row.id for row in uninvited):
            found.append(Violation(DOUBLED, f"nobody asked for the task {title!r}"))
    applied_keys = defaultdict(set)
    for key, task_id in keys:
        applied_keys[task_id].add(key)
    for task_id, toggles in ledger.toggles.items():
        found += _check_toggles(task_id, by_id.get(task_id), toggles, applied_keys[task_id])
    for task_id, edits in ledger.edits.items():
        found += _check_edits(task_id, by_id.get(task_id), edits)
    return found


def _check_creation(asked: Creation, rows: list[Row]) -> list[Violation]:
    what, number = f"the task {asked.title!r}", len(rows)
    if number > 1:
        return [Violation(DOUBLED, f"{what} is there {number} times")]
    found = []
    if rows and rows[0].user != asked.user:
        found.append(Violation(FOREIGN, f"{what} belongs to {rows[0].user}"))
    if asked.outcome == "unchanged" and rows:
        found.append(Violation(WRONG, f"{what} is there, though nothing was changed"))
    if asked.outcome != "done":
        return found
    if rows and asked.deleted == "done":
        found.append(Violation(LOST, f"{what} is there, though it was deleted"))
    if rows and rows[0].id != asked.task_id:
        found.append(Violation(DOUBLED, f"{what} is {rows[0].id}, and was {asked.task_id}"))
    if not rows and asked.deleted in (None, "unchanged"):
        found.append(Violation(LOST, f"{what} is not there"))
    return found


def _check_versions(what: str, changes: list[Change], applied: int) -> list[Violation]:
    """Each change makes a version of its own, so no two may have been told the same one."""
    told = Counter(change.version for change in changes if change.version is not None)
    done = sum(change.outcome == "done" for change in changes)
    open_ = sum(change.outcome == "unknown" for change in changes)
    found = [
        Violation(LOST_UPDATE, f"version {version} of {what} was made by {number} changes")
        for version, number in told.items()
        if number > 1
    ]
    if applied < done:
        found.append(Violation(LOST_UPDATE, f"{done} changes of {what} are done, {applied} there"))
    if applied > done + open_:
        found.append(
            Violation(DOUBLED, f"{done} to {done + open_} changes of {what}, {applied} are there")
        )
    return found


def _check_toggles(
    task_id: int, row: Row | None, toggles: list[Change], applied_keys: set[str]
) -> list[Violation]:
    what = f"the toggled task {task_id}"
    if row is None:
        return [Violation(LOST, f"{what} is not there")]
    applied = row.version - 1
    found = _check_versions(what, toggles, applied)
    if row.completed != bool(applied % 2):
        found.append(Violation(LOST_UPDATE, f"{what} is {row.completed} after {applied} toggles"))
    keyed = {toggle.key for toggle in toggles if toggle.key}
    if keyed:
        # Every toggle of this task has a key, so its record tells what is unknown to the client.
        if applied != len(keyed & applied_keys):
            told = f"{len(keyed & applied_keys)} keys of {what} are recorded, {applied} applied"
            found.append(Violation(DOUBLED, told))
        done = {toggle.key for toggle in toggles if toggle.key and toggle.outcome == "done"}
        found += [
            Violation(LOST, f"{what} knows nothing of key {k}") for k in done - applied_keys if k
        ]
    return found


def _check_edits(task_id: int, row: Row | None, edits: list[Change]) -> list[Violation]:
    what = f"the edited task {task_id}"
    if row is None:
        return [Violation(LOST, f"{what} is not there")]
    marks = row.description.split()
    found = _check_versions(what, edits, row.version - 1)
    for edit in edits:
        number = marks.count(edit.mark)
        if number > 1:
            found.append(Violation(DOUBLED, f"edit {edit.mark} of {what} is there {number} times"))
        elif number and edit.outcome == "unchanged":
            found.append(Violation(WRONG, f"edit {edit.mark} of {what}: nothing was changed?"))
        elif not number and edit.outcome == "done":
            found.append(Violation(LOST_UPDATE, f"edit {edit.mark} of {what} is not there"))
        elif number and edit.version not in (None, marks.index(edit.mark) + 2):
            found.append(Violation(LOST_UPDATE, f"edit {edit.mark} of {what} has another place"))
    if len(marks) != row.version - 1:
        found.append(Violation(LOST_UPDATE, f"{what} lists {len(marks)} of {row.version - 1}"))
    return found
