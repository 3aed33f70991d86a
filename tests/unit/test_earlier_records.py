"""Records of idempotency keys that an earlier release has stored, without the newer fields."""

import json

import pytest

from lib.schemas import Task
from tests.conftest import StartApi, bearer
from tests.support.databases import Database

ADDED = ("priority", "due_date", "tags", "completed_at")


@pytest.mark.parametrize("completed", [False, True])
def test_a_repeat_gets_the_first_response_with_every_field(
    start_api: StartApi, fresh_database: Database, completed: bool
) -> None:
    api = start_api(DATABASE_URL=fresh_database.app_url)
    eve = bearer("eve") | {"Idempotency-Key": "k"}
    # Everything that JSON escapes, and a text that looks like the newest field.
    title = '"completed_at": \\ / \x7f \x01 \b\f\n\r\t Grüße \U0001f9f9'.replace("\n", " ")
    body = {"title": title, "completed": completed}
    first = api.post("/api/eve/tasks", json=body, headers=eve)
    [(stored,)] = fresh_database.query("SELECT task FROM idempotency_keys")
    earlier = {name: v for name, v in json.loads(stored).items() if name not in ADDED}
    document = json.dumps(earlier, ensure_ascii=False, separators=(",", ":"))
    fresh_database.query("UPDATE idempotency_keys SET task = %s", document)
    again = api.post("/api/eve/tasks", json=body, headers=eve)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["etag"] == first.headers["etag"]
    assert list(again.json()) == list(Task.model_fields)
