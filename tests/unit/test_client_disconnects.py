"""Clients that disconnect during a request, or send too large a body."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from api.tasks import app
from tests.conftest import RequestLines, StartApi, bearer


def scope_of_create(**more: str) -> dict[str, Any]:
    headers = [(k.lower().encode(), v.encode()) for k, v in (bearer("alice") | more).items()]
    return {
        "type": "http",
        "method": "POST",
        "path": "/api/alice/tasks",
        "raw_path": b"/api/alice/tasks",
        "query_string": b"",
        "headers": headers,
    }


def test_a_client_that_disconnects_while_sending_is_logged_with_499(
    start_api: StartApi, request_lines: RequestLines, caplog: pytest.LogCaptureFixture
) -> None:
    start_api()
    sent: list[Message] = []

    async def disconnect() -> Message:
        return {"type": "http.disconnect"}

    async def record(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope_of_create(), disconnect, record))
    assert sent == []
    [line] = request_lines()
    assert (line["level"], line["status"]) == ("INFO", 499)
    assert caplog.records == [], "nothing else is logged"


CHUNK: Message = {"type": "http.request", "body": b" " * 40_000, "more_body": True}
LAST: Message = {"type": "http.request", "body": b" " * 30_000, "more_body": False}
GONE: Message = {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("declared", "received", "events"),
    [
        # The whole response is sent before anything of the declared body is read.
        (70_000, [CHUNK, LAST], ["start", "body", "receive", "receive", "end"]),
        (70_000, [GONE], ["start", "body", "receive", "end"]),
        (10**10, [CHUNK] * 100, ["start", "body", *["receive"] * 27, "end"]),
        (None, [CHUNK, CHUNK, LAST], ["receive", "receive", "start", "body", "receive", "end"]),
        # The body is complete: there is nothing to wait for.
        (None, [CHUNK, LAST], ["receive", "receive", "start", "end"]),
    ],
)
def test_a_413_is_sent_before_the_rest_of_the_body_is_discarded(
    declared: int | None,
    received: list[Message],
    events: list[str],
    start_api: StartApi,
    request_lines: RequestLines,
) -> None:
    start_api()
    happened: list[str] = []
    messages = iter(received)

    async def receive() -> Message:
        happened.append("receive")
        return next(messages)

    async def record(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 413
            happened.append("start")
        else:
            happened.append("body" if message.get("more_body") else "end")

    length = {} if declared is None else {"Content-Length": str(declared)}
    asyncio.run(app(scope_of_create(**length), receive, record))
    assert happened == events
    assert request_lines()[0]["status"] == 413
