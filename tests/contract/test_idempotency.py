"""Idempotency-Key on POST and PATCH: one effect and one response for each key."""

import uuid
from collections import Counter

import httpx2
import pytest

from tests.contract.responses import assert_error, assert_task, etag
from tests.contract.users import User, in_parallel

BAD_KEYS = {
    "empty": b"",
    "256 characters": b"k" * 256,
    "5000 characters": b"k" * 5000,
    "blank inside": b"two words",
    "tab inside": b"two\twords",
    "not ASCII": "clé".encode(),
    "Latin-1": b"cl\xe9",
}
GOOD_KEYS = ["k", "k" * 255, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", str(uuid.UUID(int=7)), "0"]
REPLAYED = ("Location", "ETag", "Content-Type")


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def assert_replay(again: httpx2.Response, first: httpx2.Response) -> None:
    """Assert the same response: status, body and the headers about the task."""
    assert again.status_code == first.status_code
    assert again.content == first.content
    assert [again.headers.get(name) for name in REPLAYED] == [
        first.headers.get(name) for name in REPLAYED
    ]


# One effect


def test_a_repeated_create_gets_the_first_response_and_creates_one_task(user: User) -> None:
    key, body = new_key(), {"title": "Buy milk", "description": "Zwei Liter für 3 €"}
    first = user.post(body, headers=key)
    assert first.status_code == 201
    assert_task(first.json())
    for _ in range(3):
        assert_replay(user.post(body, headers=key), first)
    assert user.list().json() == [first.json()]


@pytest.mark.parametrize("body", [None, {"completed": True}, {"completed": False}], ids=str)
def test_a_repeated_complete_gets_the_first_response_and_has_one_effect(
    user: User, body: dict[str, bool] | None
) -> None:
    task, key = user.create(), new_key()
    first = user.complete(task, body, headers=key)
    assert first.status_code == 200
    for _ in range(3):
        assert_replay(user.complete(task, body, headers=key), first)
    assert user.read(task) == first.json()


def test_without_a_key_every_request_takes_effect(user: User) -> None:
    first, second = user.post({"title": "same"}), user.post({"title": "same"})
    assert first.json()["id"] != second.json()["id"]
    assert user.titles() == ["same", "same"]


def test_another_key_is_another_request(user: User) -> None:
    first = user.post({"title": "same"}, headers=new_key())
    second = user.post({"title": "same"}, headers=new_key())
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]
    assert [user.complete(first.json(), headers=new_key()).json()["completed"] for _ in "ab"] == [
        True,
        False,
    ]


def test_keys_differ_by_case(user: User) -> None:
    user.post({"title": "upper"}, headers={"Idempotency-Key": "KEY"})
    assert user.post({"title": "lower"}, headers={"Idempotency-Key": "key"}).status_code == 201


def test_a_replay_is_the_recorded_response_despite_later_changes(user: User) -> None:
    key = new_key()
    first = user.post({"title": "Buy milk"}, headers=key)
    task = first.json()
    toggle_key = new_key()
    toggled = user.complete(task, headers=toggle_key)
    user.put(task, {"title": "renamed", "completed": False})
    now = user.read(task)
    assert_replay(user.post({"title": "Buy milk"}, headers=key), first)
    assert_replay(user.complete(task, headers=toggle_key), toggled)
    assert user.read(task) == now


def test_a_trailing_slash_does_not_make_it_another_request(user: User) -> None:
    key = new_key()
    first = user.post({"title": "Buy milk"}, headers=key)
    again = user.send("POST", f"{user.url}/", json={"title": "Buy milk"}, headers=key)
    assert_replay(again, first)
    assert len(user.list().json()) == 1


def test_a_late_repeat_does_not_restore_a_deleted_task(user: User) -> None:
    key = new_key()
    first = user.post({"title": "Buy milk"}, headers=key)
    assert user.delete(first.json()).status_code == 204
    assert_replay(user.post({"title": "Buy milk"}, headers=key), first)
    assert user.list().json() == []
    assert_error(user.get(first.json()), 404)


def test_a_late_repeat_of_a_toggle_does_not_restore_a_deleted_task(user: User) -> None:
    # Two rules apply: a repeat gets the first response, and a deleted task is 404.
    task, key = user.create(), new_key()
    first = user.complete(task, headers=key)
    user.delete(task)
    again = user.complete(task, headers=key)
    if again.status_code == 200:
        assert_replay(again, first)
    else:
        assert_error(again, 404)
    assert user.list().json() == []


# In parallel


def test_ten_parallel_creates_with_one_key_create_one_task(user: User) -> None:
    user.create("creates the row of the user")
    key = new_key()
    responses = in_parallel(10, lambda _: user.post({"title": "Buy milk"}, headers=key))
    assert responses[0].status_code == 201
    for response in responses:
        assert_replay(response, responses[0])
    assert user.titles().count("Buy milk") == 1


