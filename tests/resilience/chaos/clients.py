"""Good clients: they repeat what may be repeated, read before they repeat the rest, and note what
they were told; they know no fault.
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
from tests.resilience.chaos.fleet import Answer, Fleet, Request, TransportError
from tests.resilience.chaos.ledger import DOUBLED, FOREIGN, LOST, WRONG, Change, Creation, Ledger
from tests.resilience.chaos.plan import Operation
from tests.resilience.faults.lab import UNCHANGED, UNKNOWN

SECRET = "chaos-secret-0123456789abcdef0123456789"
# Calls of one operation, so that every run ends; a good client is asked to be patient, not a fool.
MOST_CALLS = 40
PAGE = 7

# What an answer says of the effect of its call.
DONE, REFUSED, NOT_DONE, NOT_KNOWN = "done", "refused", "not done", "not known"


@dataclass(frozen=True)
class Reply:
    """`status` is 0 where none came."""

    says: str
    status: int = 0
    body: Any = None
    version: int | None = None
    retry_after: float = 0.0
    link: str = ""


@dataclass(frozen=True)
class User:
    """And the tasks that all clients of this user share."""

    name: str
    token: str
    toggled: int
    toggled_once: int
    edited: list[int]


def make_token(user: str) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, SECRET)


@dataclass
class Traffic:
    """What all clients of a run have in common."""

    seed: int
    fleet: Fleet
    users: list[User]
    ledger: Ledger
    give_up_at: float
    # Clients that wait a fraction of what they are told suit short runs.
    haste: float = 1.0
    done: int = 0
    calls: int = 0
    trouble: Counter[str] = field(default_factory=Counter)
    stop: Callable[[], bool] = lambda: False


class Client:
    """Works off its operations one after the other, as one of the users."""

    def __init__(self, traffic: Traffic, number: int, operations: list[Operation]) -> None:
        self._traffic = traffic
        self._ledger = traffic.ledger
        self._user = traffic.users[number % len(traffic.users)]
        self._operations = operations
        # Of those that were acknowledged: only this client deletes them.
        self._mine: list[tuple[Creation, str | None]] = []
        self._gone: list[Creation] = []

    async def work(self) -> None:
        for operation in self._operations:
            if self._traffic.stop():
                return
            await Turn(self._traffic, self._user, operation, self._mine, self._gone).take()
            self._traffic.done += 1


class Turn:
    """One operation, from its first call to its last."""

    def __init__(
        self,
        traffic: Traffic,
        user: User,
        operation: Operation,
        mine: list[tuple[Creation, str | None]],
        gone: list[Creation],
    ) -> None:
        self._traffic, self._ledger, self._user = traffic, traffic.ledger, user
        self._operation, self._mine, self._gone = operation, mine, gone
        self._calls = 0
        # A call without an answer, or with one that leaves the outcome open, was made.
        self._doubt = False

    async def take(self) -> None:
        kind = self._operation.kind
        if kind == "delete" and not self._mine:
            kind = "create once"
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "create once": lambda: self._create(once=True),
            "create": lambda: self._create(once=False),
            "delete": self._delete,
            "toggle once": lambda: self._toggle(once=True),
            "toggle": lambda: self._toggle(once=False),
            "edit": self._edit,
            "list": self._list,
            "trespass": self._trespass,
        }
        await acts[kind]()

    # --- Operations -----------------------------------------------------------------------------

    async def _create(self, *, once: bool) -> None:
        creation = Creation(self._user.name, f"{self._user.name} made {self._operation.number}")
        self._ledger.creations.append(creation)
        key = f"create-{self._operation.number}" if once else None

        async def ask() -> Reply:
            return await self._call("POST", body={"title": creation.title}, key=key)

        reply = await self._ask_until_definite(ask, repeatable=False, once=once)
        creation.outcome = self._outcome(reply)
        if reply is None or not self._expect(reply, 201):
            return
        if reply.body["title"] != creation.title or reply.version != 1:
            self._accuse(WRONG, f"created {creation.title!r} and got {reply.body}")
        creation.task_id = reply.body["id"]
        self._mine.append((creation, key))
        seen = await self._read(f"/{creation.task_id}")
        if seen and (seen.status != 200 or seen.body["title"] != creation.title):
            self._accuse(LOST, f"{creation.title!r} was acknowledged, and read as {seen.status}")
        if key and self._operation.repeated_later:
            await self._repeat_create(creation, ask)

    async def _repeat_create(self, creation: Creation, ask: Callable[[], Awaitable[Reply]]) -> None:
        """As somebody does who never got the first answer."""
        reply = await self._ask_until_definite(ask, repeatable=True)
        if reply and (reply.status != 201 or reply.body["id"] != creation.task_id):
            self._accuse(DOUBLED, f"{creation.title!r} again: {reply.status}, {reply.body}")

    async def _delete(self) -> None:
        creation, key = self._mine.pop(int(self._operation.choice * len(self._mine)))

        async def ask() -> Reply:
            return await self._call("DELETE", f"/{creation.task_id}")

        # Deleting twice is harmless, and 404 is an answer then.
        reply = await self._ask_until_definite(ask, repeatable=True)
        creation.deleted = self._outcome(reply)
        if reply is None:
            return
        if reply.status == 404 and self._doubt:
            creation.deleted = "done"
        elif not self._expect(reply, 204):
            return
        self._gone.append(creation)
        seen = await self._read(f"/{creation.task_id}")
        if seen and seen.status != 404:
            self._accuse(LOST, f"{creation.title!r} was deleted, and is read as {seen.status}")
        if key and self._operation.repeated_later:
            # A late repeat must not bring it back.
            body = {"title": creation.title}
            await self._repeat_create(creation, lambda: self._call("POST", body=body, key=key))

    async def _toggle(self, *, once: bool) -> None:
        task = self._user.toggled_once if once else self._user.toggled
        key = f"toggle-{self._operation.number}" if once else None
        change = Change(str(self._operation.number), key)
        self._ledger.toggles[task].append(change)

        async def ask() -> Reply:
            return await self._call("PATCH", f"/{task}/complete", key=key)

        reply = await self._ask_until_definite(ask, repeatable=False, once=once)
        change.outcome = self._outcome(reply)
        if reply is None or not self._expect(reply, 200):
            return
        change.version = reply.version
        if reply.version is None or reply.body["completed"] != bool((reply.version - 1) % 2):
            self._accuse(WRONG, f"toggle {change.mark} made {reply.version}: {reply.body}")
        if key and self._operation.repeated_later:
            again = await self._ask_until_definite(ask, repeatable=True)
            if again and (again.status, again.version) != (200, reply.version):
                self._accuse(DOUBLED, f"toggle {change.mark} again: {again.status}, {again.body}")

    async def _edit(self) -> None:
        """Add a mark to a list that others add to as well."""
        task = self._user.edited[int(self._operation.choice * len(self._user.edited))]
        change = Change(_short(self._operation.number), None)
        self._ledger.edits[task].append(change)
        while True:
            seen = await self._read(f"/{task}")
            if seen is None or not self._expect(seen, 200):
                break
            marks = (seen.body["description"] or "").split()
            if change.mark in marks:
                if not self._doubt:
                    self._accuse(WRONG, f"edit {change.mark} is there, though nothing was changed")
                change.outcome = "done"
                return
            body = {"description": " ".join([*marks, change.mark])}
            reply = await self._call("PUT", f"/{task}", body=body, if_match=seen.version)
            if reply.says == DONE and self._expect(reply, 200):
                change.outcome, change.version = "done", reply.version
                if reply.body["description"] != body["description"]:
                    self._accuse(WRONG, f"edit {change.mark} wrote {body} and got {reply.body}")
                return
            if reply.says == REFUSED and not self._expect(reply, 412):
                break
            if self._gives_up(reply):
                break
            await self._pause(reply)
        change.outcome = "unknown" if self._doubt else "unchanged"

    async def _list(self) -> None:
        self._ledger.reads += 1
        rows, query = [], f"limit={PAGE}" if self._operation.choice < 0.5 else ""
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
                self._accuse(FOREIGN, f"{self._user.name} was shown {row}")
        counted = Counter(row["id"] for row in rows)
        for creation, _ in self._mine:
            if counted[creation.task_id] != 1:
                self._accuse(
                    LOST, f"{creation.title!r} is listed {counted[creation.task_id]} times"
                )
        for creation in self._gone:
            if counted[creation.task_id]:
                self._accuse(LOST, f"{creation.title!r} was deleted, and is listed")

    async def _trespass(self) -> None:
        self._ledger.reads += 1
        others = [user for user in self._traffic.users if user is not self._user]
        choice = self._operation.choice * len(others)
        other = others[int(choice)]
        task, stolen = f"/{other.toggled}", {"title": "stolen"}
        transports: list[tuple[str, str, Any, User | None, int]] = [
            *[("GET", task, None, None, 404)] * 3,
            ("PUT", task, stolen, None, 404),
            ("PATCH", f"{task}/complete", None, None, 404),
            ("DELETE", task, None, None, 404),
            ("GET", "", None, other, 403),
            ("GET", task, None, other, 403),
            ("POST", "", stolen, other, 403),
        ]
        method, path, body, owner, expected = transports[int(choice % 1 * len(transports))]

        async def ask() -> Reply:
            return await self._call(method, path, body=body, owner=owner)

        reply = await self._ask_until_definite(ask, repeatable=True)
        if reply and reply.status < 300:
            self._accuse(FOREIGN, f"{method} of a task of {other.name}: {reply.status}")
        elif reply:
            self._expect(reply, expected)

    # --- Calls ----------------------------------------------------------------------------------

    async def _read(self, path: str, query: str = "") -> Reply | None:
        """A definite answer to a GET; None where the client gave up."""
        doubt = self._doubt

        async def ask() -> Reply:
            return await self._call("GET", path, query=query)

        try:
            return await self._ask_until_definite(ask, repeatable=True, patiently=True)
        finally:
            self._doubt = doubt

    async def _ask_until_definite(
        self,
        ask: Callable[[], Awaitable[Reply]],
        *,
        repeatable: bool,
        once: bool = False,
        patiently: bool = False,
    ) -> Reply | None:
        """The first answer that says whether it was done; None where the client gave up.

        once: with a key, so that it may be repeated, and is then answered alike.
        """
        repeatable |= once
        while True:
            if once and self._operation.twice_at_once and not self._calls:
                reply = self._either(*await asyncio.gather(ask(), ask()))
            else:
                reply = await ask()
            if reply.says in (DONE, REFUSED):
                return reply
            if not patiently and self._gives_up(reply):
                return None
            if self._exhausted() or (self._doubt and not repeatable):
                return None
            await self._pause(reply)

    def _either(self, one: Reply, other: Reply) -> Reply:
        if one.says == other.says == DONE and one.body != other.body:
            self._accuse(DOUBLED, f"at once: {one.body} and {other.body}")
        return min(
            one, other, key=lambda reply: (DONE, REFUSED, NOT_DONE, NOT_KNOWN).index(reply.says)
        )

    def _gives_up(self, reply: Reply) -> bool:
        return self._exhausted() or (self._operation.gives_up and reply.says == NOT_KNOWN)

    def _exhausted(self) -> bool:
        return self._calls >= MOST_CALLS or time.monotonic() > self._traffic.give_up_at

    async def _pause(self, reply: Reply) -> None:
        seconds = (reply.retry_after or 0.1) / self._traffic.haste
        await asyncio.sleep(seconds * random.uniform(0.5, 1))

    def _outcome(self, reply: Reply | None) -> Any:
        """Of a write, from its last definite answer."""
        if reply is None:
            return "unknown" if self._doubt else "unchanged"
        return "done" if reply.says == DONE else "unknown"

    async def _call(
        self,
        method: str,
        path: str = "",
        *,
        query: str = "",
        body: Any = None,
        key: str | None = None,
        if_match: int | None = None,
        owner: User | None = None,
    ) -> Reply:
        headers = {"authorization": f"Bearer {self._user.token}"}
        if key:
            headers["idempotency-key"] = key
        if if_match is not None:
            headers["if-match"] = f'"{if_match}"'
        request = Request(
            method, f"/api/{(owner or self._user).name}/tasks{path}", headers, body, query
        )
        traffic = self._traffic
        way = plan.journey(traffic.seed, self._operation.number, self._calls)
        self._calls += 1
        traffic.calls += 1
        send = (
            traffic.fleet.call
            if way.to_instance and traffic.fleet.instance
            else traffic.fleet.invoke
        )
        try:
            answer = await send(request, way.patience)
            if way.answer_lost:
                raise TransportError("the answer was lost")
        except TransportError as reason:
            traffic.trouble[str(reason)] += 1
            self._doubt = True
            return Reply(NOT_KNOWN)
        return self._understand(request, answer)

    def _understand(self, request: Request, answer: Answer) -> Reply:
        reply = Reply(
            DONE if answer.status < 300 else REFUSED,
            answer.status,
            answer.body,
            int(answer.headers["etag"].strip('"')) if "etag" in answer.headers else None,
            float(answer.headers.get("retry-after", 0)),
            answer.headers.get("link", "").partition(">")[0],
        )
        if answer.status < 500:
            return reply
        detail = answer.body["detail"] if isinstance(answer.body, dict) else answer.body
        if answer.status != 503 or detail not in (UNKNOWN, UNCHANGED) or not reply.retry_after:
            self._accuse(WRONG, f"{request.method} {request.path}: {answer.status} {detail!r}")
        self._traffic.trouble["503"] += 1
        self._doubt |= detail != UNCHANGED
        says = NOT_DONE if detail == UNCHANGED else NOT_KNOWN
        return Reply(says, answer.status, answer.body, retry_after=reply.retry_after)

    def _expect(self, reply: Reply, status: int) -> bool:
        if reply.status == status:
            return True
        self._accuse(WRONG, f"{self._operation.kind} was answered {reply.status}: {reply.body}")
        return False

    def _accuse(self, kind: str, text: str) -> None:
        self._ledger.accuse(kind, f"operation {self._operation.number}: {text}")


def _short(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        if not number:
            return digits
