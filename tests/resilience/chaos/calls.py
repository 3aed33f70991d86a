"""The calls of clients and followers: what a response says about the effect of its call."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jwt

from tests.resilience.chaos import mcp_calls
from tests.resilience.chaos.fleet import Fleet, Request, Response, TransportError
from tests.resilience.chaos.held import HeldTransactions
from tests.resilience.chaos.ledger import FOREIGN, WRONG, Ledger
from tests.resilience.chaos.plan import Delivery
from tests.resilience.faults.lab import UNCHANGED, UNKNOWN

SECRET = "chaos-secret-0123456789abcdef0123456789"
CRON_SECRET = "chaos-cron-0123456789abcdef0123456789"

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


@dataclass(frozen=True)
class User:
    """A user, and the tasks that all clients of this user share. `trashed` nobody restores."""

    name: str
    token: str
    toggled: int
    toggled_once: int
    overwritten: int
    discarded: int
    trashed: int
    edited: list[int]


def make_token(user: str) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, SECRET)


@dataclass
class Traffic:
    """What all clients and followers of a run share. `speed` divides their pauses."""

    seed: int
    fleet: Fleet
    users: list[User]
    ledger: Ledger
    held: HeldTransactions
    operations: int
    give_up_at: float
    speed: float = 1.0
    done: int = 0
    calls: int = 0
    mcp_calls: int = 0
    trespasses: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    stop: Callable[[], bool] = lambda: False

    async def call(
        self,
        user: User,
        delivery: Delivery,
        method: str,
        path: str = "",
        *,
        query: str = "",
        body: Any = None,
        key: str | None = None,
        if_match: str | None = None,
        owner: User | None = None,
        by_mcp: bool = False,
    ) -> Result:
        """Request a path below the tasks of `owner`, by default the user.

        `by_mcp` calls an MCP tool instead, if there is one that does the same.
        """
        headers = {"authorization": f"Bearer {user.token}"}
        if key:
            headers["idempotency-key"] = key
        if if_match is not None:
            headers["if-match"] = if_match
        request = Request(method, f"/api/{(owner or user).name}/tasks{path}", headers, body, query)
        self.calls += 1
        tool_call = mcp_calls.as_tool_call(request, path) if by_mcp and not owner else None
        self.mcp_calls += tool_call is not None
        to_instance = delivery.to_instance and self.fleet.instance
        invoke = partial(self.fleet.invoke, transport=delivery.transport)
        send = self.fleet.call if to_instance else invoke
        try:
            response = await send(tool_call or request, delivery.timeout)
            if delivery.response_lost:
                raise TransportError("the response was lost")
        except TransportError as reason:
            self.failures[str(reason)] += 1
            return Result(NOT_KNOWN)
        if tool_call:
            response = mcp_calls.as_response(tool_call, response)
        return self._result(user, request, response)

    def _result(self, user: User, request: Request, response: Response) -> Result:
        result = Result(
            DONE if response.status < 300 else REFUSED,
            response.status,
            response.body,
            response.headers.get("etag"),
            float(response.headers.get("retry-after", 0)),
            response.headers.get("link", "").partition(">")[0],
        )
        if response.status < 500:
            if result.effect == DONE:
                self._observe(user, request, result)
            return result
        detail = response.body["detail"] if isinstance(response.body, dict) else response.body
        if response.status != 503 or detail not in (UNKNOWN, UNCHANGED) or not result.retry_after:
            text = f"{request.method} {request.path}: {response.status} {detail!r}"
            self.ledger.report(WRONG, text)
        self.failures["503"] += 1
        effect = NOT_DONE if detail == UNCHANGED else NOT_KNOWN
        return Result(effect, response.status, response.body, retry_after=result.retry_after)

    def _observe(self, user: User, request: Request, result: Result) -> None:
        known = self.ledger.etags.setdefault(result.etag or "", result.body)
        if result.etag and known != result.body:
            text = f"two states share the ETag {result.etag}: {result.body}"
            self.ledger.report(WRONG, text)
        if result.body and "status=deleted" not in request.query:
            for task in result.body if isinstance(result.body, list) else [result.body]:
                if "updated_at" in task:
                    self.ledger.observe(task)
                    if task["user_id"] != user.name:
                        self.ledger.report(FOREIGN, f"the response to {user.name} has {task}")
