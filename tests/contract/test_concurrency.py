"""Tags, preconditions, and many callers at once: nothing is lost, nothing is done twice."""

from collections import Counter
from itertools import pairwise

import httpx2
import pytest

from tests.contract.answers import assert_error, etag, moment
from tests.contract.caller import Task, User, at_once

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
    """A tag that was this task's own until a moment ago."""
    tag = tag_of(user, task)
    assert user.put(task, {"description": "newer"}).status_code == 200
    return tag


# Tags


def test_every_answer_about_one_task_has_its_strong_tag(user: User) -> None:
    created = user.post({"title": "Buy milk"})
    task = created.json()
    assert etag(created) == tag_of(user, task)
    for kind in ("PUT", "PATCH toggle", "PATCH set"):
        answer = CHANGES[kind](user, task)
        assert etag(answer) == tag_of(user, task)
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
    assert len(set(tags)) == len(tags), "going back to an old value is a change too"


def test_reading_keeps_the_tag(user: User) -> None:
    task = user.create()
    assert len({tag_of(user, task) for _ in range(3)}) == 1


# If-None-Match


@pytest.mark.parametrize("shape", ["{}", '"other", {}', '{}, W/"other"', "W/{}", '"a",W/{}', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_known_tag_answers_304_without_a_body(user: User, method: str, shape: str) -> None:
    task = user.create()
    tag = tag_of(user, task)
    answer = user.send(method, user.url_of(task), headers={"If-None-Match": shape.format(tag)})
    assert answer.status_code == 304
    assert answer.content == b""
    assert etag(answer) == tag


def test_an_old_or_unknown_tag_answers_the_task(user: User) -> None:
    task = user.create()
    old = stale_tag(user, task)
    for tag in (old, f"W/{old}", f'{old}, "other"', '""', '"other"', '"*"'):
        answer = user.get(task, headers={"If-None-Match": tag})
        assert answer.status_code == 200
        assert answer.json()["description"] == "newer"


@pytest.mark.parametrize("junk", ["", "other", '"', '"open', ",,,", "W/", "é", "x" * 5000])
def test_junk_as_if_none_match_answers_the_task_or_is_refused(user: User, junk: str) -> None:
    task = user.create()
    answer = user.get(task, headers={"If-None-Match": junk.encode()})
    assert (answer.status_code == 200 and answer.json() == task) or assert_error(answer, 400, 422)


def test_if_none_match_on_a_missing_task_is_404(user: User) -> None:
    for tag in ("*", '"other"'):
        assert_error(user.get(2**62, headers={"If-None-Match": tag}), 404)


# If-Match


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("shape", ["{}", '"other", {}', '{},"other"', 'W/"other", {}', "*"])
def test_the_current_tag_lets_a_change_through(user: User, kind: str, shape: str) -> None:
    task = user.create()
    answer = change(user, kind, task, shape.format(tag_of(user, task)))
    assert answer.status_code == (204 if kind == "DELETE" else 200)
    if kind == "DELETE":
        assert_error(user.get(task), 404)
    else:
        assert answer.json() == user.read(task) != task


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
    # If-Match compares strongly (RFC 9110, 13.1.1), even where the text is the current tag's.
    task = user.create()
    assert_error(change(user, kind, task, f"W/{tag_of(user, task)}"), 412)
    assert user.read(task) == task


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("junk", ["other", '"open', ",,,", "W/", "é", "x" * 5000])
def test_junk_as_if_match_is_refused_and_changes_nothing(user: User, kind: str, junk: str) -> None:
    task = user.create()
    answer = CHANGES[kind](user, task, **{"If-Match": junk.encode()})
    assert_error(answer, 400, 412, 422)
    assert user.read(task) == task


def test_tags_in_several_headers_are_one_list(user: User) -> None:
    # Gateways join repeated headers: what a client means must not depend on them.
    task = user.create()
    tag = tag_of(user, task)
    for first, second in ((tag, '"other"'), ('"other"', tag)):
        headers = [*user.headers.items(), ("If-None-Match", first), ("If-None-Match", second)]
        assert user.client.get(user.url_of(task), headers=headers).status_code == 304
        headers = [*user.headers.items(), ("If-Match", first), ("If-Match", second)]
        assert user.client.put(user.url_of(task), headers=headers, json={}).status_code == 200


def test_a_stale_tag_is_412_also_where_nothing_would_change(user: User) -> None:
    task = user.create()
    old = stale_tag(user, task)
    assert_error(user.put(task, {}, headers={"If-Match": old}), 412)
    assert_error(user.complete(task, {"completed": False}, headers={"If-Match": old}), 412)


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("tag", ["*", '"other"'])
def test_a_missing_task_and_a_strangers_look_the_same_with_if_match(
    user: User, stranger: User, kind: str, tag: str
) -> None:
    theirs = stranger.create()
    answers = [change(user, kind, task_id, tag) for task_id in (theirs["id"], 2**62)]
    for answer in answers:
        assert_error(answer, 404, 412)
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].content == answers[1].content
    assert stranger.read(theirs) == theirs


def test_the_tag_of_each_answer_is_the_key_to_the_next_change(user: User) -> None:
    answer = user.post({"title": "Buy milk"})
    task = answer.json()
    for number in range(5):
        answer = user.put(task, {"title": f"{number}"}, headers={"If-Match": etag(answer)})
        assert answer.status_code == 200
        answer = user.complete(task, headers={"If-Match": etag(answer)})
        assert answer.status_code == 200
    assert user.delete(task, headers={"If-Match": etag(answer)}).status_code == 204


# Many at once


def test_40_parallel_toggles_lose_none(user: User) -> None:
    task = user.create()
    answers = at_once(40, lambda _: user.complete(task))
    assert [answer.status_code for answer in answers] == [200] * 40
    assert Counter(answer.json()["completed"] for answer in answers) == {True: 20, False: 20}
    assert len({etag(answer) for answer in answers}) == 40
    assert user.read(task)["completed"] is False
    inorder = sorted((answer.json() for answer in answers), key=lambda task: task["updated_at"])
    moments = [moment(task["updated_at"]) for task in inorder]
    assert all(earlier < later for earlier, later in pairwise(moments))
    assert [task["completed"] for task in inorder] == [True, False] * 20


def test_41_parallel_toggles_end_on_the_other_side(user: User) -> None:
    task = user.create()
    at_once(41, lambda _: user.complete(task))
    assert user.read(task)["completed"] is True


def test_parallel_changes_of_different_fields_all_stay(user: User) -> None:
    task = user.create()
    changes = [{"title": "changed"}, {"description": "changed"}, {"completed": True}]
    answers = at_once(12, lambda number: user.put(task, changes[number % 3]))
    assert [answer.status_code for answer in answers] == [200] * 12
    changed = user.read(task)
    assert (changed["title"], changed["description"]) == ("changed", "changed")
    assert changed["completed"] is True


def test_of_parallel_puts_with_the_same_tag_exactly_one_wins(user: User) -> None:
    task = user.create()
    tag = tag_of(user, task)
    answers = at_once(
        12, lambda number: user.put(task, {"title": f"{number}"}, headers={"If-Match": tag})
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 11}
    (winner,) = [answer for answer in answers if answer.status_code == 200]
    assert user.read(task) == winner.json()
    for answer in answers:
        if answer is not winner:
            assert_error(answer, 412)


def test_of_parallel_changes_of_every_kind_with_the_same_tag_exactly_one_wins(user: User) -> None:
    task = user.create()
    tag = tag_of(user, task)
    kinds = list(CHANGES) * 3
    answers = at_once(len(kinds), lambda number: change(user, kinds[number], task, tag))
    assert sum(answer.is_success for answer in answers) == 1
    assert {answer.status_code for answer in answers if not answer.is_success} <= {404, 412}


def test_a_counter_under_if_match_counts_exactly(user: User) -> None:
    task = user.create("0")

    def count_up(_: int) -> None:
        for _ in range(200):
            now = user.get(task)
            title = str(int(now.json()["title"]) + 1)
            answer = user.put(task, {"title": title}, headers={"If-Match": etag(now)})
            if answer.status_code == 200:
                return
            assert_error(answer, 412)
        raise AssertionError("never had its turn")

    at_once(8, count_up)
    assert user.read(task)["title"] == "8"


def test_of_parallel_deletes_exactly_one_succeeds(user: User) -> None:
    task = user.create()
    answers = at_once(10, lambda _: user.delete(task))
    assert Counter(answer.status_code for answer in answers) == {204: 1, 404: 9}


def test_a_delete_among_changes_is_final(user: User) -> None:
    task = user.create()

    def step(number: int) -> httpx2.Response:
        return user.delete(task) if number == 5 else user.complete(task)

    answers = at_once(12, step)
    assert answers[5].status_code == 204
    assert {answer.status_code for answer in answers} <= {200, 204, 404}
    assert_error(user.get(task), 404)
    assert user.list().json() == []


# What looks like a tag and is not


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize(
    "shape",
    ['"1"', '"01"', '"0001"', '"a,{}",b"', '"{}', '{}"', "{0} {0}", '{} x"y"', '"x" {}'],
)
def test_a_tag_is_compared_as_characters_and_a_malformed_list_matches_nothing(
    user: User, kind: str, shape: str
) -> None:
    task = user.create()
    tag = tag_of(user, task)
    if "{}" in shape and shape.count('"') == 1:
        tag = tag.strip('"')
    answer = change(user, kind, task, shape.format(tag))
    assert_error(answer, 412)
    assert user.read(task) == task


def test_if_none_match_with_a_star_lets_no_change_through(user: User) -> None:
    """RFC 9110, section 13.1.2: the condition is false where the task exists."""
    task = user.create()
    for make_change in CHANGES.values():
        assert_error(make_change(user, task, **{"If-None-Match": "*"}), 412)
        assert_error(make_change(user, 2**62, **{"If-None-Match": "*"}), 404)
    assert user.read(task) == task


@pytest.mark.parametrize("kind", CHANGES)
def test_if_none_match_with_tags_lets_a_change_of_another_state_through(
    user: User, kind: str
) -> None:
    task = user.create()
    tag = tag_of(user, task)
    for shape in ("{}", '"x", {}', "W/{}"):
        header = {"If-None-Match": shape.format(tag)}
        assert_error(CHANGES[kind](user, task, **header), 412)
    assert user.read(task) == task
    both = {"If-Match": tag, "If-None-Match": '"x"'}
    assert CHANGES[kind](user, task, **both).is_success


def test_a_task_of_another_database_never_has_the_same_tag(user: User, stranger: User) -> None:
    """Two tasks alike in every field a person wrote: a restored database is such a pair."""
    tags = {tag_of(each, each.create("Alike")) for each in (user, stranger, user, stranger)}
    assert len(tags) == 4