def test_ten_parallel_first_creates_of_a_user_with_one_key_create_one_task(user: User) -> None:
    key = new_key()
    responses = in_parallel(10, lambda _: user.post({"title": "Buy milk"}, headers=key))
    assert responses[0].status_code == 201
    for response in responses:
        assert_replay(response, responses[0])
    assert user.list().json() == [responses[0].json()]


def test_ten_parallel_toggles_with_one_key_toggle_once(user: User) -> None:
    task, key = user.create(), new_key()
    responses = in_parallel(10, lambda _: user.complete(task, headers=key))
    assert responses[0].status_code == 200
    for response in responses:
        assert_replay(response, responses[0])
    assert responses[0].json()["completed"] is True
    assert user.read(task) == responses[0].json()


def test_eleven_parallel_toggles_each_sent_twice_toggle_eleven_times(user: User) -> None:
    task = user.create()
    keys = [new_key() for _ in range(11)]
    responses = in_parallel(22, lambda number: user.complete(task, headers=keys[number // 2]))
    assert {response.status_code for response in responses} == {200}
    for number in range(11):
        assert_replay(responses[2 * number + 1], responses[2 * number])
    assert len({etag(response) for response in responses}) == 11
    assert user.read(task)["completed"] is True


def test_of_different_parallel_creates_with_one_key_exactly_one_succeeds(user: User) -> None:
    key = new_key()
    responses = in_parallel(8, lambda number: user.post({"title": f"{number}"}, headers=key))
    assert Counter(response.status_code for response in responses) == {201: 1, 422: 7}
    (succeeded,) = [response for response in responses if response.status_code == 201]
    assert user.list().json() == [succeeded.json()]


def test_one_key_for_two_tasks_in_parallel_completes_exactly_one(user: User) -> None:
    tasks, key = [user.create("one"), user.create("two")], new_key()
    responses = in_parallel(8, lambda number: user.complete(tasks[number % 2], headers=key))
    assert Counter(response.status_code for response in responses) == {200: 4, 422: 4}
    assert len(user.list(status="completed").json()) == 1


# The same key with another request


@pytest.mark.parametrize(
    "other",
    [
        {"title": "Buy bread"},
        {"title": "Buy milk", "description": "Two litres"},
        {"title": "Buy milk", "completed": True},
    ],
    ids="+".join,
)
def test_a_key_with_another_body_is_422_and_creates_nothing(
    user: User, other: dict[str, object]
) -> None:
    key = new_key()
    first = user.post({"title": "Buy milk"}, headers=key)
    assert_error(user.post(other, headers=key), 422)
    assert user.list().json() == [first.json()]
    assert_replay(user.post({"title": "Buy milk"}, headers=key), first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (None, {"completed": True}),
        ({"completed": True}, None),
        ({"completed": True}, {"completed": False}),
    ],
)
def test_a_key_with_another_completion_is_422_and_changes_nothing(
    user: User, first: dict[str, bool] | None, second: dict[str, bool] | None
) -> None:
    task, key = user.create(), new_key()
    done = user.complete(task, first, headers=key)
    assert_error(user.complete(task, second, headers=key), 422)
    assert user.read(task) == done.json()


def test_a_key_for_another_task_is_422_and_does_not_change_it(user: User) -> None:
    one, two, key = user.create("one"), user.create("two"), new_key()
    assert user.complete(one, headers=key).status_code == 200
    assert_error(user.complete(two, headers=key), 422)
    assert user.read(two) == two


def test_a_key_of_a_create_is_422_for_a_toggle_and_vice_versa(user: User) -> None:
    key, other = new_key(), new_key()
    task = user.post({"title": "Buy milk"}, headers=key).json()
    assert_error(user.complete(task, headers=key), 422)
    assert user.read(task) == task
    user.complete(task, headers=other)
    assert_error(user.post({"title": "Buy bread"}, headers=other), 422)
    assert user.titles() == ["Buy milk"]


def test_the_same_json_in_other_bytes_never_creates_a_second_task(
    user: User,
) -> None:
    key, headers = new_key(), {"Content-Type": "application/json"}
    first = user.post(content=b'{"title": "Buy milk"}', headers={**headers, **key})
    again = user.post(content=b'{ "title":"Buy milk" }', headers={**headers, **key})
    if again.status_code == 201:
        assert_replay(again, first)
    else:
        assert_error(again, 422)
    assert user.list().json() == [first.json()]


# Keys of different users


def test_keys_belong_to_a_user(user: User, other_user: User) -> None:
    key = new_key()
    mine = user.post({"title": "same"}, headers=key)
    theirs = other_user.post({"title": "same"}, headers=key)
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["id"] != theirs.json()["id"]
    assert theirs.json()["user_id"] == other_user.id
    other = other_user.post({"title": "other"}, headers=new_key())
    assert other.status_code == 201
    assert user.list().json() == [mine.json()]


def test_a_key_of_another_user_gives_no_replay(user: User, other_user: User) -> None:
    key = new_key()
    task = user.create("secret")
    user.complete(task, headers=key)
    assert_error(other_user.complete(task, headers=key), 404)
    response = other_user.send("PATCH", user.url_of(task) + "/complete", headers=key)
    assert_error(response, 403)


# Requests that leave a key unused


def test_a_rejected_body_leaves_the_key_unused(user: User) -> None:
    key = new_key()
    json_type = {"Content-Type": "application/json", **key}
    assert_error(user.post({"title": ""}, headers=key), 422)
    assert_error(user.post(content=b"{", headers=json_type), 422)
    assert_error(user.post(content=b"<a/>", headers={**key, "Content-Type": "text/xml"}), 415)
    assert_error(user.post({"title": "x", "description": "y" * 70_000}, headers=key), 413)
    assert user.post({"title": "Buy milk"}, headers=key).status_code == 201
    assert user.titles() == ["Buy milk"]


def test_a_missing_task_leaves_the_key_unused(user: User, other_user: User) -> None:
    task, key = user.create(), new_key()
    assert_error(user.complete(2**62, headers=key), 404)
    assert_error(user.complete(other_user.create(), headers=key), 404)
    assert user.complete(task, headers=key).json()["completed"] is True


def test_a_stale_tag_leaves_the_key_unused(user: User) -> None:
    task, key = user.create(), new_key()
    assert_error(user.complete(task, headers={**key, "If-Match": '"stale"'}), 412)
    assert user.read(task) == task
    response = user.complete(task, headers={**key, "If-Match": etag(user.get(task))})
    assert response.status_code == 200
    assert user.read(task)["completed"] is True


def test_a_client_without_access_leaves_the_key_unused(user: User, other_user: User) -> None:
    key = new_key()
    no_token = user.client.post(user.url, json={"title": "Buy milk"}, headers=key)
    assert_error(no_token, 401)
    assert_error(other_user.send("POST", user.url, json={"title": "Buy milk"}, headers=key), 403)
    assert user.post({"title": "Buy milk"}, headers=key).status_code == 201


def test_a_repeat_with_if_match_is_a_replay_despite_its_stale_tag(user: User) -> None:
    # A client that received no response repeats the tag, which its first request made stale.
    task = user.create()
    headers = {**new_key(), "If-Match": etag(user.get(task))}
    first = user.complete(task, headers=headers)
    assert first.status_code == 200
    assert_replay(user.complete(task, headers=headers), first)
    assert user.read(task) == first.json()


CONDITIONS = {
    "If-Match of the task": {"If-Match": "{etag}"},
    "If-Match of the task or another": {"If-Match": '{etag}, "other"'},
    "If-Match *": {"If-Match": "*"},
    "If-None-Match": {"If-None-Match": '"other"'},
    "both": {"If-Match": "*", "If-None-Match": '"other"'},
    "none": {},
}


@pytest.mark.parametrize("first", CONDITIONS)
def test_another_condition_with_the_same_key_is_another_request(user: User, first: str) -> None:
    task = user.create()
    tag, key = etag(user.get(task)), new_key()
    headers = {
        case: {name: value.format(etag=tag) for name, value in condition.items()} | key
        for case, condition in CONDITIONS.items()
    }
    response = user.complete(task, headers=headers[first])
    assert response.status_code == 200
    assert_replay(user.complete(task, headers=headers[first]), response)
    for other in CONDITIONS.keys() - {first}:
        assert_error(user.complete(task, headers=headers[other]), 422)
    assert user.read(task) == response.json()


def test_another_tag_in_if_none_match_is_not_one_in_if_match(user: User) -> None:
    task, key = user.create(), new_key()
    response = user.complete(task, headers={**key, "If-None-Match": '"other"'})
    assert response.status_code == 200
    assert_error(user.complete(task, headers={**key, "If-Match": '"other"'}), 422)


# The form of a key


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_bad_key_is_422_and_changes_nothing(user: User, key: bytes) -> None:
    task, headers = user.create(), {"Idempotency-Key": key}
    assert_error(user.post({"title": "Buy bread"}, headers=headers), 422)
    assert_error(user.complete(task, headers=headers), 422)
    assert user.list().json() == [task]


@pytest.mark.parametrize("key", GOOD_KEYS, ids=["1", "255", "punctuation", "UUID", "zero"])
def test_any_visible_ascii_of_1_to_255_characters_is_a_key(user: User, key: str) -> None:
    headers = {"Idempotency-Key": key}
    first = user.post({"title": "Buy milk"}, headers=headers)
    assert first.status_code == 201
    assert_replay(user.post({"title": "Buy milk"}, headers=headers), first)
    assert user.list().json() == [first.json()]


def test_a_bad_key_without_a_token_is_401(user: User) -> None:
    response = user.client.post(
        user.url, json={"title": "Buy milk"}, headers={"Idempotency-Key": "two words"}
    )
    assert_error(response, 401)
