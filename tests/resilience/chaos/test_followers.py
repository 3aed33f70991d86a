"""Which copies the followers accept."""

import asyncio
from typing import Any

import pytest

from tests.resilience.chaos import followers
from tests.resilience.chaos.calls import Result, Traffic, User
from tests.resilience.chaos.followers import Follower
from tests.resilience.chaos.held import HeldTransactions
from tests.resilience.chaos.ledger import FOREIGN, MISSED, WRONG, Document, Ledger, Row
from tests.resilience.chaos.plan import Following

ANN = User("ann", "token", 1, 2, 3, 4, 5, [])


class Pages(Traffic):
    """The responses to a follower's requests, one after the other."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        ledger = Ledger()
        fleet: Any = None
        held = HeldTransactions("", ledger)
        super().__init__(1, fleet, [ANN], ledger, held, 0, give_up_at=float("inf"))
        self.pages, self.queries = list(pages), list[str]()

    async def call(self, *_: Any, query: str = "", **_options: Any) -> Result:
        self.queries.append(query)
        return Result("done", 200, self.pages.pop(0))


def task(updated_at: str, user: str = "ann", number: int = 1) -> Document:
    return {"id": number, "user_id": user, "updated_at": updated_at}


def page(*tasks: Document, deleted: tuple[int, ...] = (), more: bool = False) -> dict[str, Any]:
    return {"tasks": list(tasks), "deleted": list(deleted), "next": "token", "more": more}


@pytest.fixture(autouse=True)
def _no_page_is_requested_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "ASKED_AGAIN", 0)


def follow(traffic: Pages) -> Follower:
    follower = Follower(traffic, Following(0, 0, 2, 0))
    asyncio.run(follower.finish())
    return follower


def kinds(traffic: Pages) -> set[str]:
    return {violation.kind for violation in traffic.ledger.violations}


@pytest.mark.parametrize(
    ("committed", "page", "expected"),
    [
        (("2", False), page(task("2")), set()),
        (("2", False), page(task("3")), set()),
        (("2", False), page(task("1")), {MISSED}),
        (("2", False), page(), {MISSED}),
        (("2", True), page(deleted=(1,)), set()),
        (("2", True), page(task("2")), {MISSED}),
        # It was restored after the deletion.
        (("2", True), page(task("3")), set()),
        (None, page(task("1", "bob")), {FOREIGN}),
    ],
)
def test_a_copy_after_the_last_page(
    committed: tuple[str, bool] | None, page: dict[str, Any], expected: set[str]
) -> None:
    traffic = Pages(page)
    if committed:
        updated_at, deleted = committed
        traffic.ledger.observe(task(updated_at), deleted=deleted)
    follow(traffic)
    assert kinds(traffic) == expected


def test_a_task_may_be_absent_if_its_deletion_was_requested() -> None:
    traffic = Pages(page())
    traffic.ledger.observe(task("1"))
    traffic.ledger.deleting.add(1)
    follow(traffic)
    assert kinds(traffic) == set()


def test_a_round_of_several_pages() -> None:
    traffic = Pages(page(task("1"), more=True), page(task("2", number=2)))
    follower = follow(traffic)
    assert traffic.queries == ["limit=2", "since=token&limit=2"]
    assert (follower.rounds, follower.changes, sorted(follower.copy)) == (1, 2, [1, 2])


def test_a_first_page_that_is_requested_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task was deleted between the two requests."""
    draws = iter([0.0, 1.0])
    monkeypatch.setattr(followers, "ASKED_AGAIN", 0.5)
    monkeypatch.setattr(followers.random, "random", lambda: next(draws))
    traffic = Pages(page(task("1")), page())
    follower = follow(traffic)
    assert (traffic.queries, follower.copy) == (["limit=2", "limit=2"], {})


def test_changes_that_go_back() -> None:
    traffic = Pages(page(task("2"), more=True), page(task("1")))
    follow(traffic)
    assert kinds(traffic) == {WRONG}


def test_a_round_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "MAX_PAGES", 3)
    traffic = Pages(*[page(more=True)] * 3)
    follow(traffic)
    assert kinds(traffic) == {WRONG}


@pytest.mark.parametrize(
    ("rows", "equal"),
    [
        ([Row("live", 1, task("1"))], True),
        ([Row("live", 1, task("1")), Row("live", 1, task("1", "bob", 2))], True),
        ([Row("live", 1, task("1")), Row("trashed", 1, task("1", number=2))], True),
        ([Row("live", 1, task("2"))], False),
        ([Row("trashed", 1, task("1"))], False),
        ([Row("live", 1, task("1")), Row("live", 1, task("1", number=2))], False),
    ],
)
def test_a_copy_and_the_database(rows: list[Row], equal: bool) -> None:
    traffic = Pages(page(task("1")))
    follower = follow(traffic)
    follower.compare_with_rows(rows)
    assert kinds(traffic) == (set() if equal else {MISSED})
