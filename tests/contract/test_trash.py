"""The trash: deleting, restoring, listing what was deleted, and deleting permanently."""

import uuid
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.contract.responses import assert_error, assert_task, etag, next_link, parse_timestamp
from tests.contract.users import Task, User, in_parallel

FIELDS: dict[str, Any] = {
    "description": "Two litres",
    "completed": True,
    "priority": "high",
    "due_date": "2026-12-24",
    "tags": ["home", "errands"],
}
CHANGES: dict[str, Callable[..., httpx2.Response]] = {
    "get": User.get,
    "put": lambda user, task: user.put(task, {"title": "changed"}),
    "complete": User.complete,
    "delete": User.delete,
}


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def trash(user: User, **parameters: Any) -> list[Task]:
    response = user.list(status="deleted", **parameters)
    assert response.status_code == 200, response.text
    return response.json()


def deleted(user: User, title: str = "Buy milk", **fields: Any) -> tuple[Task, str]:
    """A task in the trash, and the ETag that its deletion has returned."""
    task = user.create(title, **fields)
    response = user.delete(task)
    assert response.status_code == 204
    return task, etag(response)


# Deleting


def test_a_deleted_task_is_in_the_trash_alone(user: User) -> None:
    kept, (task, _) = user.create("kept"), deleted(user, **FIELDS)
    assert user.list().json() == [kept]
    assert user.titles(status="all") == ["kept"]
    assert user.titles(status="completed") == []
    [in_trash] = trash(user)
    assert_task(in_trash)
    assert in_trash | {"updated_at": task["updated_at"]} == task
    assert parse_timestamp(in_trash["updated_at"]) > parse_timestamp(task["updated_at"])


@pytest.mark.parametrize("change", CHANGES)
def test_a_task_in_the_trash_is_404_as_one_that_never_existed(user: User, change: str) -> None:
    task, _ = deleted(user)
    responses = [CHANGES[change](user, each) for each in (task, 2**62)]
    for response in responses:
        assert_error(response, 404)
    assert responses[0].content == responses[1].content


def test_statistics_do_not_count_the_trash(user: User) -> None:
    user.create(priority="low", tags=["a"])
    deleted(user, priority="urgent", tags=["b"], due_date="2000-01-01")
    counts = user.send("GET", f"{user.url}/stats").json()
    assert (counts["total"], counts["overdue"], counts["by_tag"]) == (1, 0, {"a": 1})


# Restoring


def test_a_restored_task_is_as_it_was_with_a_new_version(user: User) -> None:
    task, tag = deleted(user, **FIELDS)
    [in_trash] = trash(user)
    response = user.restore(task)
    assert response.status_code == 200
    restored = response.json()
    assert_task(restored)
    assert restored | {"updated_at": task["updated_at"]} == task
    assert parse_timestamp(restored["updated_at"]) > parse_timestamp(in_trash["updated_at"])
    assert etag(response) not in (tag, etag(user.post({"title": "other"})))
    assert user.read(task) == restored
    assert etag(user.get(task)) == etag(response)
    assert trash(user) == []
    assert user.put(task, {"title": "x"}, headers={"If-Match": etag(response)}).is_success


def test_restoring_can_be_repeated_and_changes_nothing_then(user: User) -> None:
    task, _ = deleted(user)
    first = user.restore(task)
    for _ in range(2):
        again = user.restore(task)
        assert (again.status_code, again.content) == (200, first.content)
        assert etag(again) == etag(first)
    never_deleted = user.create()
    assert user.restore(never_deleted).json() == never_deleted


def test_a_task_can_be_deleted_and_restored_any_number_of_times(user: User) -> None:
    task, tags = user.create(), set()
    for _ in range(4):
        tags |= {etag(user.delete(task)), etag(user.restore(task))}
    assert len(tags) == 8
    assert trash(user) == []
    assert user.list().json() == [user.read(task)]


@pytest.mark.parametrize("headers", [{}, {"If-Match": "*"}, {"If-Match": '"x"'}, "key"], ids=str)
def test_restoring_does_not_reveal_which_tasks_exist(
    user: User, other_user: User, headers: dict[str, str] | str
) -> None:
    theirs, _ = deleted(other_user)
    live = other_user.create()
    responses = [
        user.restore(each, headers=new_key() if isinstance(headers, str) else headers)
        for each in (theirs, live, 2**62)
    ]
    for response in responses:
        assert_error(response, 404)
        assert response.content == responses[0].content
    assert [task["id"] for task in trash(other_user)] == [theirs["id"]]


