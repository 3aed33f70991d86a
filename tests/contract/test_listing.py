"""Lists: filters, search, order, and pages that neither skip nor repeat a task."""

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.contract.responses import assert_error, next_link, parse_timestamp
from tests.contract.users import Task, User, in_parallel

UNKNOWN_VALUES = [
    ("status", "finished"),
    ("status", "pending "),
    ("status", "pending,completed"),
    ("status", "\0"),
    ("sort", "due-date"),
    ("sort", "id"),
    ("sort", "title;--"),
    ("sort", "--created"),
    ("sort", "-"),
    ("sort", "+created"),
    ("order", "up"),
    ("order", "-asc"),
    ("limit", "0"),
    ("limit", "-1"),
    ("limit", "101"),
    ("limit", "1.5"),
    ("limit", "1e1"),
    ("limit", "ten"),
    ("limit", "null"),
    ("limit", "9" * 30),
    ("limit", "1" * 5000),
    ("limit", "NaN"),
    ("count", "maybe"),
    ("count", "2"),
]
INVALID_CURSORS = {
    "word": "abc",
    "number": "1",
    "blank": " ",
    "NUL": "\0",
    "NUL inside": "abc\0def",
    "newline": "a\nb",
    "not ASCII": "é🧹",
    "base64 of a word": base64.urlsafe_b64encode(b"nothing").decode(),
    "base64 of an object": base64.urlsafe_b64encode(json.dumps({"id": 1}).encode()).decode(),
    "base64 of a list": base64.urlsafe_b64encode(b'["2026-01-01T00:00:00Z", 1]').decode(),
    "base64 of zeros": base64.urlsafe_b64encode(bytes(64)).decode(),
    "JSON": '{"created_at": "2026-01-01T00:00:00Z", "id": 1}',
    "SQL": "1' OR '1'='1",
    "very long": "A" * 5000,
    "padding only": "====",
    "dots": "a.b.c",
}
ORDERS = [
    {},
    {"order": "asc"},
    {"sort": "updated"},
    {"sort": "updated_at", "order": "asc"},
    {"sort": "title"},
    {"sort": "title", "order": "desc"},
]


