"""Lists understand the parameters that frontends send, in any of their spellings."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.contract.responses import assert_error, next_link
from tests.contract.users import User


@pytest.fixture
def tasks(user: User) -> User:
    """Four tasks that every order and filter below tells apart."""
    user.create("Buy bread", priority="low", due_date="2026-12-03", tags=["home"])
    user.create("Answer mail", priority="urgent", due_date="2026-12-01", completed=True)
    user.create("Call Ann", priority="high", due_date="2026-12-02", tags=["home", "phone"])
    user.create("Do laundry")
    user.put(user.list(q="bread").json()[0], {"description": "Whole grain"})
    return user


# The parameters as a frontend spells them, and the same by the names of the documentation.
SAME: list[tuple[str, dict[str, Any]]] = [
    ("status=PENDING", {"status": "pending"}),
    ("status=Active", {"status": "pending"}),
    ("status=incomplete", {"status": "pending"}),
    ("status=open", {"status": "pending"}),
    ("status=done", {"status": "completed"}),
    ("status=All", {}),
    ("status=", {}),
    ("completed=true", {"status": "completed"}),
    ("completed=False", {"status": "pending"}),
    ("completed=", {}),
    ("status=all&completed=true", {}),
    ("status=&completed=true", {"status": "completed"}),
    ("search=MAIL", {"q": "mail"}),
    ("q=&search=mail", {"q": "mail"}),
    ("q=bread&search=mail", {"q": "bread"}),
    ("tags=home,phone", {"tag": ["home", "phone"]}),
    ("tags=home, ,", {"tag": "home"}),
    ("tag=home&tags=phone", {"tag": "home"}),
    ("tag=&tag=home", {"tag": "home"}),
    ("priority=HIGH,low", {"priority": ["high", "low"]}),
    ("priority=high&priority=&priority=None", {"priority": "high,none"}),
    ("priority=", {}),
    ("due_from=&due_to=", {}),
    ("sort=created_at", {"sort": "created"}),
    ("sort=createdAt", {"sort": "created"}),
    ("sort=UPDATED_AT", {"sort": "updated"}),
    ("sort=updatedAt", {"sort": "updated"}),
    ("sort=due", {"sort": "due_date"}),
    ("sortBy=dueDate", {"sort": "due_date"}),
    ("sort_by=due_date&sort_order=DESC", {"sort": "due_date", "order": "desc"}),
    ("sortBy=createdAt&sortOrder=ASC", {"sort": "created", "order": "asc"}),
    ("sort=-title", {"sort": "title", "order": "desc"}),
    ("sort=-dueDate", {"sort": "due_date", "order": "desc"}),
    ("sort=-title&order=asc", {"sort": "title", "order": "asc"}),
    ("sort=-title&sort_order=asc", {"sort": "title", "order": "asc"}),
    ("sort=title&sort_by=priority", {"sort": "title"}),
    ("sort=&order=", {}),
    ("sort=created&sort=title", {"sort": "title"}),
    ("page_size=2", {"limit": 2}),
    ("per_page=2", {"limit": 2}),
    ("limit=3&page_size=2", {"limit": 3}),
    ("limit=&offset=&cursor=&count=", {}),
    ("limit=2&skip=1", {"limit": 2, "offset": 1}),
    ("limit=2&offset=0&skip=1", {"limit": 2, "offset": 0}),
    ("limit=2&page=2", {"limit": 2, "offset": 2}),
    ("page=1&per_page=2", {"limit": 2, "offset": 0}),
    ("limit=2&skip=1&page=2", {"limit": 2, "offset": 1}),
    ("count=TRUE&limit=2", {"count": "true", "limit": 2}),
]


@pytest.mark.parametrize(("spelled", "documented"), SAME, ids=lambda value: str(value))
def test_another_spelling_is_the_same_list(
    tasks: User, spelled: str, documented: dict[str, Any]
) -> None:
    response, expected = tasks.send("GET", f"{tasks.url}?{spelled}"), tasks.list(**documented)
    assert response.status_code == expected.status_code == 200, response.text
    assert response.json() == expected.json()
    total = "X-Total-Count"
    assert response.headers.get(total) == expected.headers.get(total)
    # The cursor of one spelling continues the other.
    if link := next_link(response):
        cursor = parse_qs(urlsplit(link).query)["cursor"][0]
        documented = {name: value for name, value in documented.items() if name != "offset"}
        rest = tasks.list(**documented, cursor=cursor)
        assert rest.json() == tasks.send("GET", link).json()


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("status=finished", "Status must be 'all', 'pending', 'completed' or 'deleted'."),
        ("completed=yes", "Completed must be true or false."),
        ("limit=2&page=0", "Page must be a whole number from 1 to 5001."),
        ("limit=2&page=x", "Page must be a whole number from 1 to 5001."),
        ("limit=100&page=102", "Page must be a whole number from 1 to 101."),
        ("limit=100&page=99999999999999999999", "Page must be a whole number from 1 to 101."),
        ("page=2", "A page requires a limit."),
        ("page_size=101", "Limit must be 100 or less."),
        ("per_page=0&page=1", "Limit must be 1 or more."),
        ("limit=x&page=1", "Limit must be a whole number."),
        ("limit=2&skip=10001", "Offset must be 10000 or less."),
        ("limit=2&skip=-1", "Offset must be a whole number."),
        ("skip=2", "An offset requires a limit."),
        ("limit=2&page=2&cursor=x", "Send a cursor or an offset, not both."),
        ("search=" + "x" * 201, "The search text must have 200 or fewer characters."),
        ("tags=a," + "x" * 51, "Tag must have 50 or fewer characters."),
        ("due_from=banana", None),
        ("order=up", "Order must be 'asc' or 'desc'."),
    ],
)
def test_a_value_that_cannot_be_understood_is_422(
    user: User, query: str, sentence: str | None
) -> None:
    error = assert_error(user.send("GET", f"{user.url}?{query}"), 422)
    if sentence:
        assert error["detail"] == sentence
    assert error["detail"].startswith(error["detail"][0].upper())
    assert "banana" not in str(error)


def test_the_next_link_of_a_page_by_offset_continues_by_cursor(tasks: User) -> None:
    for spelled in ("offset=1", "skip=1", "page=1", "skip=1&offset="):
        response = tasks.send("GET", f"{tasks.url}?limit=1&{spelled}&note=kept&search=a&count=true")
        link = next_link(response)
        assert link
        parameters = parse_qs(urlsplit(link).query)
        assert parameters.keys() == {"limit", "note", "search", "count", "cursor"}
        following = tasks.send("GET", link)
        assert following.status_code == 200
        assert following.headers["X-Total-Count"] == response.headers["X-Total-Count"]
        assert following.json() != response.json()


def test_the_last_page_by_offset_has_no_link(tasks: User) -> None:
    assert next_link(tasks.list(limit=2, offset=2)) is None
    assert next_link(tasks.list(limit=2, skip=9)) is None