@pytest.mark.parametrize("shape", ["{}", '"other", {}', 'W/"other",{}', "*"])
@pytest.mark.parametrize("keyed", [False, True])
def test_the_tag_of_a_deletion_restores_that_version(user: User, shape: str, keyed: bool) -> None:
    task, tag = deleted(user)
    headers = {"If-Match": shape.format(tag)} | (new_key() if keyed else {})
    assert user.restore(task, headers=headers).status_code == 200
    assert user.read(task)["title"] == task["title"]


@pytest.mark.parametrize("keyed", [False, True])
def test_a_stale_tag_restores_nothing(user: User, keyed: bool) -> None:
    task = user.create()
    live_tag = etag(user.get(task))
    tag = etag(user.delete(task))
    for stale in (live_tag, f"W/{tag}", '"other"', "malformed"):
        headers = {"If-Match": stale} | (new_key() if keyed else {})
        assert_error(user.restore(task, headers=headers), 412)
    assert_error(user.restore(task, headers={"If-None-Match": tag}), 412)
    assert_error(user.get(task), 404)
    restored = user.restore(task, headers={"If-Match": tag})
    # The task is outside the trash now, and its version is another one.
    headers = {"If-Match": tag} | (new_key() if keyed else {})
    assert_error(user.restore(task, headers=headers), 412)
    headers = {"If-Match": etag(restored)} | (new_key() if keyed else {})
    assert user.restore(task, headers=headers).content == restored.content


def test_a_repeated_key_restores_once(user: User) -> None:
    task, _ = deleted(user)
    key = new_key()
    first = user.restore(task, headers=key)
    assert first.status_code == 200
    user.delete(task)
    again = user.restore(task, headers=key)
    assert (again.status_code, again.content) == (200, first.content)
    assert etag(again) == etag(first)
    assert_error(user.get(task), 404)


def test_a_key_of_a_restoration_without_effect_has_no_effect_later(user: User) -> None:
    task, key = user.create(), new_key()
    first = user.restore(task, headers=key)
    user.delete(task)
    assert user.restore(task, headers=key).content == first.content
    assert_error(user.get(task), 404)


def test_a_key_of_another_request_is_422(user: User) -> None:
    (task, tag), (other, _) = deleted(user), deleted(user)
    key = new_key()
    assert user.restore(task, headers=key).is_success
    assert_error(user.restore(other, headers=key), 422)
    assert_error(user.restore(task, headers=key | {"If-Match": tag}), 422)
    assert_error(user.complete(task, headers=key), 422)
    assert len(trash(user)) == 1


def test_the_short_path_restores_too_and_shares_keys(user: User) -> None:
    task, _ = deleted(user)
    key = new_key()
    short = user.send("POST", f"/api/tasks/{task['id']}/restore", headers=key)
    assert short.status_code == 200
    assert user.restore(task, headers=key).content == short.content


def test_of_parallel_restorations_one_makes_a_version_and_all_return_it(user: User) -> None:
    task, _ = deleted(user)
    keys = [{}, new_key(), new_key()]
    responses = in_parallel(9, lambda number: user.restore(task, headers=keys[number % 3]))
    assert {response.status_code for response in responses} == {200}
    assert len({response.content for response in responses}) == 1
    assert user.list().json() == [responses[0].json()]


def test_parallel_deletions_and_restorations_leave_the_task_in_one_place(user: User) -> None:
    task = user.create()
    actions = [user.delete, user.restore, user.complete]
    responses = in_parallel(12, lambda number: actions[number % 3](task))
    assert {response.status_code for response in responses} <= {200, 204, 404}
    live, gone = user.list().json(), trash(user)
    assert len(live) + len(gone) == 1


# Bodies, which have no meaning here

WITHOUT_BODY: dict[str, Callable[..., httpx2.Response]] = {
    "delete": User.delete,
    "erase": User.erase,
    "restore": User.restore,
}
TYPE_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("action", WITHOUT_BODY)
@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"title": "ignored", "id": 7}'])
@pytest.mark.parametrize("headers", [{}, TYPE_JSON], ids=["no type", "JSON"])
def test_a_json_body_is_ignored(
    user: User, action: str, content: bytes, headers: dict[str, str]
) -> None:
    task = user.create()
    if action == "restore":
        user.delete(task)
    response = WITHOUT_BODY[action](user, task, content=content, headers=headers)
    assert response.status_code == (200 if action == "restore" else 204)
    assert user.titles() == (["Buy milk"] if action == "restore" else [])


