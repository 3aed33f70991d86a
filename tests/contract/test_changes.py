"""The feed of changes: a client that follows it ends equal to the server."""

import random
from collections.abc import Callable
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.contract.responses import assert_error, assert_task, next_link
from tests.contract.users import Task, User


class Follower:
    """A client that applies the pages of the feed to its copy of the tasks."""

    def __init__(self, user: User, limit: int | None = None) -> None:
        self.user = user
        self.parameters: dict[str, Any] = {} if limit is None else {"limit": limit}
        self.copy: dict[int, Task] = {}
        self.since: str | None = None

    def read_page(self) -> bool:
        """Apply one page. Returns whether there are more."""
        response = self.user.changes(self.since, **self.parameters)
        assert response.status_code == 200, response.text
        page = response.json()
        assert list(page) == ["tasks", "deleted", "next", "more"]
        assert len(page["tasks"]) + len(page["deleted"]) <= self.parameters.get("limit", 500)
        for task in page["tasks"]:
            assert_task(task)
            self.copy[task["id"]] = task
        for task_id in page["deleted"]:
            self.copy.pop(task_id, None)
        self.since = page["next"]
        return page["more"]

    def catch_up(self) -> int:
        """Read until there is no more. Returns the number of pages."""
        pages = 1
        while self.read_page():
            pages += 1
            assert pages < 1000
        return pages

    def assert_equal_to_the_server(self) -> None:
        assert self.copy == {task["id"]: task for task in self.user.list().json()}


def changed(user: User, since: str) -> tuple[list[str], list[int], str]:
    """The titles and the deleted ids of a single page, and where it ends."""
    page = user.changes(since).json()
    assert page["more"] is False
    return sorted(task["title"] for task in page["tasks"]), sorted(page["deleted"]), page["next"]


def test_without_since_the_feed_has_all_tasks_and_no_deleted_ones(user: User) -> None:
    assert user.changes().json()["tasks"] == []
    tasks = [user.create(f"{number}", tags=["a"]) for number in range(3)]
    user.delete(user.create("deleted"))
    response = user.changes()
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    page = response.json()
    assert (page["tasks"], page["deleted"], page["more"]) == (tasks, [], False)
    assert changed(user, page["next"])[:2] == ([], [])


def test_every_kind_of_change_is_in_the_feed_once(user: User) -> None:
    names = ["edited", "completed", "deleted", "erased", "back", "was erased"]
    tasks = {name: user.create(name) for name in names}
    user.delete(tasks["back"])
    user.delete(tasks["was erased"])
    since = user.changes().json()["next"]
    user.put(tasks["edited"], {"title": "new title"})
    user.complete(tasks["completed"])
    user.delete(tasks["deleted"])
    user.erase(tasks["erased"])
    user.erase(tasks["was erased"])
    user.restore(tasks["back"])
    user.create("created")
    titles, deleted, following = changed(user, since)
    assert titles == ["back", "completed", "created", "new title"]
    assert deleted == sorted(tasks[name]["id"] for name in ("deleted", "erased", "was erased"))
    assert changed(user, following)[:2] == ([], [])
    # The same token again gives the same changes.
    assert changed(user, since)[:2] == (titles, deleted)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 500])
