"""PUT and PATCH of a task are alike: partial, conditional, and safe to repeat with a key."""

import uuid
from typing import Any

import pytest

from tests.contract.responses import assert_error, assert_task, etag
from tests.contract.users import User, in_parallel

METHODS = ("PUT", "PATCH")


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


@pytest.mark.parametrize("method", METHODS)
def test_absent_fields_stay(user: User, method: str) -> None:
    task = user.create("Buy milk", description="Two litres", priority="high", tags=["home"])
    changed = user.send(method, user.url_of(task), json={"completed": True})
    assert changed.status_code == 200
    assert_task(changed.json())
    kept = {"title", "description", "priority", "due_date", "tags", "created_at"}
    assert {name: changed.json()[name] for name in kept} == {name: task[name] for name in kept}
    assert changed.json()["completed"] is True
    assert user.read(task) == changed.json()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("body", [{}, {"unknown": 1}, {"id": 7, "user_id": "x"}], ids=str)
def test_nothing_to_change_changes_nothing(user: User, method: str, body: dict[str, Any]) -> None:
    task = user.create()
    response = user.send(method, user.url_of(task), json=body)
    assert (response.status_code, response.json()) == (200, task)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "body",
    [
        {"title": None},
        {"title": " "},
        {"title": "changed", "priority": 2},
        {"title": "changed", "due_date": "2026-02-30"},
        {"title": "changed", "due_date": "2026-12-24T10:00:00"},
        {"title": "changed", "due_date": "10000-01-01"},
        {"title": "changed", "tags": None},
        {"title": "changed", "tags": [str(number) for number in range(21)]},
        {"title": "changed", "tags": ["x" * 51]},
        {"title": "changed", "tags": ["a\0"]},
        {"title": "changed", "completed": "yes"},
    ],
    ids=str,
)
def test_an_invalid_field_changes_nothing(user: User, method: str, body: dict[str, Any]) -> None:
    task = user.create()
    error = assert_error(user.send(method, user.url_of(task), json=body), 422)
    assert error["detail"].split()[0] in {"Title", "Priority", "Due", "Tags", "Completed"}
    assert error["detail"].endswith(".")
    assert user.list().json() == [task]


@pytest.mark.parametrize("method", METHODS)
def test_a_stale_tag_is_412(user: User, method: str) -> None:
    task = user.create()
    tag = etag(user.get(task))
    first = user.send(method, user.url_of(task), {"If-Match": tag}, json={"title": "one"})
    assert first.status_code == 200
    second = user.send(method, user.url_of(task), {"If-Match": tag}, json={"title": "two"})
    assert_error(second, 412)
    assert user.read(task) == first.json()


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_task_is_404(user: User, other_user: User, method: str) -> None:
    for task_id in (2**62, other_user.create()["id"]):
        assert_error(user.send(method, user.url_of(task_id), json={"title": "x"}), 404)
        assert_error(user.send(method, user.url_of(task_id), new_key(), json={"title": "x"}), 404)


@pytest.mark.parametrize("method", METHODS)
def test_a_repeat_with_a_key_gets_the_first_response(user: User, method: str) -> None:
    task, key = user.create(), new_key()
    first = user.send(method, user.url_of(task), key, json={"title": "one", "priority": "high"})
    assert first.status_code == 200
    now = user.put(task, {"title": "two"}).json()
    short = f"/api/tasks/{task['id']}"
    same = {"priority": "HIGH", "title": " one "}
    for other_method, url in ((method, user.url_of(task)), ("PUT", short), ("PATCH", short)):
        again = user.send(other_method, url, key, json=same)
        assert (again.status_code, again.content) == (200, first.content)
        assert etag(again) == etag(first)
    assert user.read(task) == now


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("change", ["body", "task", "If-Match", "If-Match: *", "operation"])
def test_a_key_with_another_request_is_422(user: User, method: str, change: str) -> None:
    task, other, key = user.create(), user.create("other"), new_key()
    first = user.send(method, user.url_of(task), key, json={"completed": True})
    assert first.status_code == 200
    url, headers, body = user.url_of(task), dict(key), {"completed": True}
    if change == "body":
        body = {"completed": False}
    elif change == "task":
        url = user.url_of(other)
    elif change == "If-Match":
        headers["If-Match"] = etag(first)
    elif change == "If-Match: *":
        headers["If-Match"] = "*"
    else:
        method, url = "PATCH", f"{url}/complete"
    assert_error(user.send(method, url, headers, json=body), 422)
    assert user.read(task) == first.json()
    assert user.read(other) == other


@pytest.mark.parametrize("method", METHODS)
def test_parallel_repeats_have_one_effect(user: User, method: str) -> None:
    task, key = user.create(), new_key()
    responses = in_parallel(
        8, lambda _: user.send(method, user.url_of(task), key, json={"title": "changed"})
    )
    assert {response.status_code for response in responses} == {200}
    assert len({response.content for response in responses}) == 1
    assert user.read(task) == responses[0].json()


@pytest.mark.parametrize("method", METHODS)
def test_a_request_that_fails_leaves_the_key_unused(user: User, method: str) -> None:
    task, key = user.create(), new_key()
    assert_error(user.send(method, user.url_of(task), key, json={"title": ""}), 422)
    stale = {**key, "If-Match": '"stale"'}
    assert_error(user.send(method, user.url_of(task), stale, json={"title": "x"}), 412)
    assert user.send(method, user.url_of(task), key, json={"title": "x"}).status_code == 200


@pytest.mark.parametrize(
    "body", [{"is_completed": True}, {"done": True}, {"status": "completed"}], ids=str
)
def test_complete_with_other_fields_only_is_422(user: User, body: dict[str, Any]) -> None:
    task = user.create()
    error = assert_error(user.complete(task, body), 422)
    assert error["detail"] == "Completed is required."
    assert error["errors"][0]["loc"] == ["body", "completed"]
    assert user.read(task) == task


def test_complete_without_fields_toggles(user: User) -> None:
    task = user.create()
    assert user.complete(task, {}).json()["completed"] is True
    assert user.complete(task).json()["completed"] is False
    both = user.complete(task, {"completed": True, "is_completed": False})
    assert both.json()["completed"] is True