@pytest.mark.parametrize("action", WITHOUT_BODY)
@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b" " * (64 * 1024 + 1), TYPE_JSON, 413),
        (b"x=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", TYPE_JSON | {"Content-Encoding": "gzip"}, 415),
        (b"{", TYPE_JSON, 422),
        (b'{"a": 1, "a": 2}', {}, 422),
    ],
    ids=["large", "form", "text", "gzip", "no JSON", "same name twice"],
)
def test_a_body_is_refused_as_those_of_other_changes_are(
    user: User, action: str, content: bytes, headers: dict[str, str], status: int
) -> None:
    task, (gone, _) = user.create(), deleted(user)
    each = gone if action == "restore" else task
    assert_error(WITHOUT_BODY[action](user, each, content=content, headers=headers), status)
    # A body is looked at before the parameters, and after the token.
    assert_error(WITHOUT_BODY[action](user, "abc", content=content, headers=headers), status)
    url = user.url_of(each) + ("/restore" if action == "restore" else "")
    method = "POST" if action == "restore" else "DELETE"
    assert_error(user.client.request(method, url, content=content, headers=headers), 401)
    assert user.list().json() == [task]
    assert [each["id"] for each in trash(user)] == [gone["id"]]


# The list of the trash


ORDERS = {
    "created": itemgetter("created_at"),
    "updated": itemgetter("updated_at"),
    "title": lambda task: task["title"].lower(),
    "due_date": lambda task: task["due_date"] or "~",
    "priority": lambda task: ["low", "medium", "high", "urgent"].index(task["priority"]),
}


@pytest.mark.parametrize("sort", ORDERS)
def test_the_trash_is_sorted_and_paged_as_other_lists_are(user: User, sort: str) -> None:
    priorities = ["low", "urgent", "high", "medium", "low"]
    dates = ["2026-12-24", None, "2026-01-01", "2027-01-01T10:00:00Z", None]
    for number, title in enumerate(["b", "A", "c", "B", "a"]):
        deleted(user, title, priority=priorities[number], due_date=dates[number])
        user.create(f"live {number}")
    whole = user.list(status="deleted", sort=sort, order="asc")
    assert whole.headers["X-Total-Count"] == "5"
    tasks = whole.json()
    assert tasks == sorted(tasks, key=lambda task: (ORDERS[sort](task), task["id"]))
    url: str | None = f"{user.url}?status=deleted&sort={sort}&order=asc&limit=2&count=true"
    paged = []
    while url:
        response = user.send("GET", url)
        assert response.headers["X-Total-Count"] == "5"
        paged += response.json()
        url = next_link(response)
    assert paged == tasks
    assert trash(user, sort=sort, order="asc", limit=2, offset=3) == tasks[3:]
    assert trash(user, sort=sort, order="asc", limit=2, page=2) == tasks[2:4]
    assert "X-Total-Count" not in user.list(status="deleted", limit=2).headers


@pytest.mark.parametrize(
    ("filters", "titles"),
    [
        ({"q": "MILK"}, {"Milk", "Bread"}),
        ({"tag": "home"}, {"Milk"}),
        ({"priority": "high,none"}, {"Milk", "Bread"}),
        ({"due_from": "2026-12-24", "due_to": "2026-12-24"}, {"Milk"}),
        ({"q": "nowhere"}, set()),
        # As with other values of status, `completed` counts only without status.
        ({"completed": "true"}, {"Milk", "Bread", "Tea"}),
    ],
)
@pytest.mark.parametrize("page", [{}, {"limit": 10}, {"limit": 10, "count": "true"}], ids=str)
def test_the_trash_is_filtered_as_other_lists_are(
    user: User, filters: dict[str, str], titles: set[str], page: dict[str, Any]
) -> None:
    deleted(user, "Milk", priority="high", due_date="2026-12-24", tags=["home"])
    deleted(user, "Bread", description="and milk")
    deleted(user, "Tea", priority="low", completed=True)
    user.create("Live milk", priority="high", due_date="2026-12-24", tags=["home"])
    response = user.list(status="Deleted", **filters, **page)
    assert {task["title"] for task in response.json()} == titles
    if not page or "count" in page:
        assert response.headers["X-Total-Count"] == str(len(titles))


def test_a_cursor_of_the_trash_belongs_to_the_trash(user: User) -> None:
    for number in range(4):
        deleted(user, f"{number}")
        user.create(f"live {number}")
    links = [next_link(user.list(limit=2)), next_link(user.list(limit=2, status="deleted"))]
    live, gone = (parse_qs(urlsplit(str(link)).query)["cursor"][0] for link in links)
    assert_error(user.list(limit=2, cursor=gone), 422)
    assert_error(user.list(limit=2, cursor=live, status="deleted"), 422)
    assert len(trash(user, limit=2, cursor=gone)) == 2


