"""ETags, preconditions and parallel requests: no change is lost or applied twice."""

from collections import Counter
from itertools import pairwise

import httpx2
import pytest

from tests.contract.responses import assert_error, etag, parse_timestamp
from tests.contract.users import Task, User, in_parallel

CHANGES = {
    "PUT": lambda user, task, **headers: user.put(task, {"title": "changed"}, headers=headers),
    "PATCH toggle": lambda user, task, **headers: user.complete(task, headers=headers),
    "PATCH set": lambda user, task, **headers: user.complete(
        task, {"completed": True}, headers=headers
    ),
    "DELETE": lambda user, task, **headers: user.delete(task, headers=headers),
}


def change(user: User, kind: str, task: Task | int, if_match: str) -> httpx2.Response:
    return CHANGES[kind](user, task, **{"If-Match": if_match})


def tag_of(user: User, task: Task) -> str:
    return etag(user.get(task))


def stale_tag(user: User, task: Task) -> str:
    """The tag that this task had before its last change."""
    tag = tag_of(user, task)
    assert user.put(task, {"description": "newer"}).status_code == 200
    return tag


# Tags


def test_every_response_about_one_task_has_its_strong_tag(user: User) -> None:
    created = user.post({"title": "Buy milk"})
    task = created.json()
    assert etag(created) == tag_of(user, task)
    for kind in ("PUT", "PATCH toggle", "PATCH set"):
        response = CHANGES[kind](user, task)
        assert etag(response) == tag_of(user, task)
    assert etag(user.put(task, {})) == tag_of(user, task)


def test_every_change_makes_a_new_tag(user: User) -> None:
    task = user.create(description="Two litres")
    tags = [
        tag_of(user, task),
        etag(user.put(task, {"title": "Buy bread"})),
        etag(user.put(task, {"title": "Buy milk"})),
        etag(user.put(task, {"description": None})),
        etag(user.complete(task)),
        etag(user.complete(task)),
        etag(user.complete(task, {"completed": True})),
    ]
    assert len(set(tags)) == len(tags), "a return to an old value is a change too"


def test_reading_keeps_the_tag(user: User) -> None:
    task = user.create()
    assert len({tag_of(user, task) for _ in range(3)}) == 1


# If-None-Match


