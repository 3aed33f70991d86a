"""Validation of the fields of a task: limits, types, trimming, and text that must be kept."""

from typing import Any

import pytest

from tests.contract.responses import assert_error, assert_task
from tests.contract.users import User

MISSING = object()
INVALID_TITLES = {
    "missing": MISSING,
    "null": None,
    "empty": "",
    "blank": "   ",
    "tabs and newlines": "\t\n\r ",
    "number": 1,
    "float": 1.5,
    "bool": True,
    "list": ["Buy milk"],
    "object": {"text": "Buy milk"},
    "201 characters": "x" * 201,
    "201 characters beyond the BMP": "\N{BROOM}" * 201,
    "NUL": "Buy\0milk",
    "only NUL": "\0",
    "NUL at the edge": "Buy milk\0",
}
INVALID_DESCRIPTIONS = {
    "number": 1,
    "bool": False,
    "list": ["Two litres"],
    "object": {},
    "1001 characters": "x" * 1001,
    "1001 characters beyond the BMP": "\N{BROOM}" * 1001,
    "NUL": "Two\0litres",
}
INVALID_COMPLETED = {
    "word": "yes",
    "spelled": "true",
    "number": 1,
    "zero": 0,
    "float": 0.0,
    "list": [],
    "object": {},
}
SURROGATES = {
    "high": rb"\ud800",
    "low": rb"\udc00",
    "wrong order": rb"\udc00\ud800",
    "two high": rb"\ud83d\ud83d",
    "high then letter": rb"\ud83dx",
}
TEXTS = {
    "umlauts": "Äpfel für Übermüdete",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "Greek": "Γάλα και ψωμί",
    "Arabic": "اشترِ الحليب",
    "Hebrew with a mark": "קנה \u200fחלב",
    "Chinese": "买牛奶",
    "Urdu": "دودھ خریدیں",
    "emoji with joiners": "👩‍👩‍👧‍👦 🏳️‍🌈",
    "last code point": "\U0010ffff end",
    "noncharacter": "a\ufffeb\uffffc",
    "byte order mark inside": "a\ufeffb",
    "controls inside": "a\x01\x02\x1b\x7f\x80b",
    "newline inside": "two\nlines\tand\ttabs\r\nhere",
    "zero width": "a\u200b\u200c\u200db",
    "quotes and SQL": 'Robert\'); DROP TABLE tasks;-- "quoted" \\ %s :name $1 {x}',
    "markup": "<script>alert('&amp;')</script>",
    "percent and plus": "100%25+1%_",
    "looks like JSON": '{"title": null}',
    "looks like null": "null",
}


def with_field(field: str, value: object, **others: object) -> dict[str, object]:
    return {**others, **({} if value is MISSING else {field: value})}


def params(table: dict[str, Any]) -> Any:
    return [pytest.param(value, id=name) for name, value in table.items()]


@pytest.mark.parametrize("title", params(INVALID_TITLES))
def test_create_needs_a_title_of_1_to_200_characters(user: User, title: object) -> None:
    assert_error(user.post(with_field("title", title, description="kept out")), 422)
    assert user.list().json() == []


@pytest.mark.parametrize(
    "title", params({k: v for k, v in INVALID_TITLES.items() if k != "missing"})
)
def test_put_rejects_a_title_that_create_rejects(user: User, title: object) -> None:
    task = user.create()
    assert_error(user.put(task, {"title": title, "description": "kept out"}), 422)
    assert user.read(task) == task


@pytest.mark.parametrize("description", params(INVALID_DESCRIPTIONS))
def test_a_description_is_text_of_at_most_1000_characters(user: User, description: object) -> None:
    task = user.create()
    assert_error(user.post({"title": "Buy bread", "description": description}), 422)
    assert_error(user.put(task, {"title": "kept out", "description": description}), 422)
    assert user.list().json() == [task]


@pytest.mark.parametrize("completed", params(INVALID_COMPLETED))
def test_completed_is_a_boolean(user: User, completed: object) -> None:
    task = user.create()
    assert_error(user.post({"title": "Buy bread", "completed": completed}), 422)
    assert_error(user.put(task, {"title": "kept out", "completed": completed}), 422)
    assert_error(user.complete(task, {"completed": completed}), 422)
    assert user.list().json() == [task]


def test_completed_null_is_never_stored(user: User) -> None:
    # The contract does not say whether null counts as absent. It must not become a third value.
    task = user.create(completed=True)
    put = user.put(task, {"completed": None})
    assert put.status_code == 200 or assert_error(put, 422)
    post = user.post({"title": "Buy bread", "completed": None})
    assert post.status_code == 201 or assert_error(post, 422)
    assert_error(user.complete(task, {"completed": None}), 422)
    assert user.read(task)["completed"] is True
    assert {entry["completed"] for entry in user.list().json()} <= {True, False}


def test_complete_with_an_object_without_completed_toggles_or_is_rejected(user: User) -> None:
    task = user.create()
    for body in ({}, {"done": True}):
        before = user.read(task)["completed"]
        response = user.complete(task, body)
        assert response.status_code == 200 or assert_error(response, 422)
        assert user.read(task)["completed"] is (before != response.is_success)