def test_the_trash_of_another_user_is_not_listed(user: User, other_user: User) -> None:
    deleted(other_user)
    assert trash(user) == []
    assert trash(user, limit=5, count="true") == []


# Deleting permanently


@pytest.mark.parametrize("from_trash", [False, True])
def test_a_permanent_deletion_leaves_nothing_to_restore(user: User, from_trash: bool) -> None:
    task = user.create(**FIELDS)
    if from_trash:
        user.delete(task)
    response = user.erase(task)
    assert (response.status_code, response.content) == (204, b"")
    assert "ETag" not in response.headers
    assert trash(user) == user.list().json() == []
    for again in (user.restore(task), user.erase(task), user.delete(task), user.get(task)):
        assert_error(again, 404)


@pytest.mark.parametrize("value", ["true", "TRUE", "True"])
def test_permanent_is_read_without_case(user: User, value: str) -> None:
    task = user.create()
    assert user.delete(task, params={"permanent": value}).status_code == 204
    assert trash(user) == []


@pytest.mark.parametrize("value", ["false", "False", ""])
def test_a_deletion_that_is_not_permanent_fills_the_trash(user: User, value: str) -> None:
    task = user.create()
    assert user.delete(task, params={"permanent": value}).status_code == 204
    assert len(trash(user)) == 1


@pytest.mark.parametrize("value", ["yes", "1", "permanent", "true false"])
def test_another_value_of_permanent_is_422_and_deletes_nothing(user: User, value: str) -> None:
    task = user.create()
    assert_error(user.delete(task, params={"permanent": value}), 422)
    assert user.read(task) == task


@pytest.mark.parametrize("from_trash", [False, True])
def test_a_permanent_deletion_has_the_usual_conditions(user: User, from_trash: bool) -> None:
    task = user.create()
    live_tag = etag(user.get(task))
    tag = etag(user.delete(task)) if from_trash else live_tag
    stale = live_tag if from_trash else '"other"'
    assert_error(user.erase(task, headers={"If-Match": stale}), 412)
    assert_error(user.erase(task, headers={"If-None-Match": tag}), 412)
    assert len(trash(user)) == from_trash
    assert user.erase(task, headers={"If-Match": tag}).status_code == 204
    assert_error(user.erase(task, headers={"If-Match": tag}), 404)


def test_a_permanent_deletion_does_not_reveal_which_tasks_exist(
    user: User, other_user: User
) -> None:
    theirs, _ = deleted(other_user)
    live = other_user.create()
    for headers in ({}, {"If-Match": "*"}, {"If-Match": '"x"'}):
        responses = [user.erase(each, headers=headers) for each in (theirs, live, 2**62)]
        for response in responses:
            assert_error(response, 404)
            assert response.content == responses[0].content
    assert other_user.read(live) == live
    assert len(trash(other_user)) == 1


def test_after_a_permanent_deletion_the_keys_of_the_task_are_404(user: User) -> None:
    body = {"title": "Buy milk", "description": "secret"}
    keys = [new_key() for _ in range(4)]
    task = user.post(body, headers=keys[0]).json()
    user.put(task, {"title": "changed"}, headers=keys[1])
    user.complete(task, headers=keys[2])
    user.delete(task)
    user.restore(task, headers=keys[3])
    assert user.erase(task).status_code == 204
    for again in (
        user.post(body, headers=keys[0]),
        user.put(task, {"title": "changed"}, headers=keys[1]),
        user.complete(task, headers=keys[2]),
        user.restore(task, headers=keys[3]),
    ):
        assert_error(again, 404)
    assert_error(user.post({"title": "another request"}, headers=keys[0]), 422)
    assert user.list().json() == []


def test_of_parallel_permanent_deletions_one_succeeds(user: User) -> None:
    for from_trash in (False, True):
        task = user.create()
        if from_trash:
            user.delete(task)
        statuses = Counter(
            each.status_code for each in in_parallel(8, lambda _, t=task: user.erase(t))
        )
        assert statuses == {204: 1, 404: 7}


@pytest.mark.parametrize("keyed", [False, True])
def test_a_parallel_restoration_and_permanent_deletion_agree(user: User, keyed: bool) -> None:
    for _ in range(5):
        task, _ = deleted(user)
        headers = new_key() if keyed else {}
        restored, erased = in_parallel(
            2,
            lambda number, t=task, h=headers: (
                user.restore(t, headers=h) if number else user.erase(t)
            ),
        )[::-1]
        assert erased.status_code == 204
        assert restored.status_code in (200, 404)
        assert user.list().json() == trash(user) == []
        if keyed:
            assert_error(user.restore(task, headers=headers), 404)
