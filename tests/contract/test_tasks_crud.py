"""The six task routes in fair weather: what they answer and what they change."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.contract.answers import (
    FIELDS,
    assert_error,
    assert_task,
    etag,
    media_type,
    moment,
    next_link,
)
from tests.contract.caller import User, at_once
from tests.contract.conftest import NewUser

FULL: dict[str, Any] = {"title": "Buy milk", "description": "Two litres", "completed": True}


def test_create_answers_201_with_the_task_and_its_location(user: User) -> None:
    answer = user.post(FULL)
    assert answer.status_code == 201
    assert media_type(answer) == "application/json"
    task = answer.json()
    assert_task(task)
    assert task["user_id"] == user.id
    assert {name: task[name] for name in FULL} == FULL
    assert answer.headers["Location"] == f"/api/{user.id}/tasks/{task['id']}"
    etag(answer)


def test_the_location_leads_to_the_created_task(user: User) -> None:
    answer = user.post({"title": "Buy milk"})
    found = user.send("GET", answer.headers["Location"])
    assert found.status_code == 200
    assert found.json() == answer.json()
    assert etag(found) == etag(answer)


def test_a_title_alone_makes_an_open_task_without_description(user: User) -> None:
    task = user.create("Buy milk")
    assert task["title"] == "Buy milk"
    assert task["description"] is None
    assert task["completed"] is False


def test_timestamps_are_utc_and_of_now(user: User) -> None:
    task = user.create()
    for name in ("created_at", "updated_at"):
        assert abs(moment(task[name]) - datetime.now(UTC)) < timedelta(minutes=2)


def test_each_task_has_an_id_of_its_own_and_none_comes_twice(user: User) -> None:
    first, second = user.create("one"), user.create("two")
    user.delete(second)
    third = user.create("three")
    assert len({first["id"], second["id"], third["id"]}) == 3


def test_a_list_is_a_bare_array_of_whole_tasks(user: User) -> None:
    tasks = [user.create("one"), user.create("two", description="second")]
    answer = user.list()
    assert answer.status_code == 200
    assert media_type(answer) == "application/json"
    assert sorted(answer.json(), key=lambda task: task["id"]) == tasks
    assert next_link(answer) is None


def test_a_user_without_tasks_has_an_empty_list(user: User) -> None:
    answer = user.list()
    assert answer.status_code == 200
    assert answer.json() == []
    assert answer.headers["X-Total-Count"] == "0"


def test_lists_hold_only_ones_own_tasks(user: User, stranger: User) -> None:
    user.create("mine")
    stranger.create("theirs")
    assert user.titles() == ["mine"]
    assert stranger.titles() == ["theirs"]


def test_get_answers_the_task(user: User) -> None:
    task = user.create(**FULL)
    answer = user.get(task)
    assert answer.status_code == 200
    assert answer.json() == task


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Buy bread"},
        {"description": "One litre"},
        {"completed": False},
        {"title": "Buy bread", "description": None},
        {"title": "Buy bread", "description": "A big one", "completed": False},
    ],
    ids="+".join,
)
def test_put_changes_the_given_fields_and_leaves_the_others(
    user: User, change: dict[str, object]
) -> None:
    task = user.create(**FULL)
    answer = user.put(task, change)
    assert answer.status_code == 200
    changed = answer.json()
    assert_task(changed)
    stay = FIELDS - set(change) - {"updated_at"}
    assert {name: changed[name] for name in stay} == {name: task[name] for name in stay}
    assert {name: changed[name] for name in change} == change
    assert moment(changed["updated_at"]) > moment(task["updated_at"])
    assert user.read(task) == changed


def test_put_null_clears_the_description(user: User) -> None:
    task = user.create(**FULL)
    assert user.put(task, {"description": None}).json()["description"] is None
    assert user.read(task)["description"] is None


def test_put_of_nothing_changes_nothing_not_even_updated_at(user: User) -> None:
    before = user.get(user.create(**FULL))
    answer = user.put(before.json(), {})
    assert answer.status_code == 200
    assert answer.json() == before.json()
    assert etag(answer) == etag(before)
    assert user.read(before.json()) == before.json()


def test_put_with_only_unknown_fields_changes_nothing(user: User) -> None:
    task = user.create(**FULL)
    answer = user.put(task, {"priority": "high"})
    assert answer.status_code == 200
    assert answer.json() == task


def test_every_change_moves_updated_at_strictly_forward(user: User) -> None:
    task = user.create()
    seen = [task["updated_at"]]
    for number in range(10):
        seen.append(user.put(task, {"title": f"title {number}"}).json()["updated_at"])
        seen.append(user.complete(task).json()["updated_at"])
    moments = [moment(text) for text in seen]
    assert all(earlier < later for earlier, later in pairwise(moments))


def test_complete_without_a_body_toggles(user: User) -> None:
    task = user.create()
    answers = [user.complete(task) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [answer.json()["completed"] for answer in answers] == [True, False, True]
    assert user.read(task) == answers[-1].json()


def test_a_toggle_changes_nothing_but_completed_and_updated_at(user: User) -> None:
    task = user.create("Buy milk", description="Two litres")
    toggled = user.complete(task).json()
    assert_task(toggled)
    assert toggled == {**task, "completed": True, "updated_at": toggled["updated_at"]}
    assert moment(toggled["updated_at"]) > moment(task["updated_at"])


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_complete_with_a_body_sets_and_repeats_harmlessly(
    user: User, before: bool, wanted: bool
) -> None:
    task = user.create(completed=before)
    for _ in range(2):
        answer = user.complete(task, {"completed": wanted})
        assert answer.status_code == 200
        assert answer.json()["completed"] is wanted
    assert user.read(task)["completed"] is wanted


def test_complete_with_an_empty_body_and_a_json_content_type_toggles(user: User) -> None:
    task = user.create()
    answer = user.complete(task, content=b"", headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["completed"] is True


def test_delete_answers_204_without_a_body(user: User) -> None:
    answer = user.delete(user.create())
    assert answer.status_code == 204
    assert answer.content == b""


def test_a_deleted_task_is_gone_from_every_route(user: User) -> None:
    kept, task = user.create("kept"), user.create("gone")
    user.delete(task)
    for answer in (
        user.get(task),
        user.put(task, {"title": "back"}),
        user.complete(task),
        user.complete(task, {"completed": True}),
        user.delete(task),
    ):
        assert_error(answer, 404)
    assert user.list().json() == [kept]


def test_what_was_written_is_read_at_once(user: User) -> None:
    for number in range(10):
        task = user.create(f"task {number}")
        assert user.read(task) == task
        assert user.put(task, {"title": f"changed {number}"}).json() == user.read(task)
        assert user.titles()[0] == f"changed {number}"


def test_the_first_tasks_of_a_new_user_may_arrive_all_at_once(user: User) -> None:
    answers = at_once(10, lambda number: user.post({"title": f"task {number}"}))
    assert [answer.status_code for answer in answers] == [201] * 10
    assert sorted(user.titles()) == sorted(f"task {number}" for number in range(10))


def test_every_route_answers_a_user_who_has_never_written(user: User) -> None:
    assert user.list().status_code == 200
    for answer in (user.get(1), user.put(1, {}), user.complete(1), user.delete(1)):
        assert_error(answer, 404)


def test_a_title_is_free_to_come_twice(user: User, new_user: NewUser) -> None:
    user.create("same")
    user.create("same")
    assert user.titles() == ["same", "same"]
    assert new_user().create("same")["title"] == "same"


def test_a_body_on_get_is_ignored(user: User) -> None:
    task = user.create()
    answer = user.get(task, content=b"{not json", headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.json() == task