def ids(response: httpx2.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [task["id"] for task in response.json()]


def walk(
    user: User,
    between_pages: Callable[[int], object] = lambda _: None,
    **parameters: object,
) -> list[httpx2.Response]:
    """Read all pages by their next links; calls between_pages(number) after each page."""
    pages = [user.list(**parameters)]
    while link := next_link(pages[-1]):
        assert len(pages) < 100, "the pages never end"
        between_pages(len(pages))
        pages.append(user.send("GET", link))
    assert {page.status_code for page in pages} == {200}
    return pages


def entries(pages: list[httpx2.Response]) -> list[Task]:
    return [task for page in pages for task in page.json()]


def cursor_of(response: httpx2.Response) -> str:
    link = next_link(response)
    assert link
    return parse_qs(urlsplit(link).query)["cursor"][0]


def twenty_five(user: User) -> list[Task]:
    """25 tasks: five titles, each five times, every third completed; in order of creation."""
    return [
        user.create(f"{'edcba'[number % 5]} task", completed=number % 3 == 0)
        for number in range(25)
    ]


def three_to_filter(user: User) -> None:
    user.create("open one")
    user.create("done one", completed=True)
    user.create("open two")


# Filters


@pytest.mark.parametrize(
    ("parameters", "titles"),
    [
        ({}, ["open two", "done one", "open one"]),
        ({"status": "all"}, ["open two", "done one", "open one"]),
        ({"status": "pending"}, ["open two", "open one"]),
        ({"status": "completed"}, ["done one"]),
        ({"status": "pending", "q": "two"}, ["open two"]),
        ({"status": "completed", "q": "two"}, []),
    ],
)
def test_status_filters(user: User, parameters: dict[str, Any], titles: list[str]) -> None:
    three_to_filter(user)
    assert user.titles(**parameters) == titles


def test_a_filter_sees_a_change_immediately(user: User) -> None:
    task = user.create()
    user.complete(task)
    assert user.titles(status="pending") == []
    assert user.titles(status="completed") == ["Buy milk"]


@pytest.mark.parametrize(("name", "value"), UNKNOWN_VALUES, ids=lambda text: text[:20] or "empty")
def test_an_unknown_value_is_422(user: User, name: str, value: str) -> None:
    assert_error(user.list(**{name: value}), 422)


def test_count_accepts_true_and_false(user: User) -> None:
    assert user.list(count="true").status_code == 200
    assert user.list(count="false").status_code == 200


def test_unknown_parameters_are_ignored(user: User) -> None:
    three_to_filter(user)
    unknown = {
        "done": "true",
        "start": "2",
        "Status": "x",
        "user_id": "y",
    }
    assert user.titles(**unknown) == user.titles()


@pytest.mark.parametrize(
    "query",
    ["", "?", "&&&==", "=", "?status", "a=%", "a=%zz", "a=%ff", "%ff=%ff", "%00=1", "a[]=1"],
)
def test_a_malformed_query_string_is_ignored_or_refused(user: User, query: str) -> None:
    task = user.create()
    response = user.send("GET", f"{user.url}?{query}")
    assert (response.status_code == 200 and response.json() == [task]) or assert_error(
        response, 422
    )


@pytest.mark.parametrize("name", ["status", "sort", "order", "limit", "cursor", "count", "q"])
def test_a_repeated_or_malformed_parameter_causes_no_server_error(user: User, name: str) -> None:
    value = {"status": "all", "sort": "title", "order": "asc", "limit": "5", "count": "true"}
    known = value.get(name, "x")
    for query in (f"{name}={known}&{name}=%00", f"{name}=%00", f"{name}=%ff", f"{name}=%ED%A0%80"):
        response = user.send("GET", f"{user.url}?{query}")
        assert response.status_code == 200 or assert_error(response, 422)


# Search


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("milk", ["Buy MILK", "Dairy"]),
        ("MILK", ["Buy MILK", "Dairy"]),
        ("y m", ["Buy MILK"]),
        ("two", ["Dairy"]),
        ("%", ["100% wool"]),
        ("0%", ["100% wool"]),
        ("%wool", []),
        ("_", ["snake_case"]),
        ("e_c", ["snake_case"]),
        ("snake_", ["snake_case"]),
        ("Bu_", []),
        ("B%k", []),
        ("\\", ["C:\\temp"]),
        ("\\t", ["C:\\temp"]),
        ("\\%", []),
        ("'", ["it's"]),
        ("'; --", []),
        ("*", []),
        (".", ["3.14"]),
        ("[a-z]", []),
        ("nothing like it", []),
    ],
)
def test_q_finds_a_literal_part_of_title_or_description(
    user: User, q: str, found: list[str]
) -> None:
    user.create("Buy MILK")
    user.create("Dairy", description="two litres of Milk")
    for title in ("100% wool", "snake_case", "C:\\temp", "it's", "3.14"):
        user.create(title)
    assert user.titles(q=q, sort="created", order="asc") == found


@pytest.mark.parametrize(
    ("text", "q"),
    [
        ("Äpfel kaufen", "äPFEL"),
        ("ÉCOLE", "école"),
        ("Задача", "зАДАЧА"),
        ("Γάλα", "γΆλΑ"),
        ("ŁÓDŹ", "łódź"),
        ("Ñandú", "ñANDÚ"),
        ("Ķīļ", "ĶĪĻ"),
    ],
)
def test_q_ignores_case_in_every_script(user: User, text: str, q: str) -> None:
    user.create(text)
    user.create("by description", description=f"see {text}!")
    user.create("another")
    assert user.titles(q=q) == ["by description", text]


@pytest.mark.parametrize("text", ["买牛奶", "🧹 broom", "اشترِ الحليب", "a+b&c=d#e", "x" * 200])
def test_q_finds_any_text(user: User, text: str) -> None:
    user.create(text)
    user.create("another")
    assert user.titles(q=text) == [text]


def test_q_does_not_confuse_letters_with_accents(user: User) -> None:
    user.create("cafe")
    assert user.titles(q="café") == []


def test_an_empty_q_matches_every_task(user: User) -> None:
    three_to_filter(user)
    assert user.titles(q="") == user.titles()


@pytest.mark.parametrize("q", ["\0", "a\0b", "x" * 4000, "%" * 1000, "_" * 1000])
def test_a_q_that_no_text_can_contain_finds_nothing_or_is_refused(user: User, q: str) -> None:
    user.create("a b")
    response = user.list(q=q)
    assert (response.status_code == 200 and response.json() == []) or assert_error(response, 422)


