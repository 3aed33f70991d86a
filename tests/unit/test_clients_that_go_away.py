"""A client that leaves in the middle is no error of ours."""

import asyncio

import pytest
from starlette.types import Message

from api.tasks import app
from tests.conftest import RequestLines, StartApi, bearer


def test_a_client_that_leaves_while_it_sends_is_logged_as_such(
    start_api: StartApi, request_lines: RequestLines, caplog: pytest.LogCaptureFixture
) -> None:
    start_api()
    sent: list[Message] = []

    async def leave() -> Message:
        return {"type": "http.disconnect"}

    async def note(message: Message) -> None:
        sent.append(message)

    headers = [(k.lower().encode(), v.encode()) for k, v in bearer("leaver").items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/leaver/tasks",
        "raw_path": b"/api/leaver/tasks",
        "query_string": b"",
        "headers": headers,
    }
    asyncio.run(app(scope, leave, note))
    assert sent == []
    [line] = request_lines()
    assert (line["level"], line["status"]) == ("INFO", 499)
    assert caplog.records == [], "nothing else is said"
