"""Clients that follow the documentation, and record the responses.

They retry what is safe to retry, and read the task before they retry anything else.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from tests.resilience.chaos import plan
from tests.resilience.chaos.fleet import Fleet, Request, Response, TransportError
from tests.resilience.chaos.ledger import DOUBLED, FOREIGN, LOST, WRONG, Change, Creation, Ledger
from tests.resilience.chaos.plan import Operation
from tests.resilience.faults.lab import UNCHANGED, UNKNOWN

SECRET = "chaos-secret-0123456789abcdef0123456789"
# Calls of one operation. Without a limit, a run might not end.
MAX_CALLS = 40
PAGE_SIZE = 7

# What a response reports about the effect of its call.
DONE, REFUSED, NOT_DONE, NOT_KNOWN = "done", "refused", "not done", "not known"


@dataclass(frozen=True)
class Result:
    """The result of a call: its effect and the response. `status` is 0 without a response."""

    effect: str
    status: int = 0
    body: Any = None
    etag: str | None = None
    retry_after: float = 0.0
    link: str = ""


type Call = Callable[[], Awaitable[Result]]


@dataclass(frozen=True)
class User:
    """A user, and the tasks that all clients of this user share."""

    name: str
    token: str
    toggled: int
    toggled_once: int
    overwritten: int
    edited: list[int]


def make_token(user: str) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, SECRET)


@dataclass
class Traffic:
    """What all clients of a run share. `speed` divides the pauses of the clients."""

    seed: int
    fleet: Fleet
    users: list[User]
    ledger: Ledger
    give_up_at: float
    speed: float = 1.0
    done: int = 0
    calls: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    stop: Callable[[], bool] = lambda: False


class Client:
    """Performs its operations one after the other, as one of the users."""

    def __init__(self, traffic: Traffic, number: int, operations: list[Operation]) -> None:
        self._traffic = traffic
        self._user = traffic.users[number % len(traffic.users)]
        self._operations = operations
        # The acknowledged tasks of this client, each with its key: no other client deletes them.
        self._created: list[tuple[Creation, str | None]] = []
        self._deleted: list[Creation] = []

    async def run(self) -> None:
        for operation in self._operations:
            if self._traffic.stop():
                return
            await OperationRun(
                self._traffic, self._user, operation, self._created, self._deleted
            ).run()
            self._traffic.done += 1


class OperationRun:
    """One operation, from its first call to its last."""

    def __init__(
        self,
        traffic: Traffic,
        user: User,
        operation: Operation,
        created: list[tuple[Creation, str | None]],
        deleted: list[Creation],
    ) -> None:
        self._traffic, self._ledger, self._user = traffic, traffic.ledger, user
        self._operation, self._created, self._deleted = operation, created, deleted
        self._calls = 0
        # Whether a call may have been applied without a response that confirms it.
        self._doubt = False

    async def run(self) -> None:
        kind = self._operation.kind
        if kind == "delete" and not self._created:
            kind = "create once"
        operations: dict[str, Callable[[], Awaitable[None]]] = {
            "create once": lambda: self._create(once=True),
            "create": lambda: self._create(once=False),
            "delete": self._delete,
            "toggle once": lambda: self._toggle(once=True),
            "toggle": lambda: self._toggle(once=False),
            "edit": self._edit,
            "overwrite": self._overwrite,
            "list": self._list,
            "trespass": self._trespass,
        }
        await operations[kind]()

    # --- Operations -----------------------------------------------------------------------------

    async def _create(self, *, once: bool) -> None:
        creation = Creation(self._user.name, f"{self._user.name} made {self._operation.number}")
        self._ledger.creations.append(creation)
        key = f"create-{self._operation.number}" if once else None

        async def call() -> Result:
            return await self._call("POST", body={"title": creation.title}, key=key)

        result = await self._call_until_definite(call, repeatable=False, once=once)
        creation.outcome = self._outcome(result)
        if result is None or not self._expect(result, 201):
            return
        body = result.body
        if body["title"] != creation.title or body["updated_at"] != body["created_at"]:
            self._report(WRONG, f"created {creation.title!r}, the response is {body}")
        creation.task_id = body["id"]
        self._created.append((creation, key))
        read = await self._read(f"/{creation.task_id}")
        if read and (read.status != 200 or read.body["title"] != creation.title):
            self._report(LOST, f"{creation.title!r} was acknowledged, then read as {read.status}")
        if key and self._operation.repeated_later:
            await self._repeat_create(creation, call)

    async def _repeat_create(self, creation: Creation, call: Call) -> None:
        """Repeat it as a client does that never got the first response."""
        result = await self._call_until_definite(call, repeatable=True)
        if result and (result.status != 201 or result.body["id"] != creation.task_id):
            self._report(DOUBLED, f"{creation.title!r} again: {result.status}, {result.body}")

    async def _delete(self) -> None:
        creation, key = self._created.pop(int(self._operation.choice * len(self._created)))

        async def call() -> Result:
            return await self._call("DELETE", f"/{creation.task_id}")

        # No other client creates it again, so that a repeat is harmless. It may get a 404.
        result = await self._call_until_definite(call, repeatable=True)
        creation.deleted = self._outcome(result)
        if result is None:
            return
        if result.status == 404 and self._doubt:
            creation.deleted = "done"
        elif not self._expect(result, 204):
            return
        self._deleted.append(creation)
        read = await self._read(f"/{creation.task_id}")
        if read and read.status != 404:
            self._report(LOST, f"{creation.title!r} was deleted, then read as {read.status}")
        if key and self._operation.repeated_later:
            # A late repeat of its creation must not restore it.
            body = {"title": creation.title}
            await self._repeat_create(creation, lambda: self._call("POST", body=body, key=key))

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

    async def _edit(self) -> None:
        """Add a mark to a list of marks, to which other clients add as well."""
        task = self._user.edited[int(self._operation.choice * len(self._user.edited))]
        change = Change(_short(self._operation.number), None)
        self._ledger.edits[task].append(change)
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
            result = await self._call("PUT", f"/{task}", body=body, if_match=read.etag)
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
        change = Change(_short(self._operation.number), None)
        self._ledger.overwrites[task].append(change)

        async def call() -> Result:
            return await self._call("PUT", f"/{task}", body={"description": change.mark})

        result = await self._call_until_definite(call, repeatable=False)
        change.outcome = self._outcome(result)
        if result is None or not self._expect(result, 200):
            return
        change.updated_at, change.completed = result.body["updated_at"], result.body["completed"]
        if result.body["description"] != change.mark:
            self._report(WRONG, f"overwrite {change.mark}: {result.body}")

    async def _list(self) -> None:
        self._ledger.reads += 1
        rows, query = [], f"limit={PAGE_SIZE}" if self._operation.choice < 0.5 else ""
        while True:
            page = await self._read("", query)
            if page is None or not self._expect(page, 200):
                return
            rows += page.body
            if not page.link:
                break
            query = urlsplit(page.link).query
            assert parse_qs(query)["cursor"]
        for row in rows:
            if row["user_id"] != self._user.name or not row["title"].startswith(self._user.name):
                self._report(FOREIGN, f"the list of {self._user.name} has {row}")
        counted = Counter(row["id"] for row in rows)
        for creation, _ in self._created:
            if counted[creation.task_id] != 1:
                text = f"{creation.title!r} is listed {counted[creation.task_id]} times"
                self._report(LOST, text)
        for creation in self._deleted:
            if counted[creation.task_id]:
                self._report(LOST, f"{creation.title!r} was deleted, but is listed")

    async def _trespass(self) -> None:
        self._ledger.reads += 1
        others = [user for user in self._traffic.users if user is not self._user]
        choice = self._operation.choice * len(others)
        other = others[int(choice)]
        task, stolen = f"/{other.toggled}", {"title": "stolen"}
        requests: list[tuple[str, str, Any, User | None, int]] = [
            *[("GET", task, None, None, 404)] * 3,
            ("PUT", task, stolen, None, 404),
            ("PATCH", f"{task}/complete", None, None, 404),
            ("DELETE", task, None, None, 404),
            ("GET", "", None, other, 403),
            ("GET", task, None, other, 403),
            ("POST", "", stolen, other, 403),
        ]
        method, path, body, owner, expected = requests[int(choice % 1 * len(requests))]

        async def call() -> Result:
            return await self._call(method, path, body=body, owner=owner)

        result = await self._call_until_definite(call, repeatable=True)
        if result and result.status < 300:
            self._report(FOREIGN, f"{method} of a task of {other.name}: {result.status}")
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

    async def _call(
        self,
        method: str,
        path: str = "",
        *,
        query: str = "",
        body: Any = None,
        key: str | None = None,
        if_match: str | None = None,
        owner: User | None = None,
    ) -> Result:
        headers = {"authorization": f"Bearer {self._user.token}"}
        if key:
            headers["idempotency-key"] = key
        if if_match is not None:
            headers["if-match"] = if_match
        request = Request(
            method, f"/api/{(owner or self._user).name}/tasks{path}", headers, body, query
        )
        traffic = self._traffic
        delivery = plan.delivery(traffic.seed, self._operation.number, self._calls)
        self._calls += 1
        traffic.calls += 1
        to_instance = delivery.to_instance and traffic.fleet.instance
        send = traffic.fleet.call if to_instance else traffic.fleet.invoke
        try:
            response = await send(request, delivery.timeout)
            if delivery.response_lost:
                raise TransportError("the response was lost")
        except TransportError as reason:
            traffic.failures[str(reason)] += 1
            self._doubt = True
            return Result(NOT_KNOWN)
        return self._result(request, response)

    def _result(self, request: Request, response: Response) -> Result:
        result = Result(
            DONE if response.status < 300 else REFUSED,
            response.status,
            response.body,
            response.headers.get("etag"),
            float(response.headers.get("retry-after", 0)),
            response.headers.get("link", "").partition(">")[0],
        )
        if response.status < 500:
            known = self._ledger.etags.setdefault(result.etag or "", result.body)
            if result.etag and known != result.body:
                self._report(WRONG, f"two states share the ETag {result.etag}: {result.body}")
            return result
        detail = response.body["detail"] if isinstance(response.body, dict) else response.body
        if response.status != 503 or detail not in (UNKNOWN, UNCHANGED) or not result.retry_after:
            self._report(WRONG, f"{request.method} {request.path}: {response.status} {detail!r}")
        self._traffic.failures["503"] += 1
        self._doubt |= detail != UNCHANGED
        effect = NOT_DONE if detail == UNCHANGED else NOT_KNOWN
        return Result(effect, response.status, response.body, retry_after=result.retry_after)

    def _expect(self, result: Result, status: int) -> bool:
        if result.status == status:
            return True
        self._report(WRONG, f"{self._operation.kind} got {result.status}: {result.body}")
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