def test_q_never_searches_other_users_tasks(user: User, other_user: User) -> None:
    other_user.create("their milk")
    user.create("my milk")
    assert user.titles(q="milk") == ["my milk"]


# Order


@pytest.mark.parametrize(
    ("parameters", "titles"),
    [
        ({}, ["b", "c", "a"]),
        ({"order": "asc"}, ["a", "c", "b"]),
        ({"sort": "created"}, ["b", "c", "a"]),
        ({"sort": "created", "order": "asc"}, ["a", "c", "b"]),
        ({"sort": "created_at", "order": "desc"}, ["b", "c", "a"]),
        ({"sort": "updated"}, ["a", "c", "b"]),
        ({"sort": "updated_at"}, ["a", "c", "b"]),
        ({"sort": "updated", "order": "asc"}, ["b", "c", "a"]),
        ({"sort": "title"}, ["a", "b", "c"]),
        ({"sort": "title", "order": "asc"}, ["a", "b", "c"]),
        ({"sort": "title", "order": "desc"}, ["c", "b", "a"]),
    ],
)
def test_sort_and_order(user: User, parameters: dict[str, Any], titles: list[str]) -> None:
    # Created a, c, b; then b, c, a changed, so that all orders differ.
    tasks = {title: user.create(title) for title in "acb"}
    for title in "bca":
        user.complete(tasks[title])
    assert user.titles(**parameters) == titles


def test_equal_titles_are_ordered_by_id(user: User) -> None:
    made = in_parallel(4, lambda _: [user.create("same") for _ in range(3)])
    expected = sorted(task["id"] for tasks in made for task in tasks)
    for order in ("asc", "desc"):
        found = ids(user.list(sort="title", order=order))
        assert found in (expected, expected[::-1])


@pytest.mark.parametrize("parameters", ORDERS, ids=str)
def test_the_order_is_total_and_the_same_each_time(user: User, parameters: dict[str, Any]) -> None:
    in_parallel(4, lambda number: [user.create("ab"[number % 2]) for _ in range(4)])
    found = ids(user.list(**parameters))
    assert sorted(found) == sorted(set(found))
    assert all(ids(user.list(**parameters)) == found for _ in range(3))
    pages = entries(walk(user, limit=4, **parameters))
    assert [task["id"] for task in pages] == found


# Pages


def test_without_limit_the_list_is_complete(user: User) -> None:
    in_parallel(4, lambda number: [user.create(f"{number} {copy}") for copy in range(30)])
    response = user.list()
    assert len(response.json()) == 120
    assert response.headers["X-Total-Count"] == "120"
    assert next_link(response) is None


@pytest.mark.parametrize("limit", [1, 5, 7, 24, 25, 26, 100])
def test_pages_contain_limit_tasks_and_the_last_one_has_no_link(user: User, limit: int) -> None:
    complete = [task["id"] for task in reversed(twenty_five(user))]
    pages = walk(user, limit=limit)
    assert [ids(page) for page in pages] == [
        complete[start : start + limit] for start in range(0, 25, limit)
    ]


def test_a_page_of_an_empty_list_is_empty_and_has_no_link(user: User) -> None:
    response = user.list(limit=5)
    assert response.status_code == 200
    assert response.json() == []
    assert next_link(response) is None


@pytest.mark.parametrize("parameters", ORDERS, ids=str)
@pytest.mark.parametrize(
    "filters", [{}, {"status": "pending"}, {"status": "completed", "q": "TASK"}], ids=str
)
def test_all_pages_together_are_the_complete_list(
    user: User, parameters: dict[str, Any], filters: dict[str, Any]
) -> None:
    twenty_five(user)
    complete = user.list(**parameters, **filters).json()
    assert entries(walk(user, limit=3, **parameters, **filters)) == complete


@pytest.mark.parametrize("parameters", ORDERS, ids=str)
def test_inserts_between_pages_neither_skip_nor_repeat_a_task(
    user: User, parameters: dict[str, Any]
) -> None:
    before = [task["id"] for task in twenty_five(user)]
    complete = ids(user.list(**parameters))
    assert sorted(complete) == sorted(before)

    def insert(page: int) -> None:
        in_parallel(4, lambda number: user.create(f"{'abcde'[(page + number) % 5]} task"))

    seen = [task["id"] for task in entries(walk(user, insert, limit=5, **parameters))]
    assert len(seen) == len(set(seen))
    assert [task_id for task_id in seen if task_id in before] == complete


