"""Runs the steps of a smoke test, measures their time, and reports their results."""

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
    """The time limits of a run, in seconds."""

    step: float = 9.0  # longer than the API's own limit, so that its 503 arrives
    slow: float = 5.0  # a correct response that takes longer fails its step
    run: float = 25.0  # shorter than API Gateway's limit of 30 s
    cleanup: float = 6.0  # the part of `run` that is reserved for the cleanup


@dataclass(frozen=True, slots=True)
class SmokeStep:
    """The result of one step.

    `expected` and `actual` are HTTP statuses. In steps that do not consist of one request, they are
    short texts, such as "0 left".
    """

    name: str
    result: Literal["ok", "failed", "not tried"]
    expected: str = "-"
    actual: str = "-"
    milliseconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class SmokeReport:
    """The result of a run.

    `detail` summarizes it in one sentence, and `failed` names the failed steps in order. Each
    request of the run had the `X-Request-ID` `smoke-<run>-<step>`.
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
    """A step failed. The message is the reason, without a full stop.

    `actual` is what the step got, as in `SmokeStep`.
    """

    def __init__(self, reason: str, actual: str = "-") -> None:
        super().__init__(reason)
        self.actual = actual


# Called with None when a step starts, and with its result when it ends.
type Progress = Callable[[str, SmokeStep | None], None]
# Raises CheckFailed, or LookupError, TypeError or ValueError if the body has an unexpected form.
type Check = Callable[[Response], None]


class SmokeRun:
    """A run in progress: its clock, its connection and the results so far."""

    def __init__(
        self,
        connection: Connection,
        headers: Mapping[str, str],
        limits: Limits,
        progress: Progress | None,
    ) -> None:
        self.id = secrets.token_hex(6)
        self.reached = False  # whether any response has arrived
        self.created: list[Response] = []
        self._connection, self._headers, self._limits = connection, headers, limits
        self._progress = progress or (lambda *_: None)
        self._started, self._date = time.monotonic(), datetime.now(UTC)
        self._deadline = self._started + limits.run - limits.cleanup
        self._steps: dict[str, SmokeStep] = {}
        self._current = ""  # the name of the current step

    def request(
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
        """Run a step that consists of one request. `expected` is a status, or "2xx".

        Returns the response if it is correct, even if it was slow. Otherwise returns None.
        """
        failed = any(step.result == "failed" for step in self._steps.values())
        if failed and time.monotonic() >= self._deadline:
            return None  # the report already has the step that used up the time
        correct: list[Response] = []

        def try_request() -> tuple[str, str]:
            if headers and None in headers.values():
                raise CheckFailed("an earlier response lacks the header that this request needs")
            started = time.monotonic()
            response = self.send(method, path, headers, token=token, body=body)
            seconds, actual = time.monotonic() - started, str(response.status)
            if expected not in (response.status, f"{response.status // 100}xx"):
                raise CheckFailed(_detail(response), actual)
            try:
                check(response)
            except CheckFailed as failure:
                raise CheckFailed(str(failure), actual) from None
            except (LookupError, TypeError, ValueError):
                raise CheckFailed("the response body has an unexpected form", actual) from None
            correct.append(response)
            if seconds > self._limits.slow:
                raise CheckFailed(f"slower than {self._limits.slow:g} s", actual)
            return actual, ""

        self.step(name, str(expected), try_request)
        return correct[0] if correct else None

    def step(self, name: str, expected: str, action: Callable[[], tuple[str, str]]) -> None:
        """Run a step, measure its time and store its result.

        `action` returns the actual result and a note, or raises CheckFailed or TransportError.
        """
        self._progress(name, None)
        self._current, started = name, time.monotonic()
        result, actual = "failed", "-"
        try:
            actual, note = action()
            result = "ok"
        except CheckFailed as failure:
            actual, note = failure.actual, str(failure)
        except TransportError as error:
            note = str(error)
        except Exception as error:  # noqa: BLE001 - no response may end the run
            note = f"the response cannot be read: {type(error).__name__}"
        milliseconds = round(1000 * (time.monotonic() - started), 1)
        self._steps[name] = SmokeStep(name, result, expected, actual, milliseconds, note)
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
        """Send a request as part of the current step. Raises TransportError."""
        step = self._current.replace(" ", "-").replace("'", "")
        sent = {**self._headers, "X-Request-ID": f"smoke-{self.id}-{step}"}
        sent |= {name: value for name, value in (headers or {}).items() if value}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        content = None
        if body is not None:
            sent["Content-Type"], content = "application/json", json.dumps(body).encode()
        seconds = min(self._limits.step, self._deadline - time.monotonic())
        response = self._connection.request(
            method, path, timeout=seconds, headers=sent, body=content
        )
        self.reached = True
        if response.status == 201:
            self.created.append(response)
        return response

    def release_reserve(self) -> None:
        """Let the following requests use the time that is reserved for the cleanup."""
        self._deadline = self._started + self._limits.run

    def report(self, url: str, plan: Mapping[str, str]) -> SmokeReport:
        """Return the report, with all steps of `plan` in this order.

        `plan` maps the name of each step to the note for the case that it was not tried.
        """
        steps = [
            self._steps.get(name) or SmokeStep(name, "not tried", note=reason)
            for name, reason in plan.items()
        ]
        failed = [step for step in steps if step.result == "failed"]
        return SmokeReport(
            ok=not failed,
            detail=_sentence(failed[0]) if failed else "All steps succeeded.",
            failed=[step.name for step in failed],
            url=url,
            run=self.id,
            began=self._date,
            milliseconds=round(1000 * (time.monotonic() - self._started), 1),
            steps=steps,
        )


def _sentence(step: SmokeStep) -> str:
    note = step.note if step.note.endswith("?") else f"{step.note}."
    return f"The step {step.name!r} failed: expected {step.expected}, got {step.actual}: {note}"


def _detail(response: Response) -> str:
    with suppress(LookupError, TypeError, ValueError):
        return str(response.json()["detail"])[:200].removesuffix(".")
    return "the response is not from the API: is another service in front of it?"
