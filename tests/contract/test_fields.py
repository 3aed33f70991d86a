"""Priority, due date, tags and completed_at."""

from itertools import pairwise
from typing import Any

import pytest

from tests.contract.responses import assert_error, assert_task, etag, parse_timestamp
from tests.contract.users import User

NEW: dict[str, Any] = {
    "priority": "high",
    "due_date": "2026-12-24",
    "tags": ["home", "errands"],
}


@pytest.mark.parametrize(
    ("field", "default"), [("priority", None), ("due_date", None), ("tags", [])]
)
def test_a_field_is_stored_cleared_and_has_a_default(
    user: User, field: str, default: object
) -> None:
    task = user.create(**NEW)
    assert_task(task)
    assert {name: task[name] for name in NEW} == NEW
    assert user.read(task) == task
    assert user.list().json() == [task]
    cleared = user.put(task, {field: default}).json()
    assert cleared == {**task, field: default, "updated_at": cleared["updated_at"]}
    assert user.create("Other")[field] == default


@pytest.mark.parametrize("change", [{"priority": "low"}, {"due_date": None}, {"tags": ["home"]}])
def test_each_change_moves_updated_at_and_the_etag(user: User, change: dict[str, Any]) -> None:
    before = user.get(user.create(**NEW))
    changed = user.put(before.json(), change)
    assert etag(changed) != etag(before)
    later, earlier = changed.json()["updated_at"], before.json()["updated_at"]
    assert parse_timestamp(later) > parse_timestamp(earlier)
    again = user.put(before.json(), change)
    assert again.json() == changed.json()
    assert etag(again) == etag(changed)


def test_the_whole_task_sent_back_changes_nothing(user: User) -> None:
    for task in (user.create(**NEW), user.create(**NEW, completed=True), user.create()):
        assert user.put(task, task).json() == task


@pytest.mark.parametrize(
    ("sent", "stored"),
    [("HIGH", "high"), ("Urgent", "urgent"), ("mEdIuM", "medium"), ("", None), (None, None)],
)
def test_priorities_in_any_case(user: User, sent: str | None, stored: str | None) -> None:
    task = user.create(priority=sent)
    assert task["priority"] == stored
    other = user.create(priority="low")
    assert user.put(other, {"priority": sent}).json()["priority"] == stored


@pytest.mark.parametrize("priority", ["highest", "none", 1, 3.0, True, [], ["high"], {}, " high"])
def test_an_unknown_priority_is_422(user: User, priority: object) -> None:
    assert_rejected(user, "priority", priority, "Priority must be")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("2026-12-24", "2026-12-24"),
        ("0001-01-01", "0001-01-01"),
        ("9999-12-31", "9999-12-31"),
        ("2028-02-29", "2028-02-29"),
        ("2026-12-24T18:30:00Z", "2026-12-24T18:30:00.000000Z"),
        ("2026-12-24T18:30:00.5Z", "2026-12-24T18:30:00.500000Z"),
        ("2026-12-24T18:30:00.000Z", "2026-12-24T18:30:00.000000Z"),
        ("2026-12-24T18:30:00+05:00", "2026-12-24T13:30:00.000000Z"),
        ("2026-12-24T00:30:00+05:00", "2026-12-23T19:30:00.000000Z"),
        ("2026-12-24T18:30+05:30", "2026-12-24T13:00:00.000000Z"),
        ("2026-12-24t18:30:00z", "2026-12-24T18:30:00.000000Z"),
        ("2026-12-24 18:30:00-0800", "2026-12-25T02:30:00.000000Z"),
        ("2026-12-24T00:00:00Z", "2026-12-24T00:00:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("", None),
        (None, None),
    ],
)
def test_a_date_stays_a_date_and_a_date_time_an_instant(
    user: User, sent: str | None, stored: str | None
) -> None:
    task = user.create(due_date=sent)
    assert task["due_date"] == stored
    assert user.read(task) == task
    assert user.put(task, {"due_date": stored}).json() == task
    other = user.create(due_date="2000-01-01")
    assert user.put(other, {"due_date": sent}).json()["due_date"] == stored


@pytest.mark.parametrize(
    "due_date",
    [
        *("2026-02-30", "2027-02-29", "2026-13-01", "2026-00-10", "0000-01-01", "10000-01-01"),
        *("2026-12-24T18:30:00", "2026-12-24T18:30", "2026-12-24T25:00:00Z"),
        *("2026-12-24T18:30:60Z", "2026-12-24T18:30:00+25:00", "2026-12-24T18Z"),
        *("0001-01-01T00:00:00+05:00", "9999-12-31T23:30:00-05:00"),
        *("20261224", "2026-W52-4", "24.12.2026", "2026-12", "2026-1-2", "tomorrow", "infinity"),
        *("2026-12-24\n", " 2026-12-24", "2026-12-24\0", "\u0662\u0660\u0662\u0666-12-24"),
        *(1798070400, 1798070400.5, True, [], ["2026-12-24"], {}),
    ],
    ids=repr,
)
def test_an_impossible_due_date_is_422(user: User, due_date: object) -> None:
    assert_rejected(user, "due_date", due_date, "Due date must ")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ([" home ", "\ufeffhome", "errands"], ["home", "errands"]),
        (["Home", "home", "HOME"], ["Home", "home", "HOME"]),
        (["b", "a", "b"], ["b", "a"]),
        ([f"tag {n % 20}" for n in range(41)], [f"tag {n}" for n in range(20)]),
        (["\N{BROOM}" * 50], ["\N{BROOM}" * 50]),
        (['a,b"c\\d{e}', "NULL", "null"], ['a,b"c\\d{e}', "NULL", "null"]),
        ([], []),
    ],
)
def test_tags_are_trimmed_once_each_and_in_their_order(
    user: User, sent: list[str], stored: list[str]
) -> None:
    task = user.create(tags=sent)
    assert task["tags"] == stored
    assert user.read(task) == task
    other = user.create(tags=["x"])
    assert user.put(other, {"tags": sent}).json()["tags"] == stored