def test_deletes_between_pages_neither_skip_nor_repeat_a_task(user: User) -> None:
    complete = [task["id"] for task in reversed(twenty_five(user))]

    def delete_page(page: int) -> None:
        for task_id in complete[(page - 1) * 5 : page * 5]:
            user.delete(task_id)

    assert [task["id"] for task in entries(walk(user, delete_page, limit=5))] == complete


def test_a_page_can_be_requested_again(user: User) -> None:
    twenty_five(user)
    link = next_link(user.list(limit=5))
    assert link
    first, again = user.send("GET", link), user.send("GET", link)
    assert first.json() == again.json()
    assert next_link(first) == next_link(again)


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": "2"},
        {"limit": "2", "count": "true"},
        {"limit": "2", "count": "false"},
        {"limit": "2", "sort": "title", "order": "desc"},
        {"limit": "2", "status": "pending", "sort": "updated_at", "order": "asc"},
        {"limit": "2", "q": "a&b=c %_+é#1;2"},
        {
            "limit": "2",
            "status": "pending",
            "sort": "title",
            "order": "desc",
            "q": "A&B=C %_",
            "count": "true",
        },
    ],
    ids=str,
)
def test_the_next_link_keeps_every_parameter(user: User, parameters: dict[str, Any]) -> None:
    for number in range(5):
        user.create(f"{number} a&b=c %_+é#1;2")
    pages = walk(user, **parameters)
    assert [len(page.json()) for page in pages] == [2, 2, 1]
    for page in pages[:-1]:
        link = next_link(page)
        assert link
        address = urlsplit(link)
        assert address.path.rstrip("/") == user.url
        assert address.netloc == page.url.netloc.decode()
        query = parse_qs(address.query, keep_blank_values=True)
        assert query.pop("cursor")
        assert query == {name: [value] for name, value in parameters.items()}
    assert len({cursor_of(page) for page in pages[:-1]}) == 2


# Total counts


def test_a_complete_list_has_its_total_count(user: User) -> None:
    three_to_filter(user)
    for parameters, total in (
        ({}, "3"),
        ({"status": "pending"}, "2"),
        ({"q": "done"}, "1"),
        ({"q": "nothing like it"}, "0"),
        ({"count": "true", "status": "completed"}, "1"),
    ):
        assert user.list(**parameters).headers["X-Total-Count"] == total


def test_a_page_has_a_total_count_only_on_request(user: User) -> None:
    three_to_filter(user)
    assert "X-Total-Count" not in user.list(limit=2).headers
    assert "X-Total-Count" not in user.list(limit=100).headers
    assert "X-Total-Count" not in user.list(limit=2, count="false").headers
    assert user.list(limit=2, count="true").headers["X-Total-Count"] == "3"


def test_the_total_count_of_a_page_is_that_of_the_filtered_list(user: User) -> None:
    tasks = twenty_five(user)
    pending = [task for task in tasks if not task["completed"]]
    pages = walk(user, limit=5, count="true", status="pending")
    assert {page.headers["X-Total-Count"] for page in pages} == {str(len(pending))}


# Cursors


@pytest.mark.parametrize("cursor", INVALID_CURSORS.values(), ids=INVALID_CURSORS)
def test_an_invalid_cursor_is_422(user: User, cursor: str) -> None:
    user.create()
    assert_error(user.list(limit=2, cursor=cursor), 422)


def test_an_empty_cursor_is_refused_or_means_the_first_page(user: User) -> None:
    three_to_filter(user)
    response = user.list(limit=2, cursor="")
    if response.status_code == 200:
        assert response.json() == user.list(limit=2).json()
    else:
        assert_error(response, 422)


def test_a_forged_cursor_is_422(user: User) -> None:
    twenty_five(user)
    cursor = cursor_of(user.list(limit=2))
    forged = [cursor[:-4], cursor[4:], cursor * 2, cursor[::-1], cursor.swapcase(), f"A{cursor}"]
    # The last two characters may be padding or hold unused bits; all others are significant.
    for position in range(0, len(cursor) - 2, 3):
        other = "A" if cursor[position] != "A" else "B"
        forged.append(cursor[:position] + other + cursor[position + 1 :])
    for text in forged:
        assert_error(user.list(limit=2, cursor=text), 422)


