"""The filters, orders and offsets of lists by the fields of a task, and the statistics."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.responses import assert_error, next_link
from tests.contract.users import Titles, User

DUE = {
    "instant before": "2026-12-23T23:59:59.999999Z",
    "date": "2026-12-24",
    "midnight": "2026-12-24T05:00:00+05:00",
    "noon": "2026-12-24T12:00:00Z",
    "last instant": "2026-12-24T23:59:59.999999Z",
    "next date": "2026-12-25",
    "undated": None,
    "undated too": None,
}
NIGHT, AFTER_NIGHT = "2026-12-24T00:00:00Z", "2026-12-24T00:00:00.000001Z"


@pytest.fixture
def dated(user: User) -> User:
    """Created in another order than they are due."""
    for title in sorted(DUE):
        user.create(title, due_date=DUE[title])
    return user


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ({"due_from": "2026-12-24"}, ["date", "midnight", "noon", "last instant", "next date"]),
        ({"due_to": "2026-12-23"}, ["instant before"]),
        ({"due_to": "2026-12-24"}, list(DUE)[:5]),
        ({"due_to": "2026-12-24T00:00:00Z"}, ["instant before", "date", "midnight"]),
        ({"due_from": NIGHT, "due_to": "2026-12-24T05:00:00+05:00"}, ["date", "midnight"]),
        ({"due_from": AFTER_NIGHT, "due_to": "2026-12-24"}, ["noon", "last instant"]),
        ({"due_from": "2026-12-25", "due_to": "2026-12-25"}, ["next date"]),
        ({"due_from": "2026-12-26"}, []),
        ({"due_to": "0001-01-01"}, []),
        ({"due_to": "9999-12-31"}, list(DUE)[:6]),
        ({"due_from": "", "due_to": ""}, list(DUE)),
        ({"due_from": "2026-12-24", "due_to": "2026-12-23"}, []),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("limit", [{}, {"limit": 100}, {"limit": 100, "count": "true"}], ids=str)
def test_due_dates_between_bounds(
    dated: User, bounds: dict[str, str], found: list[str], limit: dict[str, Any]
) -> None:
    assert sorted(dated.titles(**bounds, **limit)) == sorted(found)


@pytest.mark.parametrize("order", [None, "asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_undated_tasks_come_last_in_either_direction(
    dated: User, order: str | None, limit: int
) -> None:
    tasks = {task["title"]: task["id"] for task in dated.list().json()}
    descending = order == "desc"

    def key(title: str) -> tuple[Any, ...]:
        instant = datetime.fromisoformat(DUE[title] or "9999-12-31")
        return instant.replace(tzinfo=instant.tzinfo or UTC), tasks[title]

    dates = sorted((t for t in DUE if DUE[t]), key=key, reverse=descending)
    undated = sorted((t for t in DUE if not DUE[t]), key=key, reverse=descending)
    wanted = {"sort": "due_date"} | ({"order": order} if order else {})
    assert dated.titles(**wanted) == dates + undated
    assert pages(dated, **wanted, limit=limit) == dates + undated
    assert offset_pages(dated, **wanted, limit=limit) == dates + undated


@pytest.fixture
def prioritized(user: User) -> User:
    for number, priority in enumerate(["low", None, "urgent", "medium", None, "high", "urgent"]):
        user.create(f"{priority} {number}", priority=priority, completed=number % 2 == 0)
    return user


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_tasks_by_priority(prioritized: User, limit: int) -> None:
    descending = [*("urgent 6", "urgent 2", "high 5", "medium 3", "low 0", "None 4", "None 1")]
    for wanted, titles in (
        ({"sort": "priority"}, descending),
        ({"sort": "priority", "order": "desc"}, descending),
        ({"sort": "priority", "order": "asc"}, descending[::-1]),
    ):
        assert prioritized.titles(**wanted) == titles
        assert pages(prioritized, **wanted, limit=limit) == titles
        assert offset_pages(prioritized, **wanted, limit=limit) == titles
        assert prioritized.titles(**wanted, status="completed") == [
            title for title in titles if int(title[-1]) % 2 == 0
        ]


@pytest.mark.parametrize(
    ("priority", "found"),
    [
        ("urgent", "26"),
        ("URGENT", "26"),
        ("none", "14"),
        ("high,low", "05"),
        (["high", "low"], "05"),
        (["high,None", "low"], "0145"),
        ("urgent,urgent", "26"),
        ("", "0123456"),
        ("low,", "0"),
    ],
)
def test_a_list_of_some_priorities(prioritized: User, priority: Any, found: str) -> None:
    for more in ({}, {"limit": 100}, {"limit": 100, "count": "true"}):
        titles = prioritized.titles(priority=priority, sort="created", order="asc", **more)
        assert "".join(title[-1] for title in titles) == found


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["home"], ["both", "home"]),
        (["home", "work"], ["both"]),
        (["work", "home", "work"], ["both"]),
        (["Home"], []),
        (["hom"], []),
        (["home,work"], ["comma"]),
        ([" home "], ["both", "home"]),
        (["nowhere"], []),
        (["{home}"], []),
        ([""], ["both", "comma", "home", "none", "work"]),
    ],
)
def test_a_list_of_tasks_with_all_of_the_tags(user: User, tags: list[str], found: Titles) -> None:
    for title, stored in {
        "both": ["home", "work"], "home": ["home"], "work": ["work"], "none": [],
        "comma": ["home,work"],
    }.items():  # fmt: skip
        user.create(title, tags=stored)
    for more in ({}, {"limit": 100}, {"limit": 100, "count": "true"}):
        assert user.titles(tag=tags, sort="title", **more) == found


def test_filters_combine_and_a_cursor_belongs_to_them(prioritized: User) -> None:
    wanted = {"priority": "urgent,low", "status": "completed", "q": "n", "sort": "title"}
    assert prioritized.titles(**wanted) == ["urgent 2", "urgent 6"]
    assert pages(prioritized, **wanted, limit=1) == ["urgent 2", "urgent 6"]
    link = next_link(prioritized.list(**wanted, limit=1))
    assert link
    same = link.replace("priority=urgent,low", "priority=LOW&priority=urgent")
    assert same != link
    assert [task["title"] for task in prioritized.send("GET", same).json()] == ["urgent 6"]
    for name, value in (("priority", "urgent"), ("tag", "x"), ("due_to", "2026-12-24")):
        other = link.replace("priority=urgent,low&", "") + f"&{name}={value}"
        assert_error(prioritized.send("GET", other), 422)


@pytest.mark.parametrize(
    ("name", "value", "beginning"),
    [
        ("priority", "highest", "Priority must be"),
        ("priority", "3", "Priority must be"),
        ("priority", "high;low", "Priority must be"),
        ("tag", "x" * 51, "Tag must have"),
        ("tag", "a\0", "Tag must not"),
        ("tag", " ", "Tag must have"),
        ("due_from", "banana", "Due from must be"),
        ("due_to", "2026-02-30", "Due to must exist"),
        ("due_to", "2026-12-24T18:30:00", "Due to must have an offset"),
        ("due_from", "10000-01-01", "Due from must be"),
        ("due_from", "infinity", "Due from must be"),
    ],
)
def test_a_filter_that_cannot_be_understood_is_422(
    user: User, name: str, value: str, beginning: str
) -> None:
    error = assert_error(user.list(**{name: value}), 422)
    assert error["detail"].startswith(beginning), error["detail"]


# --- Offsets --------------------------------------------------------------------------------------


def test_pages_by_offset(user: User) -> None:
    for number in range(5):
        user.create(str(number))
    assert user.titles(limit=2, offset=0) == ["4", "3"]
    assert user.titles(limit=2, offset=3) == ["1", "0"]
    assert user.titles(limit=2, offset=5) == []
    assert user.titles(limit=2, offset=10_000) == []
    page = user.list(limit=2, offset=1, count="true")
    assert [task["title"] for task in page.json()] == ["3", "2"]
    assert page.headers["X-Total-Count"] == "5"
    empty = user.list(limit=2, offset=7, count="true")
    assert (empty.json(), empty.headers["X-Total-Count"]) == ([], "5")
    assert next_link(empty) is None


def test_the_link_of_a_page_by_offset_leads_to_the_next_page(user: User) -> None:
    for number in range(7):
        user.create(str(number))
    response = user.list(limit=2, offset=1)
    titles = []
    while True:
        titles += [task["title"] for task in response.json()]
        link = next_link(response)
        if link is None:
            break
        response = user.send("GET", link)
    assert titles == ["5", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"offset": "1"},
        {"offset": "0"},
        *({"limit": "2", "offset": value} for value in ("10001", "-1", "1.5", "+1", "x")),
        {"limit": "2", "offset": "9" * 30},
        {"limit": "2", "offset": "1", "cursor": "x"},
    ],
    ids=str,
)
def test_an_impossible_offset_is_422(user: User, parameters: dict[str, str]) -> None:
    error = assert_error(user.list(**parameters), 422)
    assert "ffset" in error["detail"]


def pages(user: User, **parameters: Any) -> Titles:
    """The titles of all pages, following the links."""
    response, titles = user.list(**parameters), []
    while True:
        assert response.status_code == 200, response.text
        titles += [task["title"] for task in response.json()]
        link = next_link(response)
        if link is None:
            return titles
        response = user.send("GET", link)


def offset_pages(user: User, limit: int, **parameters: Any) -> Titles:
    titles: Titles = []
    while page := user.titles(limit=limit, offset=len(titles), **parameters):
        titles += page
    return titles


# --- Statistics -----------------------------------------------------------------------------------


def statistics(user: User) -> dict[str, Any]:
    response = user.send("GET", f"{user.url}/stats")
    assert response.status_code == 200, response.text
    return response.json()


NO_PRIORITIES = dict.fromkeys(["urgent", "high", "medium", "low", "none"], 0)


def test_the_statistics_of_no_tasks(user: User) -> None:
    assert statistics(user) == {
        "total": 0,
        "pending": 0,
        "completed": 0,
        "overdue": 0,
        "by_priority": NO_PRIORITIES,
        "by_tag": {},
    }


def test_statistics_count_open_tasks_by_priority_and_tag(user: User, other_user: User) -> None:
    other_user.create(priority="high", tags=["theirs"])
    user.create(priority="high", tags=["b", "a"])
    user.create(priority="high", tags=["a"])
    user.create(tags=["c"])
    user.create(priority="urgent", tags=["a", "d"], completed=True)
    user.delete(user.create(priority="low", tags=["a", "gone"]))
    found = statistics(user)
    assert found == {
        "total": 4,
        "pending": 3,
        "completed": 1,
        "overdue": 0,
        "by_priority": {**NO_PRIORITIES, "high": 2, "none": 1},
        "by_tag": {"a": 2, "b": 1, "c": 1},
    }
    assert list(found["by_tag"]) == ["a", "b", "c"]


def test_a_date_is_overdue_when_its_day_has_ended(user: User) -> None:
    now = datetime.now(UTC)
    day = timedelta(days=1)
    for due_date, overdue in {
        (now - day).date().isoformat(): 1,
        (now + day).date().isoformat(): 1,
        (now - timedelta(seconds=5)).isoformat(): 2,
        (now + timedelta(minutes=5)).isoformat(): 2,
        "0001-01-01": 3,
        "0001-01-01T00:00:00Z": 4,
        "9999-12-31": 4,
        "9999-12-31T23:59:59Z": 4,
    }.items():
        user.create(due_date=due_date)
        assert statistics(user)["overdue"] == overdue, due_date
    user.create(due_date="2000-01-01", completed=True)
    assert statistics(user)["overdue"] == 4


def test_today_is_not_overdue(user: User) -> None:
    before = datetime.now(UTC).date()
    user.create(due_date=before.isoformat())
    found = statistics(user)["overdue"]
    assert found == 0 or datetime.now(UTC).date() > before


def test_statistics_name_the_100_most_frequent_tags(user: User) -> None:
    for number in range(6):
        user.create(tags=[f"{number:03}-{tag:02}" for tag in range(20)])
    user.create(tags=["005-19", "005-18"])
    found = statistics(user)["by_tag"]
    assert len(found) == 100
    assert list(found)[:3] == ["005-18", "005-19", "000-00"]
    assert "005-00" not in found