def test_twenty_tags_of_fifty_emoji_are_stored_sorted_and_counted(user: User) -> None:
    tags = [chr(0x1F600 + n) * 50 for n in range(20)]
    task = user.create(tags=tags)
    assert task["tags"] == tags
    for sort in ("created", "updated", "title", "due_date", "priority"):
        assert user.list(sort=sort, tag=tags[7]).json() == [task]
    stats = user.send("GET", f"{user.url}/stats").json()
    assert stats["by_tag"] == dict.fromkeys(tags, 1)


@pytest.mark.parametrize(
    "tags",
    [
        None,
        "home",
        {"home": 1},
        [1],
        [None],
        [["home"]],
        [""],
        ["  "],
        ["\u200b"],
        ["x" * 51],
        ["\N{BROOM}" * 51],
        ["a\0b"],
        [f"tag {n}" for n in range(21)],
    ],
    ids=lambda tags: str(tags).encode("ascii", "backslashreplace").decode()[:40],
)
def test_impossible_tags_are_422(user: User, tags: object) -> None:
    assert_rejected(user, "tags", tags, "Tags must ")


@pytest.mark.parametrize("escape", [rb"\ud800", rb"a\udfff", rb"a\u0000"])
def test_a_tag_with_half_a_surrogate_pair_or_nul_is_422(user: User, escape: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    body = b'{"title": "x", "tags": ["home", "%b"]}' % escape
    assert_error(user.post(content=body, headers=headers), 422)
    assert user.list().json() == []


def assert_rejected(user: User, field: str, value: object, beginning: str) -> None:
    """A sentence for people, in the create, the update and a repeatable create; nothing changes."""
    task = user.create(**NEW)
    body = {"title": "Changed", field: value}
    key = {"Idempotency-Key": "rejected"}
    for response in (user.post(body), user.put(task, body), user.post(body, headers=key)):
        error = assert_error(response, 422)
        assert error["detail"].startswith(beginning), error["detail"]
        assert error["errors"][0]["loc"] == ["body", field]
    assert user.list().json() == [task]


def test_completed_at_is_the_time_of_the_last_completion(user: User) -> None:
    task = user.create()
    assert task["completed_at"] is None
    done = user.complete(task).json()
    assert done["completed_at"] == done["updated_at"]
    for unchanged in (
        user.complete(task, {"completed": True}),
        user.put(task, {"completed": True}),
        user.put(task, {"completed_at": "2001-01-01T00:00:00Z"}),
    ):
        assert unchanged.json() == done
    renamed = user.put(task, {"title": "Renamed"}).json()
    assert renamed["completed_at"] == done["completed_at"] < renamed["updated_at"]
    reopened = user.put(task, {"completed": False}).json()
    assert reopened["completed_at"] is None
    again = user.put(task, {"completed": True}).json()
    assert again["completed_at"] == again["updated_at"] > done["completed_at"]


def test_a_task_can_be_completed_from_the_beginning(user: User) -> None:
    key = {"Idempotency-Key": "completed"}
    for task in (user.create(completed=True), user.post({"title": "x", "completed": True}).json()):
        assert task["completed_at"] == task["created_at"] == task["updated_at"]
    once = user.post({"title": "Once", "completed": True, **NEW}, headers=key).json()
    assert once["completed_at"] == once["created_at"]
    assert user.read(once) == once


def test_the_record_of_an_idempotency_key_equals_the_task(user: User) -> None:
    created = user.post({"title": "x", **NEW}, headers={"Idempotency-Key": "create"})
    assert user.read(created.json()) == created.json()
    for number in range(3):
        key = {"Idempotency-Key": f"toggle {number}".replace(" ", "-")}
        toggled = user.complete(created.json(), headers=key)
        current = user.get(created.json())
        assert toggled.json() == current.json()
        assert etag(toggled) == etag(current)
        again = user.complete(created.json(), headers=key)
        assert (again.json(), etag(again)) == (toggled.json(), etag(toggled))


def test_the_same_fields_spelled_differently_are_another_request_only_if_they_differ(
    user: User,
) -> None:
    key = {"Idempotency-Key": "spelling"}
    first = user.post({"title": "x", "priority": "HIGH", "tags": [" a "]}, headers=key)
    same = user.post({"title": "x", "priority": "high", "tags": ["a"]}, headers=key)
    assert same.json() == first.json()
    for other in ({"priority": "high"}, {"priority": "high", "tags": ["a", "b"]}):
        assert_error(user.post({"title": "x", **other}, headers=key), 422)


def test_every_completion_is_later_than_the_one_before(user: User) -> None:
    task = user.create()
    times = []
    for _ in range(5):
        times.append(user.complete(task).json()["completed_at"])
        user.complete(task)
    assert all(earlier < later for earlier, later in pairwise(map(parse_timestamp, times)))