def test_a_cursor_of_another_user_is_422(user: User, other_user: User) -> None:
    three_to_filter(user)
    three_to_filter(other_user)
    assert_error(user.list(limit=2, cursor=cursor_of(other_user.list(limit=2))), 422)


@pytest.mark.parametrize(
    "other",
    [
        {"sort": "title"},
        {"sort": "updated"},
        {"order": "asc"},
        {"sort": "title", "order": "desc"},
        {"status": "pending"},
        {"q": "o"},
    ],
    ids=str,
)
def test_a_cursor_of_another_query_is_422(user: User, other: dict[str, str]) -> None:
    three_to_filter(user)
    plain, special = user.list(limit=1), user.list(limit=1, **other)
    assert_error(user.list(limit=1, cursor=cursor_of(plain), **other), 422)
    assert_error(user.list(limit=1, cursor=cursor_of(special)), 422)


def test_a_cursor_with_another_limit_continues_the_list_or_is_refused(user: User) -> None:
    complete = [task["id"] for task in reversed(twenty_five(user))]
    cursor = cursor_of(user.list(limit=5))
    longer = user.list(limit=8, cursor=cursor)
    assert (longer.status_code == 200 and ids(longer) == complete[5:13]) or assert_error(
        longer, 422
    )
    rest = user.list(cursor=cursor)
    assert (
        rest.status_code == 200 and complete[5:][: len(ids(rest))] == ids(rest)
    ) or assert_error(rest, 422)


def test_a_cursor_works_after_its_task_is_deleted(user: User) -> None:
    complete = [task["id"] for task in reversed(twenty_five(user))]
    first = user.list(limit=5)
    for task_id in ids(first):
        user.delete(task_id)
    link = next_link(first)
    assert link
    assert ids(user.send("GET", link)) == complete[5:10]


def test_pages_sorted_by_update_time_are_complete_while_other_tasks_change(user: User) -> None:
    tasks = twenty_five(user)
    touched = {task["id"] for task in tasks[:3]}
    pages = walk(
        user,
        lambda _: [user.complete(task_id) for task_id in touched],
        limit=4,
        sort="updated",
    )
    seen = [task for task in entries(pages) if task["id"] not in touched]
    assert [task["id"] for task in seen] == [task["id"] for task in reversed(tasks[3:])]
    timestamps = [parse_timestamp(task["updated_at"]) for task in seen]
    assert all(later > earlier for later, earlier in pairwise(timestamps))


# Collation, equivalent parameters and long values


def test_titles_are_ordered_ignoring_case(user: User) -> None:
    for title in ("Zürich", "apple", "Äpfel", "banana", "Apple 2", "äpfel 2", "100"):
        user.create(title)
    expected = ["100", "apple", "Apple 2", "banana", "Zürich", "Äpfel", "äpfel 2"]
    assert user.titles(sort="title") == expected
    assert user.titles(sort="title", order="desc") == expected[::-1]
    paged, response = [], user.list(sort="title", limit=2)
    while True:
        paged += [task["title"] for task in response.json()]
        if (following := next_link(response)) is None:
            break
        response = user.send("GET", following)
    assert paged == expected


def test_a_cursor_works_with_equivalent_parameters(user: User) -> None:
    for number in range(3):
        user.create(f"Task {number}")
    following = next_link(user.list(limit=1))
    assert following
    for spelled in ("&status=all", "&sort=created", "&sort=created_at&order=desc", "&q="):
        assert user.send("GET", following + spelled).status_code == 200
    for other in ("&status=pending", "&sort=updated", "&order=asc", "&q=task", "&sort=title"):
        assert_error(user.send("GET", following + other), 422)


def test_a_link_is_never_longer_than_proxies_accept(user: User) -> None:
    for number in range(2):
        user.create(f"Task {number}")
    kept = user.list(limit=1, note="!" * 100)
    assert "!" * 100 in kept.headers["Link"]
    assert_error(user.list(limit=1, note="x" * 4200), 422)


def test_a_repetitive_text_is_found_in_repetitive_texts(user: User) -> None:
    user.create("a" * 200, description="b" + "a" * 999)
    user.create("A" * 100 + "B" + "a" * 99)
    assert user.titles(q="a" * 100 + "b" + "A" * 99) == ["A" * 100 + "B" + "a" * 99]
    assert user.titles(q="b" + "a" * 199) == ["a" * 200]
    assert user.titles(q="a" * 199 + "b") == []
