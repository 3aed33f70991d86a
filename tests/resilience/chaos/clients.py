"""Clients that follow the documentation, and record the responses.

They retry what is safe to retry, and read the task before they retry anything else.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.resilience.chaos import plan
from tests.resilience.chaos.calls import (
    DONE,
    NOT_DONE,
    NOT_KNOWN,
    REFUSED,
    Result,
    Traffic,
    User,
)
from tests.resilience.chaos.ledger import (
    DOUBLED,
    FOREIGN,
    LOST,
    WRONG,
    Change,
    Creation,
    Discard,
    Outcome,
    Place,
)
from tests.resilience.chaos.plan import Operation

# Calls of one operation. Without a limit, a run might not end.
MAX_CALLS = 40
PAGE_SIZE = 7
# Requests of one trespass. All trespasses together request everything in turn.
TRESPASSES = 3

type Call = Callable[[], Awaitable[Result]]


@dataclass
class OwnTask:
    """An acknowledged task of one client, which no other client changes.

    `sent` and `key` are those of its creation, and `etag` is that of its present state.
    """

    creation: Creation
    sent: dict[str, Any]
    key: str | None
    etag: str | None

    @property
    def path(self) -> str:
        return f"/{self.creation.task_id}"


@dataclass
class OwnTasks:
    """The tasks of one client. Only the first two kinds are changed again."""

    live: list[OwnTask] = field(default_factory=list)
    trashed: list[OwnTask] = field(default_factory=list)
    # Those that no list may contain, and those that are not even in the trash.
    deleted: list[Creation] = field(default_factory=list)
    erased: list[Creation] = field(default_factory=list)

    def possible_kind(self, kind: str) -> str:
        """The kind of operation, or another one if there is no task for it."""
        if kind == "restore" and not self.trashed:
            kind = "delete"
        missing = kind in ("delete", "erase", "complete") and not self.live
        if missing and not (kind == "erase" and self.trashed):
            return "create once"
        return kind


class Client:
    """Performs its operations one after the other, as one of the users."""

    def __init__(self, traffic: Traffic, number: int, operations: list[Operation]) -> None:
        self._traffic = traffic
        self._user = traffic.users[number % len(traffic.users)]
        self._operations = operations
        self._own = OwnTasks()

    async def run(self) -> None:
        for operation in self._operations:
            if self._traffic.stop():
                return
            await OperationRun(self._traffic, self._user, operation, self._own).run()
            self._traffic.done += 1


class OperationRun:
    """One operation, from its first call to its last."""

    def __init__(self, traffic: Traffic, user: User, operation: Operation, own: OwnTasks) -> None:
        self._traffic, self._ledger, self._user = traffic, traffic.ledger, user
        self._operation, self._own = operation, own
        self._kind = own.possible_kind(operation.kind)
        self._calls = 0
        # Whether a call may have been applied without a response that confirms it.
        self._doubt = False

    async def run(self) -> None:
        operations: dict[str, Callable[[], Awaitable[None]]] = {
            "create once": lambda: self._create(once=True),
            "create": lambda: self._create(once=False),
            "delete": self._delete,
            "restore": self._restore,
            "erase": self._erase,
            "discard": self._discard,
            "toggle once": lambda: self._toggle(once=True),
            "toggle": lambda: self._toggle(once=False),
            "complete": self._complete,
            "edit": self._edit,
            "overwrite": self._overwrite,
            "list": self._list,
            "trespass": self._trespass,
        }
        await operations[self._kind]()

    # --- Operations -----------------------------------------------------------------------------

    async def _create(self, *, once: bool) -> None:
        number = self._operation.number
        title, fields = f"{self._user.name} made {number}", plan.optional_fields(number)
        creation, sent = Creation(self._user.name, title, fields=fields), {"title": title, **fields}
        self._ledger.creations.append(creation)
        key = f"create-{number}" if once else None

        async def call() -> Result:
            return await self._call("POST", body=sent, key=key)

        result = await self._call_until_definite(call, repeatable=False, once=once)
        creation.outcome = self._outcome(result)
        if result is None or not self._expect(result, 201):
            return
        body = result.body
        self._check_fields(creation, body)
        if body["updated_at"] != body["created_at"]:
            self._report(WRONG, f"created {title!r}, the response is {body}")
        creation.task_id = body["id"]
        task = OwnTask(creation, sent, key, result.etag)
        self._own.live.append(task)
        read = await self._read(task.path)
        if read and (read.status != 200 or read.body["title"] != title):
            self._report(LOST, f"{title!r} was acknowledged, then read as {read.status}")
        if self._operation.repeated_later:
            await self._repeat_create(task)

    async def _repeat_create(self, task: OwnTask, *, erased: bool = False) -> None:
        """Repeat it as a client does that never got the first response."""
        if not task.key:
            return

        async def call() -> Result:
            return await self._call("POST", body=task.sent, key=task.key)

        result = await self._call_until_definite(call, repeatable=True)
        if result is None or (erased and result.status == 404):
            return
        if erased or result.status != 201 or result.body["id"] != task.creation.task_id:
            text = f"{task.creation.title!r} again: {result.status}, {result.body}"
            self._report(DOUBLED, text)

    async def _delete(self) -> None:
        task = self._take(self._own.live)
        etag = task.etag if self._operation.variant < 0.5 else None
        result = await self._move(task, "trashed", "DELETE", if_match=etag)
        if result is None:
            return
        task.etag = result.etag
        self._own.deleted.append(task.creation)
        # Without a condition, a call whose response was lost may arrive later, and delete the task
        # again.
        if etag or not self._doubt:
            self._own.trashed.append(task)
        await self._expect_to_be_deleted(task)
        if self._operation.repeated_later:
            # A late repeat of its creation must not restore it.
            await self._repeat_create(task)

    async def _restore(self) -> None:
        task, variant = self._take(self._own.trashed), self._operation.variant
        key = f"restore-{self._operation.number}" if variant < 0.3 else None
        etag = task.etag if variant > 0.6 else None
        self._own.deleted.remove(task.creation)
        result = await self._move(task, "live", "POST", "/restore", key=key, if_match=etag)
        if result is None:
            return
        self._check_fields(task.creation, result.body)
        task.etag = result.etag
        if key and self._operation.repeated_later:
            again = await self._call_until_definite(
                lambda: self._call("POST", f"{task.path}/restore", key=key), repeatable=True
            )
            if again and (again.status, again.body, again.etag) != (200, result.body, result.etag):
                self._report(DOUBLED, f"restored again: {again.status}, {again.body}")
        # Otherwise a call whose response was lost may restore the task after a later deletion.
        if key or etag or not self._doubt:
            self._own.live.append(task)

    async def _erase(self) -> None:
        own, variant = self._own, self._operation.variant
        deleted = own.trashed if own.trashed and (variant < 0.5 or not own.live) else None
        task = self._take(deleted or own.live)
        etag = task.etag if variant * 10 % 1 < 0.3 else None
        result = await self._move(task, "erased", "DELETE", query="permanent=true", if_match=etag)
        if result is None:
            return
        own.erased.append(task.creation)
        if deleted is None:
            own.deleted.append(task.creation)
        await self._expect_to_be_deleted(task)
        restored = await self._call_until_definite(
            lambda: self._call("POST", f"{task.path}/restore"), repeatable=True
        )
        if restored and restored.status != 404:
            text = f"{task.creation.title!r} was erased, then restored: {restored.status}"
            self._report(LOST, text)
        await self._repeat_create(task, erased=True)

    def _take(self, tasks: list[OwnTask]) -> OwnTask:
        return tasks.pop(int(self._operation.choice * len(tasks)))

    async def _move(
        self, task: OwnTask, place: Place, method: str, path: str = "", **options: Any
    ) -> Result | None:
        """Delete, erase or restore a task. None if it is unknown whether that happened.

        No other client changes it, so that a repeat is harmless. After a lost response, a repeat
        gets 404 for what is deleted, and 412 under a condition that the first call has made stale.
        """
        creation = task.creation
        creation.moves.append((place, "unknown"))
        if place != "live":
            self._ledger.deleting.add(creation.task_id or 0)

        async def call() -> Result:
            return await self._call(method, f"{task.path}{path}", **options)

        result = await self._call_until_definite(
            call, repeatable=True, once=bool(options.get("key"))
        )
        if result and self._doubt and result.status == 412 and place == "live":
            result = await self._read(task.path)
        repeated = result and self._doubt and result.status == 404 and place != "live"
        creation.moves[-1] = (place, "done" if repeated else self._outcome(result))
        if result is None:
            return None
        if not repeated and not self._expect(result, 200 if place == "live" else 204):
            return None
        if place != "live":
            self._observe_deletion(task)
        return result

    def _observe_deletion(self, task: OwnTask) -> None:
        known = self._ledger.committed[self._user.name]
        task_id = task.creation.task_id or 0
        known[task_id] = (known[task_id][0], True)

    async def _expect_to_be_deleted(self, task: OwnTask) -> None:
        read = await self._read(task.path)
        if read and read.status != 404:
            text = f"{task.creation.title!r} was deleted, then read as {read.status}"
            self._report(LOST, text)

    async def _discard(self) -> None:
        """Delete a task that other clients delete and restore as well, or restore it."""
        task, variant = self._user.discarded, self._operation.variant
        read = await self._read(f"/{task}")
        if read is None:
            return
        discard = Discard(restores=read.status != 200)
        self._ledger.discards[task].append(discard)
        if discard.restores:
            await self._restore_shared(discard, variant)
            return
        self._expect(read, 200)
        discard.etag = read.etag if variant < 0.5 else None
        self._ledger.deleting.add(task)
        result = await self._call_until_definite(
            lambda: self._call("DELETE", f"/{task}", if_match=discard.etag), repeatable=False
        )
        stale = 412 if discard.etag else 404
        discard.outcome = self._outcome_of_discard(result, 204, 404, stale)
        if result and discard.outcome == "done":
            discard.deleted_etag = result.etag
            self._ledger.observe(read.body, deleted=True)
            self._ledger.trashed_etags[task] = result.etag

    async def _restore_shared(self, discard: Discard, variant: float) -> None:
        task = self._user.discarded
        discard.etag = self._ledger.trashed_etags.get(task) if variant > 0.6 else None
        key = f"restore-{self._operation.number}" if variant < 0.3 else None

        async def call() -> Result:
            return await self._call("POST", f"/{task}/restore", key=key, if_match=discard.etag)

        result = await self._call_until_definite(call, repeatable=False, once=bool(key))
        refused = (412,) if discard.etag else ()
        discard.outcome = self._outcome_of_discard(result, 200, *refused)
        if result and discard.outcome == "done":
            discard.updated_at = result.body["updated_at"]

    def _outcome_of_discard(self, result: Result | None, done: int, *refused: int) -> Outcome:
        """Another client may have been first, so that some refusals are expected."""
        if result and result.status in refused:
            return "unknown" if self._doubt else "unchanged"
        if result:
            self._expect(result, done)
        return self._outcome(result)

    async def _toggle(self, *, once: bool) -> None:
        task = self._user.toggled_once if once else self._user.toggled
        key = f"toggle-{self._operation.number}" if once else None
        change = Change(str(self._operation.number), key)
        self._ledger.toggles[task].append(change)

        async def call() -> Result:
            return await self._call("PATCH", f"/{task}/complete", key=key)

        result = await self._call_until_definite(call, repeatable=False, once=once)
        change.outcome = self._outcome(result)
        if result is None or not self._expect(result, 200):
            return
        change.updated_at, change.completed = result.body["updated_at"], result.body["completed"]
        if key and self._operation.repeated_later:
            again = await self._call_until_definite(call, repeatable=True)
            if again and (again.status, again.body, again.etag) != (200, result.body, result.etag):
                self._report(DOUBLED, f"toggle {change.mark} again: {again.status}, {again.body}")

    async def _complete(self) -> None:
        """Complete or open an own task, sometimes together with other fields."""
        task, variant = self._take(self._own.live), self._operation.variant
        fields: dict[str, Any] = {"completed": variant < 0.5}
        path = f"{task.path}/complete"
        if variant * 10 % 1 < 0.5:
            path = task.path
            fields |= plan.optional_fields(self._operation.number)
            # A field that is not named stays as it is.
            del fields["due_date"]
        result = await self._call_until_definite(
            lambda: self._call("PATCH", path, body=fields), repeatable=True
        )
        if result is None or self._doubt:
            # A call whose response was lost may arrive later, and change the task again.
            task.creation.fields = {
                name: value for name, value in task.creation.fields.items() if name not in fields
            }
        if result is None or not self._expect(result, 200):
            return
        if not self._doubt:
            task.creation.fields |= fields
            task.etag = result.etag
            self._own.live.append(task)
        self._check_fields(task.creation, result.body)

    async def _edit(self) -> None:
        """Add a mark to a list of marks, to which other clients add as well."""
        task = self._user.edited[int(self._operation.choice * len(self._user.edited))]
        change = Change(_short(self._operation.number), None)
        self._ledger.edits[task].append(change)
        method = self._put_or_patch()
        while True:
            read = await self._read(f"/{task}")
            if read is None or not self._expect(read, 200):
                break
            marks = (read.body["description"] or "").split()
            if change.mark in marks:
                if not self._doubt:
                    self._report(WRONG, f"edit {change.mark} was made, the responses deny it")
                change.outcome = "done"
                return
            body = {"description": " ".join([*marks, change.mark])}
            result = await self._call(method, f"/{task}", body=body, if_match=read.etag)
            if result.effect == DONE and self._expect(result, 200):
                change.outcome, change.updated_at = "done", result.body["updated_at"]
                change.completed = result.body["completed"]
                if result.body["description"] != body["description"]:
                    self._report(WRONG, f"edit {change.mark} of {body}: {result.body}")
                return
            if result.effect == REFUSED and not self._expect(result, 412):
                break
            if self._gives_up(result):
                break
            await self._pause(result)
        change.outcome = "unknown" if self._doubt else "unchanged"

    async def _overwrite(self) -> None:
        """Replace a text that other clients replace as well."""
        task = self._user.overwritten
        fields = plan.optional_fields(self._operation.number)
        change = Change(_short(self._operation.number), None, fields=fields)
        self._ledger.overwrites[task].append(change)
        body = {"description": change.mark, **fields}

        async def call() -> Result:
            return await self._call(self._put_or_patch(), f"/{task}", body=body)

        result = await self._call_until_definite(call, repeatable=False)
        change.outcome = self._outcome(result)
        if result is None or not self._expect(result, 200):
            return
        change.updated_at, change.completed = result.body["updated_at"], result.body["completed"]
        if any(result.body[name] != value for name, value in body.items()):
            self._report(WRONG, f"overwrite {body}: {result.body}")

    def _put_or_patch(self) -> str:
        return "PUT" if self._operation.variant < 0.5 else "PATCH"

    async def _list(self) -> None:
        self._ledger.reads += 1
        rows: list[dict[str, Any]] = []
        query = f"limit={PAGE_SIZE}" if self._operation.choice < 0.5 else ""
        of_trash = self._operation.variant < 0.3
        if of_trash:
            query = "&".join(filter(None, ("status=deleted", query)))
        while True:
            page = await self._read("", query)
            if page is None or not self._expect(page, 200):
                return
            rows += page.body
            if not page.link:
                break
            query = urlsplit(page.link).query
            assert parse_qs(query)["cursor"]
        self._check_list(rows, query, of_trash)

    def _check_list(self, rows: list[dict[str, Any]], query: str, of_trash: bool) -> None:
        for row in rows:
            if row["user_id"] != self._user.name or not row["title"].startswith(self._user.name):
                self._report(FOREIGN, f"the list of {self._user.name} has {row}")
        counted = Counter(row["id"] for row in rows)
        listed, hidden = self._own.live, self._own.deleted
        if of_trash:
            listed = self._own.trashed
            hidden = self._own.erased + [task.creation for task in self._own.live]
        for task in listed:
            if counted[task.creation.task_id] != 1:
                text = f"{task.creation.title!r} is listed {counted[task.creation.task_id]} times"
                self._report(LOST, text)
        for task_id, place in self._ledger.aged.items():
            if counted[task_id] and place != ("trashed" if of_trash else "live"):
                self._report(LOST, f"the aged task {task_id} is in the list {query!r}")
        for creation in hidden:
            if counted[creation.task_id]:
                self._report(LOST, f"{creation.title!r} is in the list {query!r}")

    async def _trespass(self) -> None:
        self._ledger.reads += 1
        others = [user for user in self._traffic.users if user is not self._user]
        other = others[int(self._operation.choice * len(others))]
        task, stolen = f"/{other.toggled}", {"title": "stolen"}
        requests: list[tuple[str, str, Any, User | None, int]] = [
            ("GET", task, None, None, 404),
            ("PUT", task, stolen, None, 404),
            ("PATCH", task, stolen, None, 404),
            ("POST", f"/{other.trashed}/restore", None, None, 404),
            ("POST", f"{task}/restore", None, None, 404),
            ("GET", "/changes", None, other, 403),
            ("PATCH", f"{task}/complete", None, None, 404),
            ("DELETE", task, None, None, 404),
            ("GET", "", None, other, 403),
            ("GET", task, None, other, 403),
            ("POST", "", stolen, other, 403),
        ]
        for _ in range(TRESPASSES):
            number, self._traffic.trespasses = (
                self._traffic.trespasses,
                self._traffic.trespasses + 1,
            )
            method, path, body, owner, expected = requests[number % len(requests)]
            call = partial(self._call, method, path, body=body, owner=owner)
            result = await self._call_until_definite(call, repeatable=True)
            if result and result.status < 300:
                self._report(FOREIGN, f"{method} {path} of {other.name}: {result.status}")
            elif result:
                self._expect(result, expected)

    # --- Calls ----------------------------------------------------------------------------------

    async def _read(self, path: str, query: str = "") -> Result | None:
        """The definite result of a GET, or None if the client gave up."""
        doubt = self._doubt

        async def call() -> Result:
            return await self._call("GET", path, query=query)

        try:
            return await self._call_until_definite(call, repeatable=True, patient=True)
        finally:
            self._doubt = doubt

    async def _call_until_definite(
        self, call: Call, *, repeatable: bool, once: bool = False, patient: bool = False
    ) -> Result | None:
        """The first result that shows whether it was applied, or None if the client gave up.

        once: the calls carry an idempotency key, so that they may be repeated.
        """
        repeatable |= once
        while True:
            if once and self._operation.twice_at_once and not self._calls:
                result = self._either(*await asyncio.gather(call(), call()))
            else:
                result = await call()
            if result.effect in (DONE, REFUSED):
                return result
            if not patient and self._gives_up(result):
                return None
            if self._exhausted() or (self._doubt and not repeatable):
                return None
            await self._pause(result)

    def _either(self, one: Result, other: Result) -> Result:
        if one.effect == other.effect == DONE and one.body != other.body:
            self._report(DOUBLED, f"two at once: {one.body} and {other.body}")
        order = (DONE, REFUSED, NOT_DONE, NOT_KNOWN)
        return min(one, other, key=lambda result: order.index(result.effect))

    def _gives_up(self, result: Result) -> bool:
        return self._exhausted() or (self._operation.gives_up and result.effect == NOT_KNOWN)

    def _exhausted(self) -> bool:
        return self._calls >= MAX_CALLS or time.monotonic() > self._traffic.give_up_at

    async def _pause(self, result: Result) -> None:
        seconds = (result.retry_after or 0.1) / self._traffic.speed
        await asyncio.sleep(seconds * random.uniform(0.5, 1))

    def _outcome(self, result: Result | None) -> Any:
        """The outcome of a write with this last definite result."""
        if result is None:
            return "unknown" if self._doubt else "unchanged"
        return "done" if result.effect == DONE else "unknown"

    async def _call(self, method: str, path: str = "", **options: Any) -> Result:
        traffic, number = self._traffic, self._operation.number
        drawn = plan.delivery(traffic.seed, number, self._calls)
        delivery = self._operation.delivery or drawn
        self._calls += 1
        result = await traffic.call(
            self._user, delivery, method, path, by_mcp=self._operation.by_mcp, **options
        )
        self._doubt |= result.effect == NOT_KNOWN
        return result

    def _check_fields(self, creation: Creation, body: dict[str, Any]) -> None:
        expected = {"title": creation.title, **creation.fields}
        if {name: body[name] for name in expected} != expected:
            self._report(WRONG, f"{expected} is {body} in the response")

    def _expect(self, result: Result, status: int) -> bool:
        if result.status == status:
            return True
        self._report(WRONG, f"{self._kind} got {result.status}: {result.body}")
        return False

    def _report(self, kind: str, text: str) -> None:
        self._ledger.report(kind, f"operation {self._operation.number}: {text}")


def _short(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        if not number:
            return digits
