"""`/api/tasks` is `/api/{user_id}/tasks` for the user of the token."""

import uuid

import httpx2
import pytest

from tests.contract.responses import assert_error, assert_task, next_link
from tests.contract.users import User, claims_of, mint

SHORT = "/api/tasks"


def test_every_task_route_has_a_short_path(user: User) -> None:
    created = user.send("POST", SHORT, json={"title": "Buy milk"})
    assert created.status_code == 201
    task = created.json()
    assert_task(task)
    assert task["user_id"] == user.id
    path = f"{SHORT}/{task['id']}"
    assert created.headers["Location"] == path
    assert user.send("GET", SHORT).json() == user.list().json() == [task]
    assert user.send("GET", f"{SHORT}?q=milk&limit=1").json() == [task]
    read = user.send("GET", path)
    assert (read.json(), read.headers["ETag"]) == (task, created.headers["ETag"])
    assert user.send("HEAD", path).headers["ETag"] == created.headers["ETag"]
    assert user.send("GET", path, {"If-None-Match": read.headers["ETag"]}).status_code == 304
    assert user.send("PUT", path, json={"title": "Buy bread"}).json()["title"] == "Buy bread"
    assert user.send("PATCH", path, json={"title": "Buy eggs"}).json()["title"] == "Buy eggs"
    assert user.send("PATCH", f"{path}/complete").json()["completed"] is True
    assert user.send("GET", f"{SHORT}/stats").json()["completed"] == 1
    assert user.send("DELETE", path, {"If-Match": read.headers["ETag"]}).status_code == 412
    assert user.send("DELETE", path).status_code == 204
    assert_error(user.send("GET", path), 404)


@pytest.mark.parametrize("path", ["", "/stats", "/{task}", "/{task}/complete"])
def test_a_trailing_slash_makes_no_difference(user: User, path: str) -> None:
    task = user.create()
    url = SHORT + path.format(task=task["id"]) + "/"
    response = user.send("PATCH" if path.endswith("complete") else "GET", url)
    assert response.status_code == 200, response.text
    assert response.history == []


def test_the_next_link_names_the_form_of_the_request(user: User) -> None:
    for number in range(3):
        user.create(str(number))
    short, long = user.send("GET", f"{SHORT}?limit=2"), user.list(limit=2)
    assert short.headers["Link"].startswith(f"<{SHORT}?")
    assert long.headers["Link"].startswith(f"<{user.url}?")
    link = next_link(short)
    assert link
    assert [task["title"] for task in user.send("GET", link).json()] == ["0"]
    # Both forms are one list, so each continues the other.
    other = link.replace(SHORT, user.url)
    assert user.send("GET", other).json() == user.send("GET", link).json()


def test_a_short_path_shows_only_the_users_tasks(user: User, other_user: User) -> None:
    theirs = other_user.create("theirs")
    user.create("mine")
    assert [task["title"] for task in user.send("GET", SHORT).json()] == ["mine"]
    path = f"{SHORT}/{theirs['id']}"
    for method, url in (("GET", path), ("PUT", path), ("DELETE", path), ("PATCH", path)):
        assert_error(user.send(method, url, json={"title": "changed"}), 404)
    assert_error(user.send("PATCH", f"{path}/complete"), 404)
    assert other_user.list().json() == [theirs]


def test_the_token_is_checked_before_the_rest(client: httpx2.Client) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("PUT", "/abc"), ("GET", "/stats")):
        assert_error(client.request(method, SHORT + path, content=b"{"), 401)
    assert_error(client.get(f"{SHORT}/1/nope"), 404)
    assert_error(client.delete(SHORT), 405)


@pytest.mark.parametrize("task_id", ["0", "abc", "tasks", "changed", "stats1"])
def test_a_wrong_id_is_422(user: User, task_id: str) -> None:
    assert_error(user.send("GET", f"{SHORT}/{task_id}"), 422)


def test_a_user_named_tasks_is_reached_by_the_short_path_alone(
    user: User, client: httpx2.Client, secret: str
) -> None:
    named = User(client, "tasks", mint(secret, **claims_of("tasks")))
    created = named.send("POST", SHORT, json={"title": uuid.uuid4().hex})
    assert created.status_code == 201
    assert created.headers["Location"] == f"{SHORT}/{created.json()['id']}"
    assert created.json() in named.send("GET", SHORT).json()
    for each in (named, user):
        # The task with the id "tasks", and a path that does not exist.
        assert_error(each.send("GET", f"{SHORT}/tasks"), 422)
        assert_error(each.send("POST", f"{SHORT}/tasks", json={"title": "x"}), 405)
        assert_error(each.send("GET", f"{SHORT}/tasks/{created.json()['id']}"), 404)
    assert named.send("DELETE", created.headers["Location"]).status_code == 204


@pytest.mark.parametrize("user_id", ["tasksx", "task", "stats", "v", "v1x", "V1"])
def test_similar_user_ids_keep_their_paths(
    client: httpx2.Client, secret: str, user_id: str
) -> None:
    named = User(client, user_id, mint(secret, **claims_of(user_id)))
    task = named.create()
    assert task in named.list().json()
    assert task in named.send("GET", SHORT).json()
    assert named.delete(task).status_code == 204


@pytest.mark.parametrize("path", ["/api/v1/tasks", "/api/v1/tasks/", "/api/v2/tasks/1"])
def test_a_version_in_the_path_is_404_with_advice(user: User, path: str) -> None:
    error = assert_error(user.send("GET", path), 404)
    assert error["detail"] == "The paths of this API contain no version. Use /api/tasks."
    assert_error(user.client.get(path), 401)


def test_a_user_named_v1_has_tasks(client: httpx2.Client, secret: str) -> None:
    named = User(client, "v1", mint(secret, **claims_of("v1")))
    task = named.create()
    assert task in named.list().json()
    assert named.delete(task).status_code == 204


def test_statistics_are_not_a_task(user: User) -> None:
    for url in (f"{user.url}/stats", f"{SHORT}/stats"):
        assert user.send("GET", url).json()["total"] == 0
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert_error(user.send(method, url, json={}), 405)
        assert_error(user.send("PATCH", f"{url}/complete"), 404)


def test_a_key_belongs_to_both_forms(user: User) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = user.send("POST", SHORT, key, json={"title": "Buy milk"})
    again = user.post({"title": "Buy milk"}, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert len(user.list().json()) == 1
