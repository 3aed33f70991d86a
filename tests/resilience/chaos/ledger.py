"""Records what clients requested and which responses they got, and checks the database by it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Unknown: applied once or not at all. Unchanged: every response reported that nothing was changed.
type Outcome = Literal["done", "unknown", "unchanged"]

LOST = "lost"
DOUBLED = "doubled"
LOST_UPDATE = "lost updates"
FOREIGN = "foreign rows"
MISSED = "missed changes"
WRONG = "wrong responses"
KINDS = (LOST, DOUBLED, LOST_UPDATE, FOREIGN, MISSED, WRONG)

# Where a task is. Absent: it was never created.
type Place = Literal["absent", "live", "trashed", "erased"]
# A task as clients get it.
type Document = dict[str, Any]


@dataclass(frozen=True)
class Violation:
    kind: str
    text: str


@dataclass
class Creation:
    """A task that one client requested, and its later moves: deletions and restorations.

    `fields` are the optional fields that were sent.
    """

    user: str
    title: str
    outcome: Outcome = "unknown"
    task_id: int | None = None
    moves: list[tuple[Place, Outcome]] = field(default_factory=list)
    fields: Document = field(default_factory=dict)

    def places(self) -> set[Place]:
        """Where the task may be, by the outcomes of its creation and its moves."""
        places: set[Place] = {"absent"}
        creation: tuple[Place, Outcome] = ("live", self.outcome)
        for place, outcome in (creation, *self.moves):
            if outcome == "done":
                places = {place}
            elif outcome == "unknown":
                places.add(place)
        return places


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
    fields: Document = field(default_factory=dict)


@dataclass
class Discard:
    """A deletion or restoration of a shared task. `etag` is that of If-Match.

    `updated_at` is that of the response to a restoration, `deleted_etag` that of the response to a
    deletion.
    """

    restores: bool
    etag: str | None = None
    outcome: Outcome = "unknown"
    updated_at: str | None = None
    deleted_etag: str | None = None


@dataclass(frozen=True)
class Row:
    """A task in the database."""

    place: Place
    version: int
    document: Document

    @property
    def id(self) -> int:
        return self.document["id"]

    @property
    def completed(self) -> bool:
        return self.document["completed"]

    @property
    def description(self) -> str:
        return self.document["description"] or ""


@dataclass(frozen=True)
class State:
    """A state that a task has had, as a trigger of the database recorded it."""

    version: int
    deleted: bool
    document: Document

    @property
    def updated_at(self) -> str:
        return self.document["updated_at"]

    @property
    def completed(self) -> bool:
        return self.document["completed"]

    @property
    def description(self) -> str:
        return self.document["description"] or ""


@dataclass
class Ledger:
    """Every operation of a run, and the violations that clients saw in responses."""

    creations: list[Creation] = field(default_factory=list)
    toggles: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    edits: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    overwrites: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    discards: dict[int, list[Discard]] = field(default_factory=lambda: defaultdict(list))
    # Tasks that the run itself changes, in transactions that it holds open.
    held: set[int] = field(default_factory=set)
    # Where tasks that had an age at the beginning have to be, and whether records of keys are kept.
    aged: dict[int, Place] = field(default_factory=dict)
    aged_keys: dict[str, bool] = field(default_factory=dict)
    # The document of each ETag: no two states of a task share one.
    etags: dict[str, object] = field(default_factory=dict)
    # The newest state of each task that is known to be committed, for each user: its `updated_at`,
    # and whether the task was deleted after it.
    committed: dict[str, dict[int, tuple[str, bool]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    # The ETag of a discarded task after its last acknowledged deletion.
    trashed_etags: dict[int, str | None] = field(default_factory=dict)
    # Tasks whose deletion was requested.
    deleting: set[int] = field(default_factory=set)
    violations: list[Violation] = field(default_factory=list)
    reads: int = 0

    def report(self, kind: str, text: str) -> None:
        self.violations.append(Violation(kind, text))

    def observe(self, task: Document, *, deleted: bool = False) -> None:
        """Note a state that is committed, and whether it was deleted after that."""
        known = self.committed[task["user_id"]]
        state = (task["updated_at"], deleted)
        known[task["id"]] = max(state, known.get(task["id"], state))

    def outcomes(self) -> Counter[Outcome]:
        shared = (self.toggles, self.edits, self.overwrites, self.discards)
        counted = Counter[Outcome](
            change.outcome for tasks in shared for changes in tasks.values() for change in changes
        )
        for creation in self.creations:
            counted[creation.outcome] += 1
            counted.update(outcome for _, outcome in creation.moves)
        return counted


@dataclass(frozen=True)
class Contents:
    """The database after a run.

    `keys` holds each idempotency key with the id of its task, `texts` the response that is recorded
    for a task.
    """

    rows: Iterable[Row]
    keys: Iterable[tuple[str, int]] = ()
    history: Iterable[State] = ()
    texts: Mapping[int, str] = field(default_factory=dict)


def check(ledger: Ledger, contents: Contents) -> list[Violation]:
    """Compare the responses with the database. Returns every violation."""
    rows = list(contents.rows)
    found = [*ledger.violations, *_check_creations(ledger, rows)]
    found += _check_erased(rows, contents.texts)
    found += _check_aged(ledger, rows, {key for key, _ in contents.keys})
    return found + _check_shared_tasks(ledger, rows, contents)


def _check_creations(ledger: Ledger, rows: list[Row]) -> list[Violation]:
    by_title, erased, found = defaultdict(list), {}, []
    for row in rows:
        if row.place == "erased":
            erased[row.id] = row
        else:
            by_title[row.document["title"]].append(row)
    for creation in ledger.creations:
        of_creation = by_title.pop(creation.title, [])
        of_creation += [erased[id_] for id_ in [creation.task_id] if id_ in erased]
        found += _check_creation(creation, of_creation)
    shared = ledger.toggles.keys() | ledger.edits.keys() | ledger.overwrites.keys()
    shared |= ledger.discards.keys() | ledger.held | ledger.aged.keys()
    found += [
        Violation(DOUBLED, f"no client requested the task {title!r}")
        for title, unrequested in by_title.items()
        if not shared.issuperset(row.id for row in unrequested)
    ]
    return found


def _check_shared_tasks(ledger: Ledger, rows: list[Row], contents: Contents) -> list[Violation]:
    live = {row.id: row for row in rows if row.place == "live"}
    history, applied_keys, found = defaultdict(list), defaultdict(set), []
    for state in sorted(contents.history, key=lambda state: state.version):
        history[state.document["id"]].append(state)
    for key, task_id in contents.keys:
        applied_keys[task_id].add(key)
    for changes_of_tasks, check_task in (
        (ledger.toggles, _check_toggles),
        (ledger.edits, _check_edits),
        (ledger.overwrites, _check_overwrites),
    ):
        for task_id, changes in changes_of_tasks.items():
            if row := live.get(task_id):
                found += check_task(_SharedTask(row, changes, history[task_id]))
            else:
                found.append(Violation(LOST, f"the shared task {task_id} does not exist"))
    for task_id, discards in ledger.discards.items():
        found += _check_discards(f"the discarded task {task_id}", discards, history[task_id])
    for task_id, toggles in ledger.toggles.items():
        if row := live.get(task_id):
            found += _check_keys(row, toggles, applied_keys[task_id])
    return found


def _check_creation(creation: Creation, rows: list[Row]) -> list[Violation]:
    what, places = f"the task {creation.title!r}", creation.places()
    if len(rows) > 1:
        return [Violation(DOUBLED, f"{what} exists {len(rows)} times")]
    if not rows:
        return [] if "absent" in places else [Violation(LOST, f"{what} does not exist")]
    found, [row] = [], rows
    if row.document["user_id"] != creation.user:
        found.append(Violation(FOREIGN, f"{what} belongs to {row.document['user_id']}"))
    if places == {"absent"}:
        found.append(Violation(WRONG, f"{what} exists, but the response was 'nothing was changed'"))
    elif row.place not in places:
        text = f"{what} is {row.place}, but was left {' or '.join(sorted(places))}"
        found.append(Violation(LOST, text))
    if creation.outcome == "done" and row.id != creation.task_id:
        found.append(Violation(DOUBLED, f"{what} is {row.id}, but was {creation.task_id}"))
    if row.place != "erased":
        found += [
            Violation(LOST, f"{what} has the {name} {row.document[name]!r}, not {value!r}")
            for name, value in creation.fields.items()
            if row.document[name] != value
        ]
    return found


def _check_erased(rows: Iterable[Row], texts: Mapping[int, str]) -> list[Violation]:
    """The text of an erased task is nowhere, also not in the records of idempotency keys."""
    found = []
    for row in rows:
        if row.place != "erased":
            continue
        kept = [row.document[name] for name in ("title", "description", "tags")]
        if any(kept) or row.id in texts:
            text = f"the task {row.id} was erased, but keeps {kept} and {texts.get(row.id)!r}"
            found.append(Violation(LOST, text))
    return found


def _check_aged(ledger: Ledger, rows: Iterable[Row], keys: set[str]) -> list[Violation]:
    """The retention job has removed what has expired, and nothing else."""
    places = {row.id: row.place for row in rows}
    found = []
    for task, expected in ledger.aged.items():
        if (place := places.get(task, "absent")) != expected:
            found.append(Violation(LOST, f"the aged task {task} is {place}, not {expected}"))
    found += [
        Violation(LOST, f"the record of the key {key} is {'not ' if kept else ''}there")
        for key, kept in ledger.aged_keys.items()
        if (key in keys) != kept
    ]
    return found


def _check_discards(what: str, discards: list[Discard], history: list[State]) -> list[Violation]:
    """A deletion and a restoration alternate, each with a state of its own."""
    found = []
    for expected, state in enumerate(history, 1):
        if state.version != expected or state.deleted != (expected % 2 == 0):
            text = f"{what} has the version {state.version} as its state number {expected}"
            found.append(Violation(DOUBLED, text))
    restored = {state.updated_at for state in history if not state.deleted}
    found += [
        Violation(WRONG, f"{what} was restored, but its state {discard.updated_at} never was")
        for discard in discards
        if discard.updated_at and discard.updated_at not in restored
    ]
    for restores in (False, True):
        applied = sum(state.deleted != restores for state in history) - restores
        outcomes = Counter(one.outcome for one in discards if one.restores == restores)
        name = "restorations" if restores else "deletions"
        # A restoration of a task that is not deleted is done too, and makes no state.
        if applied < outcomes["done"] and not restores:
            text = f"{outcomes['done']} {name} of {what} are done, {applied} applied"
            found.append(Violation(LOST_UPDATE, text))
        if applied > outcomes["done"] + outcomes["unknown"]:
            text = f"{outcomes['done'] + outcomes['unknown']} {name} of {what}, {applied} applied"
            found.append(Violation(DOUBLED, text))
    conditions = [("the condition", one.etag) for one in discards if one.outcome == "done"]
    results = [("the ETag after deletion", one.deleted_etag) for one in discards]
    found += [
        Violation(LOST_UPDATE, f"{number} changes of {what} have {name} {etag}")
        for (name, etag), number in Counter(conditions + results).items()
        if etag and number > 1
    ]
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
    sent = {change.mark: change.fields for change in task.changes}
    found += [
        Violation(LOST_UPDATE, f"{what} mixes overwrites in {state.document}")
        for state in task.history
        for name, value in sent.get(state.description, {}).items()
        if state.document[name] != value
    ]
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