@pytest.mark.parametrize("length", [1, 2, 199, 200])
@pytest.mark.parametrize("character", ["x", "ä", "\N{BROOM}"])
def test_lengths_count_characters(user: User, character: str, length: int) -> None:
    task = user.create(character * length, description=character * length * 5)
    assert_task(task)
    assert task["title"] == character * length
    assert task["description"] == character * length * 5
    assert user.read(task) == task


@pytest.mark.parametrize("padding", [" ", "   ", "\t", "\n", " \r\n\t "])
def test_a_title_is_trimmed_before_its_length_is_checked(user: User, padding: str) -> None:
    for title in ("Buy milk", "x" * 200):
        task = user.create(f"{padding}{title}{padding}")
        assert task["title"] == title
        assert user.put(task, {"title": f"{padding}new{padding}"}).json()["title"] == "new"
        assert user.read(task)["title"] == "new"


def test_spaces_inside_a_title_are_kept(user: User) -> None:
    assert user.create("  Buy  the   milk ")["title"] == "Buy  the   milk"


@pytest.mark.parametrize("description", ["", " ", "  two\n lines \n", "x" * 1000, None])
def test_a_description_is_stored_unchanged(user: User, description: str | None) -> None:
    task = user.create(description=description)
    assert task["description"] == description
    other = user.create(description="other")
    assert user.put(other, {"description": description}).json()["description"] == description
    assert user.read(other)["description"] == description


@pytest.mark.parametrize("text", params(TEXTS))
def test_any_other_unicode_text_is_stored_unchanged(user: User, text: str) -> None:
    task = user.create(text, description=text)
    assert (task["title"], task["description"]) == (text, text)
    assert user.read(task) == task
    assert user.list().json() == [task]
    other = user.create("other")
    changed = user.put(other, {"title": text, "description": text}).json()
    assert (changed["title"], changed["description"]) == (text, text)


def test_escaped_and_plain_json_strings_are_equal(user: User) -> None:
    response = user.post(
        content=rb'{"title": "\ud83e\uddf9 \u00e4\u002f\/"}',
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 201
    assert response.json()["title"] == "\N{BROOM} ä//"


@pytest.mark.parametrize("escape", params(SURROGATES))
@pytest.mark.parametrize("field", ["title", "description"])
def test_a_lone_surrogate_is_rejected(user: User, field: str, escape: bytes) -> None:
    task = user.create()
    body = b'{"title": "Buy bread", "%b": "a%bb"}' % (field.encode(), escape)
    if field == "title":
        body = b'{"title": "a%bb"}' % escape
    headers = {"Content-Type": "application/json"}
    assert_error(user.post(content=body, headers=headers), 422)
    assert_error(user.put(task, content=body, headers=headers), 422)
    assert user.list().json() == [task]


@pytest.mark.parametrize(
    "extra",
    params(
        {
            "ignored text": b'"category": "home"',
            "ignored object": b'"subtasks": {"a": [1, null, true]}',
            "ignored huge float": b'"due": 1e308',
        }
    ),
)
def test_unknown_fields_are_ignored(user: User, extra: bytes) -> None:
    body = b'{"title": "Buy milk", %b}' % extra
    response = user.post(content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 201
    assert_task(response.json())


@pytest.mark.parametrize(
    "extra",
    params(
        {
            "NUL in an ignored field": rb'"note": "\u0000"',
            "NUL in an ignored name": rb'"no\u0000te": 1',
            "surrogate in an ignored field": rb'"note": "\ud800"',
            "surrogate in an ignored name": rb'"\ud800": 1',
            "overflowing float": b'"due": 1e999',
            "5000 digits": b'"due": ' + b"9" * 5000,
            "15000 deep": b'"due": ' + b"[" * 15000 + b"]" * 15000,
        }
    ),
)
def test_unusual_values_of_unknown_fields_are_ignored_or_rejected(user: User, extra: bytes) -> None:
    body = b'{"title": "Buy milk", %b}' % extra
    response = user.post(content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 201 or assert_error(response, 422)
    assert len(user.list().json()) == (1 if response.status_code == 201 else 0)


@pytest.mark.parametrize("value", ["a good value", None, [], {"a": 1}], ids=str)
def test_fields_that_clients_may_not_set_are_ignored(
    user: User, other_user: User, value: object
) -> None:
    theirs = other_user.create("theirs")
    forged = {
        "id": theirs["id"] if value == "a good value" else value,
        "user_id": other_user.id if value == "a good value" else value,
        "created_at": "2001-01-01T00:00:00Z" if value == "a good value" else value,
        "updated_at": "2001-01-01T00:00:00Z" if value == "a good value" else value,
        "completed_at": "2001-01-01T00:00:00Z" if value == "a good value" else value,
    }
    task = user.create("mine", **forged)
    assert_task(task)
    assert task["id"] != theirs["id"]
    assert task["user_id"] == user.id
    assert task["created_at"] > "2020"
    assert task["updated_at"] > "2020"

    unchanged = user.put(task, forged)
    assert unchanged.status_code == 200
    assert unchanged.json() == task
    changed = user.put(task, {**forged, "title": "renamed"}).json()
    assert changed == {**task, "title": "renamed", "updated_at": changed["updated_at"]}
    toggled = user.complete(task, {**forged, "completed": True}).json()
    at = toggled["updated_at"]
    assert toggled == {**changed, "completed": True, "completed_at": at, "updated_at": at}
    assert toggled["updated_at"] > task["updated_at"]
    assert other_user.list().json() == [theirs]
