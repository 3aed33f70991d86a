"""A client that disconnects during a request is not logged as a server error."""

import asyncio

import pytest
from starlette.types import Message

from api.tasks import app
from tests.conftest import RequestLines, StartApi, bearer


def test_a_client_that_disconnects_while_sending_is_logged_with_499(
    start_api: StartApi, request_lines: RequestLines, caplog: pytest.LogCaptureFixture
) -> None:
    start_api()
    sent: list[Message] = []

    async def disconnect() -> Message:
        return {"type": "http.disconnect"}

    async def record(message: Message) -> None:
        sent.append(message)

    headers = [(k.lower().encode(), v.encode()) for k, v in bearer("alice").items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/alice/tasks",
        "raw_path": b"/api/alice/tasks",
        "query_string": b"",
        "headers": headers,
    }
    asyncio.run(app(scope, disconnect, record))
    assert sent == []
    [line] = request_lines()
    assert (line["level"], line["status"]) == ("INFO", 499)
    assert caplog.records == [], "nothing else is logged"
