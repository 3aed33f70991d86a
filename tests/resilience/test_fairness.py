"""The fairness program fails if it has to, and finds a pool that is not fair."""

from collections import Counter

import pytest

from tests.resilience.fairness import Figures, Result, measure
from tests.support.databases import Database


def figures(seconds: float, status: int = 200) -> Figures:
    return Figures([seconds] * 10, Counter({status: 10}))


@pytest.mark.parametrize(
    ("alone", "beside", "problems"),
    [
        (figures(0.01), figures(0.029), []),
        (
            figures(0.01),
            figures(0.031),
            ["the median of the other user is 3.1 times that alone, more than 3"],
        ),
        (figures(0.01), figures(0.01, 429), ["10 requests of the other user failed"]),
        (figures(0.01), figures(0.01, 304), ["10 requests of the other user failed"]),
        (figures(0.01, 503), figures(0.01), ["10 requests of the other user failed"]),
    ],
)
def test_problems(alone: Figures, beside: Figures, problems: list[str]) -> None:
    assert Result(3.0, alone, beside).problems() == problems


def test_a_pool_that_is_not_fair_is_found(fresh_database: Database) -> None:
    application = "tests.resilience.unfair_pool:app"
    result = measure(fresh_database, application=application, rounds=1, requests=40)
    assert len(result.beside.seconds) == 40
    assert result.busy[200]
    assert any("the median of the other user" in problem for problem in result.problems())