@pytest.mark.parametrize("shape", ["{}", '"other", {}', '{}, W/"other"', "W/{}", '"a",W/{}', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_current_tag_is_304_without_a_body(user: User, method: str, shape: str) -> None:
    task = user.create()
    tag = tag_of(user, task)
    response = user.send(method, user.url_of(task), headers={"If-None-Match": shape.format(tag)})
    assert response.status_code == 304
    assert response.content == b""
    assert etag(response) == tag


def test_an_old_or_unknown_tag_returns_the_task(user: User) -> None:
    task = user.create()
    old = stale_tag(user, task)
    for tag in (old, f"W/{old}", f'{old}, "other"', '""', '"other"', '"*"'):
        response = user.get(task, headers={"If-None-Match": tag})
        assert response.status_code == 200
        assert response.json()["description"] == "newer"


@pytest.mark.parametrize("malformed", ["", "other", '"', '"open', ",,,", "W/", "é", "x" * 5000])
def test_a_malformed_if_none_match_returns_the_task_or_is_refused(
    user: User, malformed: str
) -> None:
    task = user.create()
    response = user.get(task, headers={"If-None-Match": malformed.encode()})
    assert (response.status_code == 200 and response.json() == task) or assert_error(
        response, 400, 422
    )


def test_if_none_match_on_a_missing_task_is_404(user: User) -> None:
    for tag in ("*", '"other"'):
        assert_error(user.get(2**62, headers={"If-None-Match": tag}), 404)


# If-Match


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize(
    "shape",
    # RFC 9110, section 5.6.1.2: empty elements of a list are ignored.
    ["{}", '"other", {}', '{},"other"', 'W/"other", {}', "*", "{},", ", ,{}", '"other",,\t,{} ,'],
)
def test_a_change_with_the_current_tag_succeeds(user: User, kind: str, shape: str) -> None:
    task = user.create()
    response = change(user, kind, task, shape.format(tag_of(user, task)))
    assert response.status_code == (204 if kind == "DELETE" else 200)
    if kind == "DELETE":
        assert_error(user.get(task), 404)
    else:
        assert response.json() == user.read(task) != task


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("shape", ["{}", '"other"', '{}, "other"', '""', '"*"'])
def test_a_stale_tag_is_412_and_changes_nothing(user: User, kind: str, shape: str) -> None:
    task = user.create()
    old = stale_tag(user, task)
    before = user.read(task)
    assert_error(change(user, kind, task, shape.format(old)), 412)
    assert user.read(task) == before


@pytest.mark.parametrize("kind", CHANGES)
def test_a_weak_tag_never_matches(user: User, kind: str) -> None:
    # If-Match uses strong comparison (RFC 9110, 13.1.1), so the text alone is not enough.
    task = user.create()
    assert_error(change(user, kind, task, f"W/{tag_of(user, task)}"), 412)
    assert user.read(task) == task


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("malformed", ["other", '"open', ",,,", "W/", "é", "x" * 5000])
def test_a_malformed_if_match_is_refused_and_changes_nothing(
    user: User, kind: str, malformed: str
) -> None:
    task = user.create()
    response = CHANGES[kind](user, task, **{"If-Match": malformed.encode()})
    assert_error(response, 400, 412, 422)
    assert user.read(task) == task


def test_tags_in_several_headers_are_one_list(user: User) -> None:
    # Gateways join repeated headers, which must not change the meaning of a request.
    task = user.create()
    tag = tag_of(user, task)
    for first, second in ((tag, '"other"'), ('"other"', tag)):
        headers = [*user.headers.items(), ("If-None-Match", first), ("If-None-Match", second)]
        assert user.client.get(user.url_of(task), headers=headers).status_code == 304
        headers = [*user.headers.items(), ("If-Match", first), ("If-Match", second)]
        assert user.client.put(user.url_of(task), headers=headers, json={}).status_code == 200


def test_a_stale_tag_is_412_even_for_a_change_without_effect(user: User) -> None:
    task = user.create()
    old = stale_tag(user, task)
    assert_error(user.put(task, {}, headers={"If-Match": old}), 412)
    assert_error(user.complete(task, {"completed": False}, headers={"If-Match": old}), 412)


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("tag", ["*", '"other"'])
def test_if_match_gets_the_same_response_for_missing_and_another_users_tasks(
    user: User, other_user: User, kind: str, tag: str
) -> None:
    theirs = other_user.create()
    responses = [change(user, kind, task_id, tag) for task_id in (theirs["id"], 2**62)]
    for response in responses:
        assert_error(response, 404, 412)
    assert responses[0].status_code == responses[1].status_code
    assert responses[0].content == responses[1].content
    assert other_user.read(theirs) == theirs


def test_the_tag_of_each_response_works_for_the_next_change(user: User) -> None:
    response = user.post({"title": "Buy milk"})
    task = response.json()
    for number in range(5):
        response = user.put(task, {"title": f"{number}"}, headers={"If-Match": etag(response)})
        assert response.status_code == 200
        response = user.complete(task, headers={"If-Match": etag(response)})
        assert response.status_code == 200
    assert user.delete(task, headers={"If-Match": etag(response)}).status_code == 204


# Parallel requests


def test_none_of_40_parallel_toggles_is_lost(user: User) -> None:
    task = user.create()
    responses = in_parallel(40, lambda _: user.complete(task))
    assert [response.status_code for response in responses] == [200] * 40
    assert Counter(response.json()["completed"] for response in responses) == {True: 20, False: 20}
    assert len({etag(response) for response in responses}) == 40
    assert user.read(task)["completed"] is False
    ordered = sorted(
        (response.json() for response in responses), key=lambda task: task["updated_at"]
    )
    timestamps = [parse_timestamp(task["updated_at"]) for task in ordered]
    assert all(earlier < later for earlier, later in pairwise(timestamps))
    assert [task["completed"] for task in ordered] == [True, False] * 20


def test_41_parallel_toggles_complete_an_open_task(user: User) -> None:
    task = user.create()
    in_parallel(41, lambda _: user.complete(task))
    assert user.read(task)["completed"] is True


def test_parallel_changes_of_different_fields_are_all_kept(user: User) -> None:
    task = user.create()
    changes = [{"title": "changed"}, {"description": "changed"}, {"completed": True}]
    responses = in_parallel(12, lambda number: user.put(task, changes[number % 3]))
    assert [response.status_code for response in responses] == [200] * 12
    changed = user.read(task)
    assert (changed["title"], changed["description"]) == ("changed", "changed")
    assert changed["completed"] is True


def test_of_parallel_puts_with_the_same_tag_exactly_one_succeeds(user: User) -> None:
    task = user.create()
    tag = tag_of(user, task)
    responses = in_parallel(
        12, lambda number: user.put(task, {"title": f"{number}"}, headers={"If-Match": tag})
    )
    assert Counter(response.status_code for response in responses) == {200: 1, 412: 11}
    (succeeded,) = [response for response in responses if response.status_code == 200]
    assert user.read(task) == succeeded.json()
    for response in responses:
        if response is not succeeded:
            assert_error(response, 412)


def test_of_parallel_changes_of_every_kind_with_the_same_tag_exactly_one_succeeds(
    user: User,
) -> None:
    task = user.create()
    tag = tag_of(user, task)
    kinds = list(CHANGES) * 3
    responses = in_parallel(len(kinds), lambda number: change(user, kinds[number], task, tag))
    assert sum(response.is_success for response in responses) == 1
    assert {response.status_code for response in responses if not response.is_success} <= {404, 412}


def test_parallel_increments_with_if_match_are_all_counted(user: User) -> None:
    task = user.create("0")

    def count_up(_: int) -> None:
        for _ in range(200):
            now = user.get(task)
            title = str(int(now.json()["title"]) + 1)
            response = user.put(task, {"title": title}, headers={"If-Match": etag(now)})
            if response.status_code == 200:
                return
            assert_error(response, 412)
        raise AssertionError("no attempt succeeded")

    in_parallel(8, count_up)
    assert user.read(task)["title"] == "8"


def test_of_parallel_deletes_exactly_one_succeeds(user: User) -> None:
    task = user.create()
    responses = in_parallel(10, lambda _: user.delete(task))
    assert Counter(response.status_code for response in responses) == {204: 1, 404: 9}


def test_a_delete_among_parallel_changes_is_final(user: User) -> None:
    task = user.create()

    def step(number: int) -> httpx2.Response:
        return user.delete(task) if number == 5 else user.complete(task)

    responses = in_parallel(12, step)
    assert responses[5].status_code == 204
    assert {response.status_code for response in responses} <= {200, 204, 404}
    assert_error(user.get(task), 404)
    assert user.list().json() == []


# Tags of other forms


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize(
    "shape",
    ['"1"', '"01"', '"0001"', '"a,{}",b"', '"{}', '{}"', "{0} {0}", '{} x"y"', '"x" {}'],
)
def test_tags_are_compared_as_text_and_a_malformed_list_matches_nothing(
    user: User, kind: str, shape: str
) -> None:
    task = user.create()
    tag = tag_of(user, task)
    if "{}" in shape and shape.count('"') == 1:
        tag = tag.strip('"')
    response = change(user, kind, task, shape.format(tag))
    assert_error(response, 412)
    assert user.read(task) == task


def test_a_change_with_if_none_match_star_is_412_or_404(user: User) -> None:
    """RFC 9110, section 13.1.2: the condition is false where the task exists."""
    task = user.create()
    for make_change in CHANGES.values():
        assert_error(make_change(user, task, **{"If-None-Match": "*"}), 412)
        assert_error(make_change(user, 2**62, **{"If-None-Match": "*"}), 404)
    assert user.read(task) == task


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_with_if_none_match_succeeds_only_for_other_tags(user: User, kind: str) -> None:
    task = user.create()
    tag = tag_of(user, task)
    for shape in ("{}", '"x", {}', "W/{}", "{},", ',, "x",,{}'):
        header = {"If-None-Match": shape.format(tag)}
        assert_error(CHANGES[kind](user, task, **header), 412)
    assert user.read(task) == task
    both = {"If-Match": tag, "If-None-Match": '"x"'}
    assert CHANGES[kind](user, task, **both).is_success


def test_identical_tasks_have_different_tags(user: User, other_user: User) -> None:
    """The fields set by clients do not determine the tag: a restored database may repeat them."""
    tags = {
        tag_of(each, each.create("Same title")) for each in (user, other_user, user, other_user)
    }
    assert len(tags) == 4
