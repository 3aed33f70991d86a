"""Records what clients requested and which responses they got, and checks the database by it."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

# Unknown: applied once or not at all. Unchanged: every response reported that nothing was changed.
type Outcome = Literal["done", "unknown", "unchanged"]

LOST = "lost"
DOUBLED = "doubled"
LOST_UPDATE = "lost updates"
FOREIGN = "foreign rows"
WRONG = "wrong responses"
KINDS = (LOST, DOUBLED, LOST_UPDATE, FOREIGN, WRONG)


@dataclass(frozen=True)
class Violation:
    kind: str
    text: str


@dataclass
class Creation:
    """A task that a client requested. `deleted` is the outcome of its deletion, if requested."""

    user: str
    title: str
    outcome: Outcome = "unknown"
    task_id: int | None = None
    deleted: Outcome | None = None


@dataclass
class Change:
    """A change of a shared task: a toggle, an edit or an overwrite.

    `mark` is unique. `updated_at` and `completed` are those of the response.
    """

    mark: str
    key: str | None
    outcome: Outcome = "unknown"
    updated_at: str | None = None
    completed: bool | None = None


@dataclass(frozen=True)
class Row:
    """A task in the database."""

    id: int
    user: str
    title: str
    description: str
    completed: bool
    version: int


@dataclass(frozen=True)
class State:
    """A state that a task has had, as a trigger of the database recorded it."""

    task_id: int
    version: int
    updated_at: str
    description: str
    completed: bool


@dataclass
class Ledger:
    """Every operation of a run, and the violations that clients saw in responses."""

    creations: list[Creation] = field(default_factory=list)
    toggles: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    edits: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    overwrites: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    # The document of each ETag: no two states of a task share one.
    etags: dict[str, object] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    reads: int = 0

    def report(self, kind: str, text: str) -> None:
        self.violations.append(Violation(kind, text))

    def outcomes(self) -> Counter[Outcome]:
        shared = (self.toggles, self.edits, self.overwrites)
        counted = Counter[Outcome](
            change.outcome for tasks in shared for changes in tasks.values() for change in changes
        )
        for creation in self.creations:
            counted[creation.outcome] += 1
            if creation.deleted:
                counted[creation.deleted] += 1
        return counted


@dataclass(frozen=True)
class Contents:
    """The database after a run. `keys` holds each idempotency key with the id of its task."""

    rows: Iterable[Row]
    keys: Iterable[tuple[str, int]] = ()
    history: Iterable[State] = ()


def check(ledger: Ledger, contents: Contents) -> list[Violation]:
    """Compare the responses with the database. Returns every violation."""
    by_id, by_title = {}, defaultdict(list)
    for row in contents.rows:
        by_id[row.id] = row
        by_title[row.title].append(row)
    history = defaultdict(list)
    for state in sorted(contents.history, key=lambda state: state.version):
        history[state.task_id].append(state)
    applied_keys = defaultdict(set)
    for key, task_id in contents.keys:
        applied_keys[task_id].add(key)
    found = list(ledger.violations)
    for creation in ledger.creations:
        found += _check_creation(creation, by_title.pop(creation.title, []))
    shared = ledger.toggles.keys() | ledger.edits.keys() | ledger.overwrites.keys()
    for title, unrequested in by_title.items():
        if not shared.issuperset(row.id for row in unrequested):
            found.append(Violation(DOUBLED, f"no client requested the task {title!r}"))
    for changes_of_tasks, check_task in (
        (ledger.toggles, _check_toggles),
        (ledger.edits, _check_edits),
        (ledger.overwrites, _check_overwrites),
    ):
        for task_id, changes in changes_of_tasks.items():
            if row := by_id.get(task_id):
                found += check_task(_SharedTask(row, changes, history[task_id]))
            else:
                found.append(Violation(LOST, f"the shared task {task_id} does not exist"))
    for task_id, toggles in ledger.toggles.items():
        if row := by_id.get(task_id):
            found += _check_keys(row, toggles, applied_keys[task_id])
    return found


def _check_creation(creation: Creation, rows: list[Row]) -> list[Violation]:
    what, number = f"the task {creation.title!r}", len(rows)
    if number > 1:
        return [Violation(DOUBLED, f"{what} exists {number} times")]
    found = []
    if rows and rows[0].user != creation.user:
        found.append(Violation(FOREIGN, f"{what} belongs to {rows[0].user}"))
    if creation.outcome == "unchanged" and rows:
        found.append(Violation(WRONG, f"{what} exists, but the response was 'nothing was changed'"))
    if creation.outcome != "done":
        return found
    if rows and creation.deleted == "done":
        found.append(Violation(LOST, f"{what} exists, but was deleted"))
    if rows and rows[0].id != creation.task_id:
        found.append(Violation(DOUBLED, f"{what} is {rows[0].id}, but was {creation.task_id}"))
    if not rows and creation.deleted in (None, "unchanged"):
        found.append(Violation(LOST, f"{what} does not exist"))
    return found


@dataclass(frozen=True)
class _SharedTask:
    row: Row
    changes: list[Change]
    history: list[State]

    @property
    def applied(self) -> int:
        return self.row.version - 1

    def state_after(self, change: Change) -> State | None:
        """The state that the response to a change described."""
        found = [state for state in self.history if state.updated_at == change.updated_at]
        return found[0] if len(found) == 1 else None


def _check_versions(task: _SharedTask) -> list[Violation]:
    """Each change makes a state of its own, so no two responses may describe the same one."""
    what = f"task {task.row.id}"
    described = Counter(change.updated_at for change in task.changes if change.updated_at)
    done = sum(change.outcome == "done" for change in task.changes)
    unknown = sum(change.outcome == "unknown" for change in task.changes)
    found = [
        Violation(LOST_UPDATE, f"{number} changes of {what} have the same updated_at {timestamp}")
        for timestamp, number in described.items()
        if number > 1
    ]
    found += [
        Violation(WRONG, f"change {change.mark} of {what}: its state {change.updated_at} never was")
        for change in task.changes
        if change.updated_at and not task.state_after(change)
    ]
    if task.applied < done:
        found.append(
            Violation(LOST_UPDATE, f"{done} changes of {what} are done, {task.applied} applied")
        )
    if task.applied > done + unknown:
        found.append(
            Violation(
                DOUBLED, f"{done} to {done + unknown} changes of {what}, {task.applied} applied"
            )
        )
    return found


def _check_toggles(task: _SharedTask) -> list[Violation]:
    what = f"the toggled task {task.row.id}"
    found = _check_versions(task)
    states = [(state.version, state.completed) for state in task.history]
    states += [(task.row.version, task.row.completed)]
    for version, completed in states:
        if completed != bool((version - 1) % 2):
            text = f"{what} is {completed} after {version - 1} toggles"
            found.append(Violation(LOST_UPDATE, text))
    for change in task.changes:
        state = task.state_after(change)
        if state and state.completed != change.completed:
            text = f"toggle {change.mark} of {what}: the response has {change.completed}"
            found.append(Violation(WRONG, text))
    return found


def _check_keys(row: Row, toggles: list[Change], applied_keys: set[str]) -> list[Violation]:
    """The records of the keys show which toggles were applied, even if the client cannot."""
    what, applied = f"the toggled task {row.id}", row.version - 1
    keys = {toggle.key for toggle in toggles if toggle.key}
    if not keys:
        return []
    found = []
    if applied != len(keys & applied_keys):
        text = f"{len(keys & applied_keys)} keys of {what} are recorded, {applied} applied"
        found.append(Violation(DOUBLED, text))
    done = {toggle.key for toggle in toggles if toggle.key and toggle.outcome == "done"}
    found += [
        Violation(LOST, f"{what} has no record of key {key}") for key in done - applied_keys if key
    ]
    return found


def _check_edits(task: _SharedTask) -> list[Violation]:
    """Each edit appended its mark to the description, under If-Match."""
    what, marks = f"the edited task {task.row.id}", task.row.description.split()
    found = _check_versions(task)
    for edit in task.changes:
        number, state = marks.count(edit.mark), task.state_after(edit)
        if number > 1:
            found.append(Violation(DOUBLED, f"edit {edit.mark} of {what} is there {number} times"))
        elif number and edit.outcome == "unchanged":
            text = f"edit {edit.mark} of {what}: the response was 'nothing was changed'"
            found.append(Violation(WRONG, text))
        elif not number and edit.outcome == "done":
            found.append(Violation(LOST_UPDATE, f"edit {edit.mark} of {what} is not there"))
        elif number and state and state.version != marks.index(edit.mark) + 2:
            found.append(Violation(LOST_UPDATE, f"edit {edit.mark} of {what} changed its position"))
    if len(marks) != task.applied:
        found.append(Violation(LOST_UPDATE, f"{what} has {len(marks)} of {task.applied} marks"))
    return found


def _check_overwrites(task: _SharedTask) -> list[Violation]:
    """Each overwrite replaced the description by its mark, without a condition.

    One that was applied twice has undone the changes that were made in between.
    """
    what, found = f"the overwritten task {task.row.id}", _check_versions(task)
    applied = Counter(state.description for state in task.history if state.version > 1)
    for change in task.changes:
        number, state = applied.pop(change.mark, 0), task.state_after(change)
        if number > 1:
            text = f"overwrite {change.mark} of {what} was applied {number} times"
            found.append(Violation(DOUBLED, text))
        elif number and change.outcome == "unchanged":
            text = f"overwrite {change.mark} of {what}: the response was 'nothing was changed'"
            found.append(Violation(WRONG, text))
        elif not number and change.outcome == "done":
            found.append(Violation(LOST_UPDATE, f"overwrite {change.mark} of {what} never was"))
        elif state and state.description != change.mark:
            text = f"overwrite {change.mark} of {what} made {state.description!r}"
            found.append(Violation(LOST_UPDATE, text))
    found += [
        Violation(DOUBLED, f"no client requested {description!r} of {what}")
        for description in applied
    ]
    if task.history and task.row.description != task.history[-1].description:
        found.append(Violation(LOST_UPDATE, f"{what} ends as {task.row.description!r}"))
    return found