def test_pages_of_any_size_lead_to_the_same_copy(user: User, limit: int) -> None:
    follower = Follower(user, limit)
    tasks = [user.create(f"{number}") for number in range(7)]
    assert follower.catch_up() == (1 if limit >= 7 else -(-7 // limit) + 1)
    follower.assert_equal_to_the_server()
    assert follower.catch_up() == 1
    for task in tasks[::2]:
        user.delete(task)
    for task in tasks[1::2]:
        user.complete(task)
    follower.catch_up()
    follower.assert_equal_to_the_server()


def test_a_task_that_is_deleted_during_the_first_round_is_deleted_in_the_copy(user: User) -> None:
    tasks = [user.create(f"{number}") for number in range(4)]
    follower = Follower(user, limit=2)
    assert follower.read_page()
    user.delete(tasks[0])  # on the first page
    user.erase(tasks[3])  # on the second page
    assert set(follower.copy) == {tasks[0]["id"], tasks[1]["id"]}
    follower.catch_up()
    follower.assert_equal_to_the_server()
    assert len(follower.copy) == 2


def test_what_changes_between_two_pages_is_not_missed(user: User) -> None:
    tasks = [user.create(f"{number}") for number in range(6)]
    user.delete(tasks[5])
    follower = Follower(user, limit=2)
    follower.read_page()
    user.put(tasks[0], {"title": "changed behind the page"})
    user.restore(tasks[5])
    follower.read_page()
    user.put(tasks[3], {"title": "changed on the page"})
    user.delete(tasks[1])
    follower.catch_up()
    follower.assert_equal_to_the_server()
    assert len(follower.copy) == 5


@pytest.mark.parametrize("limit", [3, 500])
def test_a_follower_beside_parallel_changes_ends_equal(user: User, limit: int) -> None:
    over = Event()

    def change(seed: int) -> None:
        chance = random.Random(seed)
        ids: list[int] = []
        for number in range(40):
            action = chance.choice(["create", "put", "complete", "delete", "restore", "erase"])
            if action == "create" or not ids:
                ids.append(user.create(f"{seed} {number}")["id"])
            elif action == "put":
                user.put(chance.choice(ids), {"title": f"{seed} {number} again"})
            else:
                getattr(user, action)(chance.choice(ids))

    writers = [Thread(target=change, args=[seed]) for seed in range(3)]
    followers = [Follower(user, limit) for _ in range(2)]

    def follow(follower: Follower) -> None:
        while not over.is_set():
            follower.read_page()

    readers = [Thread(target=follow, args=[each]) for each in followers]
    for thread in [*writers, *readers]:
        thread.start()
    for thread in writers:
        thread.join(60)
    over.set()
    for thread in readers:
        thread.join(60)
    for follower in [*followers, Follower(user, limit)]:
        follower.catch_up()
        follower.assert_equal_to_the_server()


# Parameters


@pytest.mark.parametrize("name", ["limit", "page_size", "per_page"])
def test_the_size_of_a_page_has_the_names_of_lists(user: User, name: str) -> None:
    for number in range(3):
        user.create(f"{number}")
    assert len(user.changes(None, **{name: 2}).json()["tasks"]) == 2
    assert len(user.changes(None, **{name: 500}).json()["tasks"]) == 3
    for value in ("0", "501", "-1", "x", "1.5", "+1"):
        error = assert_error(user.changes(None, **{name: value}), 422)
        assert error["errors"][0]["loc"] == ["query", "limit"]


def test_empty_values_and_unknown_names_are_ignored(user: User) -> None:
    task = user.create()
    response = user.changes("", limit="", cursor="x", status="completed", sort="banana")
    assert response.json()["tasks"] == [task]


def test_head_and_the_short_path_serve_the_feed_too(user: User) -> None:
    user.create()
    since = user.changes().json()["next"]
    task = user.create("later")
    assert user.send("HEAD", f"{user.url}/changes").status_code == 200
    page = user.send("GET", "/api/tasks/changes", params={"since": since}).json()
    assert page["tasks"] == [task]
    assert user.changes(page["next"]).json()["tasks"] == []


def test_no_task_is_named_changes(user: User) -> None:
    assert_error(user.send("GET", f"{user.url}/changes/complete"), 404)
    assert_error(user.send("DELETE", f"{user.url}/changes"), 405)
    assert_error(user.send("POST", f"{user.url}/changes", json={}), 405)


# Tokens


def test_a_token_belongs_to_its_user(user: User, other_user: User) -> None:
    user.create()
    since = user.changes().json()["next"]
    assert_error(other_user.changes(since), 422)
    assert user.changes(since).status_code == 200


def test_a_token_is_no_cursor_and_a_cursor_no_token(user: User) -> None:
    for number in range(3):
        user.create(f"{number}")
    cursor = parse_qs(urlsplit(str(next_link(user.list(limit=1)))).query)["cursor"][0]
    assert_error(user.changes(cursor), 422)
    for token in (user.changes().json()["next"], user.changes(limit=1).json()["next"]):
        assert_error(user.list(limit=1, cursor=token), 422)


FORGERIES: dict[str, Callable[[str], str]] = {
    "last characters": lambda token: token[:-2] + ("AA" if token[-2:] != "AA" else "BB"),
    "first character": lambda token: ("A" if token[0] != "A" else "B") + token[1:],
    "padding": lambda token: token + "=",
    "longer": lambda token: token + "A",
    "shorter": lambda token: token[:-1],
    "blank before": lambda token: " " + token,
    "swapped case": lambda token: token.swapcase(),
    "one character": lambda _: "x",
    "not ASCII": lambda _: "\u00e9",
    "NUL": lambda _: "\0",
    "number": lambda _: "0",
    "date-time": lambda _: "2026-11-28T00:00:00Z",
    "4096 characters": lambda _: "A" * 4096,
    "4097 characters": lambda _: "A" * 4097,
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_token_is_422(user: User, kind: str) -> None:
    forged = FORGERIES[kind](user.changes().json()["next"])
    error = assert_error(user.changes(forged), 422)
    assert error["errors"][0]["loc"] == ["query", "since"]


def test_the_feed_of_another_user_is_403(user: User, other_user: User) -> None:
    assert_error(user.send("GET", f"{other_user.url}/changes"), 403)


def test_the_feed_has_only_the_users_own_tasks(user: User, other_user: User) -> None:
    since = user.changes().json()["next"]
    other_user.delete(other_user.create())
    other_user.create()
    assert changed(user, since)[:2] == ([], [])
