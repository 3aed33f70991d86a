"""Request sequences of independent frontends, each in the form in which its client sends it.

The frontends were written for other backends and were not adapted to this API.
"""

import json
from typing import Any

import httpx2
import pytest

from tests.contract.responses import assert_error, next_link
from tests.contract.users import User

SHORT = "/api/tasks"


def titles(response: httpx2.Response) -> list[str]:
    assert response.status_code == 200, response.text
    assert isinstance(response.json(), list)
    return [task["title"] for task in response.json()]


@pytest.fixture
def week(user: User) -> User:
    """Seven tasks of different priorities and dates, as a demonstration has."""
    for number, priority in enumerate(["low", "medium", "high", "urgent", None, "low", "high"]):
        due = f"2026-12-0{number + 1}" if number % 2 else None
        user.create(f"Task {number}", priority=priority, due_date=due, completed=number in (2, 5))
    return user


def test_a_client_that_pages_by_skip(week: User) -> None:
    seen: list[str] = []
    while page := titles(week.send("GET", f"{SHORT}?skip={len(seen)}&limit=3")):
        seen += page
    assert seen == titles(week.send("GET", SHORT))


def test_a_client_that_pages_by_offset_with_a_total(week: User) -> None:
    seen: list[str] = []
    for offset in range(0, 9, 2):
        response = week.list(limit=2, offset=offset, count="true")
        assert response.headers["X-Total-Count"] == "7"
        seen += titles(response)
    assert seen == week.titles()


