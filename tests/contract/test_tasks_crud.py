"""The six task routes with valid requests: their responses and their changes."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.contract.conftest import NewUser
from tests.contract.responses import (
    FIELDS,
    assert_error,
    assert_task,
    etag,
    media_type,
    next_link,
    parse_timestamp,
)
from tests.contract.users import User, in_parallel

FULL: dict[str, Any] = {
    "title": "Buy milk",
    "description": "Two litres",
    "completed": True,
    "priority": "high",
    "due_date": "2026-12-24",
    "tags": ["home", "errands"],
}


def test_create_is_201_with_the_task_and_its_location(user: User) -> None:
    response = user.post(FULL)
    assert response.status_code == 201
    assert media_type(response) == "application/json"
    task = response.json()
    assert_task(task)
    assert task["user_id"] == user.id
    assert {name: task[name] for name in FULL} == FULL
    assert response.headers["Location"] == f"/api/{user.id}/tasks/{task['id']}"
    etag(response)


def test_the_location_is_the_url_of_the_created_task(user: User) -> None:
    response = user.post({"title": "Buy milk"})
    found = user.send("GET", response.headers["Location"])
    assert found.status_code == 200
    assert found.json() == response.json()
    assert etag(found) == etag(response)


def test_a_title_alone_creates_an_open_task_without_description(user: User) -> None:
    task = user.create("Buy milk")
    assert task["title"] == "Buy milk"
    assert task["description"] is None
    assert task["completed"] is False


def test_timestamps_are_the_current_time_in_utc(user: User) -> None:
    task = user.create()
    for name in ("created_at", "updated_at"):
        assert abs(parse_timestamp(task[name]) - datetime.now(UTC)) < timedelta(minutes=2)


def test_ids_are_unique_and_never_reused(user: User) -> None:
    first, second = user.create("one"), user.create("two")
    user.delete(second)
    third = user.create("three")
    assert len({first["id"], second["id"], third["id"]}) == 3


def test_a_list_is_an_array_of_complete_tasks(user: User) -> None:
    tasks = [user.create("one"), user.create("two", description="second")]
    response = user.list()
    assert response.status_code == 200
    assert media_type(response) == "application/json"
    assert sorted(response.json(), key=lambda task: task["id"]) == tasks
    assert next_link(response) is None


def test_a_user_without_tasks_has_an_empty_list(user: User) -> None:
    response = user.list()
    assert response.status_code == 200
    assert response.json() == []
    assert response.headers["X-Total-Count"] == "0"


def test_a_list_contains_only_the_users_own_tasks(user: User, other_user: User) -> None:
    user.create("mine")
    other_user.create("theirs")
    assert user.titles() == ["mine"]
    assert other_user.titles() == ["theirs"]


def test_get_returns_the_task(user: User) -> None:
    task = user.create(**FULL)
    response = user.get(task)
    assert response.status_code == 200
    assert response.json() == task


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Buy bread"},
        {"description": "One litre"},
        {"completed": False},
        {"priority": None},
        {"due_date": "2026-12-24T18:30:00.000000Z"},
        {"tags": []},
        {"title": "Buy bread", "description": None},
        {"title": "Buy bread", "description": "A big one", "completed": False},
    ],
    ids="+".join,
)
def test_put_changes_the_given_fields_and_keeps_the_others(
    user: User, change: dict[str, object]
) -> None:
    task = user.create(**FULL)
    response = user.put(task, change)
    assert response.status_code == 200
    changed = response.json()
    assert_task(changed)
    kept = FIELDS - set(change) - {"updated_at"}
    if "completed" in change:
        kept -= {"completed_at"}
    assert {name: changed[name] for name in kept} == {name: task[name] for name in kept}
    assert {name: changed[name] for name in change} == change
    assert parse_timestamp(changed["updated_at"]) > parse_timestamp(task["updated_at"])
    assert user.read(task) == changed


def test_put_null_clears_the_description(user: User) -> None:
    task = user.create(**FULL)
    assert user.put(task, {"description": None}).json()["description"] is None
    assert user.read(task)["description"] is None


def test_an_empty_put_changes_nothing_not_even_updated_at(user: User) -> None:
    before = user.get(user.create(**FULL))
    response = user.put(before.json(), {})
    assert response.status_code == 200
    assert response.json() == before.json()
    assert etag(response) == etag(before)
    assert user.read(before.json()) == before.json()


def test_put_with_only_unknown_fields_changes_nothing(user: User) -> None:
    task = user.create(**FULL)
    response = user.put(task, {"category": "home"})
    assert response.status_code == 200
    assert response.json() == task


def test_every_change_increases_updated_at(user: User) -> None:
    task = user.create()
    seen = [task["updated_at"]]
    for number in range(10):
        seen.append(user.put(task, {"title": f"title {number}"}).json()["updated_at"])
        seen.append(user.complete(task).json()["updated_at"])
    timestamps = [parse_timestamp(text) for text in seen]
    assert all(earlier < later for earlier, later in pairwise(timestamps))


def test_complete_without_a_body_toggles(user: User) -> None:
    task = user.create()
    responses = [user.complete(task) for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 200]
    assert [response.json()["completed"] for response in responses] == [True, False, True]
    assert user.read(task) == responses[-1].json()


def test_a_toggle_changes_only_the_completion_and_updated_at(user: User) -> None:
    task = user.create("Buy milk", description="Two litres")
    toggled = user.complete(task).json()
    assert_task(toggled)
    at = toggled["updated_at"]
    assert toggled == {**task, "completed": True, "completed_at": at, "updated_at": at}
    assert parse_timestamp(toggled["updated_at"]) > parse_timestamp(task["updated_at"])


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_complete_with_a_body_is_idempotent(user: User, before: bool, wanted: bool) -> None:
    task = user.create(completed=before)
    for _ in range(2):
        response = user.complete(task, {"completed": wanted})
        assert response.status_code == 200
        assert response.json()["completed"] is wanted
    assert user.read(task)["completed"] is wanted


def test_complete_with_an_empty_body_and_a_json_content_type_toggles(user: User) -> None:
    task = user.create()
    response = user.complete(task, content=b"", headers={"Content-Type": "application/json"})
    assert response.status_code == 200
    assert response.json()["completed"] is True


def test_delete_is_204_without_a_body(user: User) -> None:
    response = user.delete(user.create())
    assert response.status_code == 204
    assert response.content == b""


def test_a_deleted_task_is_404_on_every_route(user: User) -> None:
    kept, task = user.create("kept"), user.create("gone")
    user.delete(task)
    for response in (
        user.get(task),
        user.put(task, {"title": "back"}),
        user.complete(task),
        user.complete(task, {"completed": True}),
        user.delete(task),
    ):
        assert_error(response, 404)
    assert user.list().json() == [kept]


def test_a_change_is_visible_immediately(user: User) -> None:
    for number in range(10):
        task = user.create(f"task {number}")
        assert user.read(task) == task
        assert user.put(task, {"title": f"changed {number}"}).json() == user.read(task)
        assert user.titles()[0] == f"changed {number}"


def test_parallel_first_creates_of_a_new_user_all_succeed(user: User) -> None:
    responses = in_parallel(10, lambda number: user.post({"title": f"task {number}"}))
    assert [response.status_code for response in responses] == [201] * 10
    assert sorted(user.titles()) == sorted(f"task {number}" for number in range(10))


def test_every_route_works_for_a_user_without_tasks(user: User) -> None:
    assert user.list().status_code == 200
    for response in (user.get(1), user.put(1, {}), user.complete(1), user.delete(1)):
        assert_error(response, 404)


def test_titles_need_not_be_unique(user: User, new_user: NewUser) -> None:
    user.create("same")
    user.create("same")
    assert user.titles() == ["same", "same"]
    assert new_user().create("same")["title"] == "same"


def test_a_body_on_get_is_ignored(user: User) -> None:
    task = user.create()
    response = user.get(task, content=b"{not json", headers={"Content-Type": "application/json"})
    assert response.status_code == 200
    assert response.json() == task
