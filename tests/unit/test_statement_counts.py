"""Each operation is one statement; idempotency keys and conditions add one or two."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from lib.db.connection import Connection
from lib.db.http_connection import HttpConnection
from tests.conftest import StartApi, bearer

# Created at collection, which may be long before the test runs: hence the late expiry.
ALICE = bearer("statement-counter", exp=4_000_000_000)
PATH = "/api/statement-counter/tasks"


@pytest.fixture
def api(start_api: StartApi) -> TestClient:
    return start_api()


@pytest.fixture
def task(api: TestClient) -> str:
    """The path of a task."""
    return api.post(PATH, json={"title": "Count me"}, headers=ALICE).headers["location"]


@pytest.fixture
def statements(task: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements sent to PostgreSQL from now on, without the session settings."""
    sent: list[str] = []
    for kind in (Connection, HttpConnection):
        monkeypatch.setattr(kind, "run", recorded(kind.run, sent))
    return sent


def recorded(run: Any, sent: list[str]) -> Any:
    def record(connection: Any, *statements: tuple[str, object], **options: bool) -> object:
        sent.extend(text for text, _ in statements if "set_config" not in text)
        return run(connection, *statements, **options)

    return record


@pytest.mark.parametrize(
    ("method", "suffix", "headers", "body", "count"),
    [
        ("GET", None, {}, None, 1),
        ("GET", "?status=pending&priority=high&tag=x&limit=5&count=true", {}, None, 1),
        ("GET", "?sort=due_date&limit=5&offset=5", {}, None, 1),
        ("GET", "/stats", {}, None, 1),
        ("POST", None, {}, {"title": "New"}, 1),
        ("GET", "", {}, None, 1),
        ("PUT", "", {}, {"title": "Changed"}, 1),
        ("PATCH", "/complete", {}, None, 1),
        ("PATCH", "/complete", {}, {"completed": True}, 1),
        ("GET", "?status=deleted&limit=5", {}, None, 1),
        ("GET", "/changes", {}, None, 1),
        # The second statement reads the version in the trash.
        ("DELETE", "", {}, None, 2),
        # The task may be in the trash or not: see lib/db/tasks.py.
        ("DELETE", "?permanent=true", {}, None, 5),
        ("POST", "/restore", {}, None, 3),
        ("POST", "/restore", {"Idempotency-Key": "count-restore"}, None, 4),
        # With a condition, a second statement checks whether the task exists: 412 or 404.
        ("PUT", "", {"If-Match": "its ETag"}, {"title": "Changed"}, 2),
        ("DELETE", "", {"If-Match": "its ETag"}, None, 3),
        # With a key, a further statement reads the response that was recorded with the key.
        ("POST", None, {"Idempotency-Key": "count-create"}, {"title": "New"}, 2),
        ("PATCH", "/complete", {"Idempotency-Key": "count-toggle"}, None, 3),
    ],
)
def test_each_operation_sends_the_minimum_of_statements(
    api: TestClient,
    task: str,
    statements: list[str],
    method: str,
    suffix: str | None,
    headers: dict[str, str],
    body: dict[str, object] | None,
    count: int,
) -> None:
    of_list = suffix is None or (method == "GET" and suffix != "")
    path = PATH + (suffix or "") if of_list else task + suffix
    if "If-Match" in headers:
        headers = {"If-Match": api.get(task, headers=ALICE).headers["etag"]}
        statements.clear()
    response = api.request(method, path, headers=ALICE | headers, json=body)
    assert response.is_success
    assert len(statements) == count


@pytest.mark.parametrize("path", ["/api/somebody-else/tasks", "/api/health", "/api/nothing"])
def test_refusals_and_liveness_send_no_statement(
    api: TestClient, statements: list[str], path: str
) -> None:
    api.get(path, headers=ALICE)
    assert statements == []