def test_a_client_that_pages_by_number(week: User) -> None:
    pages = [titles(week.list(page=number, page_size=3)) for number in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert [title for page in pages for title in page] == week.titles()


def test_a_client_that_scrolls_by_per_page(week: User) -> None:
    first = week.list(page=1, per_page=5, sort_by="created_at", sort_order="desc")
    link = next_link(first)
    assert link
    assert titles(first) + titles(week.send("GET", link)) == week.titles()


def test_a_client_that_puts_the_whole_task_back(user: User) -> None:
    task = user.create("Buy milk", priority="high", due_date="2026-12-24", tags=["home"])
    shown = user.read(task)
    shown["title"] = "Buy oat milk"
    saved = user.put(task, shown)
    assert saved.status_code == 200
    assert saved.json() == {**shown, "updated_at": saved.json()["updated_at"]}
    assert user.read(task) == saved.json()


def test_a_client_that_puts_a_form_with_empty_texts(user: User) -> None:
    task = user.create("Buy milk", priority="high", due_date="2026-12-24")
    form = {"title": "Buy milk", "description": "", "priority": "", "due_date": "", "tags": []}
    saved = user.put(task, form).json()
    assert (saved["priority"], saved["due_date"], saved["tags"]) == (None, None, [])
    assert user.post(form).status_code == 201


def test_a_client_that_sends_priority_in_capitals(user: User) -> None:
    response = user.post({"title": "Pay rent", "priority": "HIGH", "due_date": None})
    assert response.status_code == 201
    assert response.json()["priority"] == "high"
    assert user.put(response.json(), {"priority": "Urgent"}).json()["priority"] == "urgent"
    assert user.titles(priority="URGENT") == ["Pay rent"]


def test_a_client_that_completes_by_patch_of_the_task(user: User) -> None:
    task = user.create()
    for completed in (True, False, True):
        response = user.send("PATCH", user.url_of(task), json={"completed": completed})
        assert response.status_code == 200
        assert response.json()["completed"] is completed
        assert (response.json()["completed_at"] is not None) is completed


def test_a_client_that_completes_by_put(user: User) -> None:
    task = user.create("Buy milk")
    done = user.put(task, {"title": task["title"], "completed": not task["completed"]}).json()
    assert done["completed"] is True
    assert done["completed_at"] == done["updated_at"]


def test_a_client_that_toggles_without_a_body(user: User) -> None:
    task = user.create()
    headers = {"Content-Type": "application/json"}
    url = f"{user.url_of(task)}/complete"
    assert user.send("PATCH", url, headers).json()["completed"] is True
    assert user.send("PATCH", url, headers, content=b"").json()["completed"] is False


def test_a_client_that_sets_the_completion_by_another_name(user: User) -> None:
    task = user.create()
    error = assert_error(user.complete(task, {"is_completed": True}), 422)
    assert error["detail"] == "Completed is required."
    assert user.read(task) == task


def test_a_client_with_sort_by_in_camel_case(week: User) -> None:
    newest = week.send("GET", f"{SHORT}?sortBy=createdAt&sortOrder=DESC")
    assert titles(newest) == [f"Task {number}" for number in range(6, -1, -1)]
    oldest = week.send("GET", f"{SHORT}?sortBy=createdAt&sortOrder=ASC")
    assert titles(oldest) == titles(newest)[::-1]
    due = titles(week.send("GET", f"{SHORT}?sortBy=dueDate&sortOrder=asc"))
    assert due[:3] == ["Task 1", "Task 3", "Task 5"]


def test_a_client_with_sort_by_in_snake_case(week: User) -> None:
    by_priority = titles(week.list(sort_by="priority", order="desc"))
    assert by_priority[0] == "Task 3"
    assert by_priority[-1] == "Task 4"
    assert titles(week.list(sort_by="priority", sort_order="asc"))[0] == "Task 4"


def test_a_client_that_sorts_by_a_minus(week: User) -> None:
    assert titles(week.list(sort="-created_at")) == week.titles()
    assert titles(week.list(sort="-title"))[0] == "Task 6"


def test_a_client_whose_filters_are_empty_at_first(week: User) -> None:
    query = "status=&priority=&search=&sort=&order=&tag=&due_from=&due_to="
    assert titles(week.send("GET", f"{SHORT}?{query}")) == week.titles()


def test_a_client_whose_tabs_are_active_and_done(week: User) -> None:
    every = set(titles(week.list(status="all")))
    done = set(titles(week.list(status="done")))
    assert done == {"Task 2", "Task 5"} == set(titles(week.list(completed="true")))
    for status in ("active", "incomplete", "open", "Pending"):
        assert set(titles(week.list(status=status))) == every - done
    assert set(titles(week.list(completed="false"))) == every - done


def test_a_client_that_searches_as_you_type(week: User) -> None:
    for typed in ("t", "ta", "TASK", "task 3"):
        found = titles(week.list(search=typed, status="all"))
        assert "Task 3" in found
    assert found == ["Task 3"]


def test_a_client_that_filters_by_chips(week: User) -> None:
    week.create("Tagged", tags=["Home", "Garden"])
    assert titles(week.list(tags="Home,Garden")) == ["Tagged"]
    assert titles(week.send("GET", f"{SHORT}?priority=high&priority=urgent&completed=false")) == [
        "Task 6",
        "Task 3",
    ]


def test_a_client_that_shows_a_calendar(week: User) -> None:
    shown = week.list(due_from="2026-12-01", due_to="2026-12-04", sort="due_date")
    assert titles(shown) == ["Task 1", "Task 3"]
    assert [task["due_date"] for task in shown.json()] == ["2026-12-02", "2026-12-04"]


def test_a_client_with_a_date_picker_in_local_time(user: User) -> None:
    picked = {"title": "Call Ann", "dueDate": "ignored", "due_date": "2026-12-24T18:30:00+05:00"}
    response = user.post(picked)
    assert response.json()["due_date"] == "2026-12-24T13:30:00.000000Z"
    error = assert_error(user.put(response.json(), {"due_date": "2026-12-24T18:30"}), 422)
    assert error["detail"].startswith("Due date must have an offset")


def test_a_client_with_a_dashboard(week: User) -> None:
    counts = week.send("GET", f"{SHORT}/stats").json()
    assert (counts["total"], counts["pending"], counts["completed"]) == (7, 5, 2)
    assert counts["total"] == len(week.list().json())


def test_a_client_that_reads_json_after_a_deletion(user: User) -> None:
    task = user.create()
    response = user.send("DELETE", f"{SHORT}/{task['id']}/")
    assert (response.status_code, response.content) == (204, b"")
    with pytest.raises(json.JSONDecodeError):
        response.json()
    assert user.list().json() == []


def test_a_client_that_shows_detail_to_people(user: User) -> None:
    forms: list[tuple[dict[str, Any], str]] = [
        ({"title": ""}, "Title must have 1 or more characters."),
        ({}, "Title is required."),
        ({"title": "x" * 201}, "Title must have 200 or fewer characters."),
        (
            {"title": "x", "description": "x" * 1001},
            "Description must have 1000 or fewer characters.",
        ),
        (
            {"title": "x", "priority": "top"},
            "Priority must be 'low', 'medium', 'high' or 'urgent'.",
        ),
        ({"title": "x", "tags": "home"}, "Tags must be a list of texts."),
    ]
    for form, sentence in forms:
        assert assert_error(user.post(form), 422)["detail"] == sentence
    assert user.list().json() == []


def test_a_client_with_a_version_in_its_base_url(user: User) -> None:
    error = assert_error(user.send("GET", "/api/v1/tasks/"), 404)
    assert "/api/tasks" in error["detail"]


def test_a_client_that_sends_a_due_date_that_does_not_exist(user: User) -> None:
    error = assert_error(user.post({"title": "x", "due_date": "2026-02-30"}), 422)
    assert error["detail"].startswith("Due date must exist in the calendar")
    assert user.list().json() == []
