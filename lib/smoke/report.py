"""A run of timed steps over HTTP and the report of it, bounded in time; knows no API."""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from lib.http_client import Connection, Response, TransportError


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds."""

    step: float = 9.0  # longer than the API's own budget: its 503 is seen, and not a silence
    slow: float = 5.0  # an answer that takes longer is a failure, whatever it says
    run: float = 25.0  # shorter than the 30 s of API Gateway
    cleanup: float = 6.0  # kept back of the run for its last step


@dataclass(frozen=True, slots=True)
class SmokeStep:
    """One thing tried. `expected` and `seen` are HTTP statuses, or words where there are none."""

    name: str
    result: Literal["ok", "failed", "not tried"]
    expected: str = "-"
    seen: str = "-"
    milliseconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class SmokeReport:
    """What a run found. `detail` is one sentence; `failed` names the steps that did, in order.

    The `X-Request-ID` of each request of the run was `smoke-<run>-<step>`.
    """

    ok: bool
    detail: str
    failed: list[str]
    url: str
    run: str
    began: datetime
    milliseconds: float
    steps: list[SmokeStep]


class CheckFailed(Exception):
    """What is wrong with an answer, or with having none: a sentence without a full stop."""

    def __init__(self, sentence: str, seen: str = "-") -> None:
        super().__init__(sentence)
        self.seen = seen


# Told of each step twice: with None when it begins, with the step when it is over.
type Progress = Callable[[str, SmokeStep | None], None]
# Raises CheckFailed; LookupError, TypeError and ValueError mean an answer of another form.
type Check = Callable[[Response], None]


class Probe:
    """One run on its way: its clock, its connection and the steps so far."""

    def __init__(
        self,
        connection: Connection,
        headers: Mapping[str, str],
        limits: Limits,
        progress: Progress | None,
    ) -> None:
        self.id = secrets.token_hex(6)
        self.reached = False  # whether anything has answered
        self.created: list[Response] = []
        self._connection, self._headers, self._limits = connection, headers, limits
        self._progress = progress or (lambda *_: None)
        self._began, self._date = time.monotonic(), datetime.now(UTC)
        self._until = self._began + limits.run - limits.cleanup
        self._steps: dict[str, SmokeStep] = {}
        self._now = ""  # the name of the step

    def ask(
        self,
        name: str,
        expected: int | str,
        method: str,
        path: str,
        headers: Mapping[str, str | None] | None = None,
        *,
        token: str | None,
        body: Mapping[str, Any] | None = None,
        check: Check = lambda _: None,
    ) -> Response | None:
        """A step of one request; `expected` is a status, or "2xx".

        Gives the answer if all is right with it, but for the time that it took.
        """
        failed = any(step.result == "failed" for step in self._steps.values())
        if failed and time.monotonic() >= self._until:
            return None  # what took the time is the failure, and not what came too late
        right: list[Response] = []

        def try_it() -> tuple[str, str]:
            if headers and None in headers.values():
                raise CheckFailed("an answer before came without the header that this needs")
            began = time.monotonic()
            answer = self.send(method, path, headers, token=token, body=body)
            seconds, seen = time.monotonic() - began, str(answer.status)
            if expected not in (answer.status, f"{answer.status // 100}xx"):
                raise CheckFailed(_detail(answer), seen)
            try:
                check(answer)
            except CheckFailed as wrong:
                raise CheckFailed(str(wrong), seen) from None
            except (LookupError, TypeError, ValueError):
                raise CheckFailed(
                    "the answer has another form than the contract says", seen
                ) from None
            right.append(answer)
            if seconds > self._limits.slow:
                raise CheckFailed(f"slower than {self._limits.slow:g} s", seen)
            return seen, ""

        self.step(name, str(expected), try_it)
        return right[0] if right else None

    def step(self, name: str, expected: str, action: Callable[[], tuple[str, str]]) -> None:
        """Do and time one step; the action gives what it saw and a note.

        It raises CheckFailed or TransportError if the step failed.
        """
        self._progress(name, None)
        self._now, began = name, time.monotonic()
        result, seen = "failed", "-"
        try:
            seen, note = action()
            result = "ok"
        except CheckFailed as wrong:
            seen, note = wrong.seen, str(wrong)
        except TransportError as reason:
            note = str(reason)
        except Exception as error:  # noqa: BLE001 - whatever the other side sent, the step failed
            note = f"the answer cannot be understood: {type(error).__name__}"
        milliseconds = round(1000 * (time.monotonic() - began), 1)
        self._steps[name] = SmokeStep(name, result, expected, seen, milliseconds, note)
        self._progress(name, self._steps[name])

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str | None] | None = None,
        *,
        token: str | None,
        body: Mapping[str, Any] | None = None,
    ) -> Response:
        """One request of the step that is on its way. Raises TransportError."""
        step = self._now.replace(" ", "-").replace("'", "")
        sent = {**self._headers, "X-Request-ID": f"smoke-{self.id}-{step}"}
        sent |= {name: value for name, value in (headers or {}).items() if value}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        content = None
        if body is not None:
            sent["Content-Type"], content = "application/json", json.dumps(body).encode()
        seconds = min(self._limits.step, self._until - time.monotonic())
        answer = self._connection.request(method, path, timeout=seconds, headers=sent, body=content)
        self.reached = True
        if answer.status == 201:
            self.created.append(answer)
        return answer

    def release_reserve(self) -> None:
        """From now on the time that was kept back may be used too."""
        self._until = self._began + self._limits.run

    def report(self, url: str, plan: Mapping[str, str]) -> SmokeReport:
        """The report, with the steps of the plan in its order.

        The plan gives for each name why it would not be tried, if that is known.
        """
        steps = [
            self._steps.get(name) or SmokeStep(name, "not tried", note=reason)
            for name, reason in plan.items()
        ]
        failed = [step for step in steps if step.result == "failed"]
        return SmokeReport(
            ok=not failed,
            detail=_sentence(failed[0]) if failed else "Every step went well.",
            failed=[step.name for step in failed],
            url=url,
            run=self.id,
            began=self._date,
            milliseconds=round(1000 * (time.monotonic() - self._began), 1),
            steps=steps,
        )


def _sentence(step: SmokeStep) -> str:
    note = step.note if step.note.endswith("?") else f"{step.note}."
    return f"The step {step.name!r} failed: expected {step.expected}, seen {step.seen}: {note}"


def _detail(answer: Response) -> str:
    with suppress(LookupError, TypeError, ValueError):
        return str(answer.json()["detail"])[:200].removesuffix(".")
    return "this is no answer of the API: does something stand before it?"
