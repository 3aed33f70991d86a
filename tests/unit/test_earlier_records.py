"""Records of idempotency keys that an earlier release has stored, without the newer fields."""

import json
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from lib.schemas import Task
from tests.conftest import StartApi, bearer
from tests.support.databases import Database

ADDED: dict[str, Any] = {"priority": "high", "due_date": "2030-12-24", "tags": ["home"]}


@pytest.mark.parametrize("completed", [False, True])
def test_a_repeat_gets_the_first_response_with_every_field(
    start_api: StartApi, fresh_database: Database, completed: bool
) -> None:
    api = start_api(DATABASE_URL=fresh_database.app_url)
    # Everything that JSON escapes, and a text that looks like the newest field.
    title = '"completed_at": \\ / \x7f \x01 \b\f\n\r\t Grüße \U0001f9f9'.replace("\n", " ")
    body = {"title": title, "completed": completed}
    first, again = repeat_with_earlier_record(api, fresh_database, body, [*ADDED, "completed_at"])
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["etag"] == first.headers["etag"]
    assert list(again.json()) == list(Task.model_fields)


@pytest.mark.parametrize("newest", [*ADDED, "completed_at"])
def test_fields_that_the_earlier_release_knew_keep_their_values(
    start_api: StartApi, fresh_database: Database, newest: str
) -> None:
    api = start_api(DATABASE_URL=fresh_database.app_url)
    known = {name: value for name, value in ADDED.items() if name != newest}
    body = {"title": "x", "completed": True, **known}
    first, again = repeat_with_earlier_record(api, fresh_database, body, [newest])
    assert (again.status_code, again.content) == (201, first.content)


def repeat_with_earlier_record(
    api: TestClient, database: Database, body: dict[str, Any], missing: list[str]
) -> tuple[Response, Response]:
    """Create a task, remove fields from its record, and repeat the request."""
    eve = bearer("eve") | {"Idempotency-Key": "k"}
    first = api.post("/api/eve/tasks", json=body, headers=eve)
    [(stored,)] = database.query("SELECT task FROM idempotency_keys")
    earlier = {name: v for name, v in json.loads(stored).items() if name not in missing}
    document = json.dumps(earlier, ensure_ascii=False, separators=(",", ":"))
    database.query("UPDATE idempotency_keys SET task = %s", document)
    return first, api.post("/api/eve/tasks", json=body, headers=eve)
