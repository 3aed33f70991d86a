"""The database is away in every way: answered in time, nothing lost, doubled or untrue."""

from collections.abc import Generator
from typing import Any

import pytest

from lib.db import pool as database
from lib.db import url as database_url
from tests.conftest import StartApi
from tests.resilience.faults.catalogue import CASES, Case
from tests.resilience.faults.lab import Lab, Volley, laboratory
from tests.support.databases import Cluster

TOLERANCE = 0.5


@pytest.fixture(autouse=True)
def _short_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUDGET", 2.4)
    monkeypatch.setattr(database, "COLD_BUDGET", 3.6)
    monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.8)
    monkeypatch.setattr(database_url, "TCP_USER_TIMEOUT_MS", 800)


@pytest.fixture(scope="module")
def lab_without_pooler(cluster: Cluster) -> Generator[Lab]:
    with laboratory(cluster) as lab:
        yield lab


@pytest.fixture(scope="module")
def lab_with_pooler(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Generator[Lab]:
    with laboratory(cluster, tmp_path_factory.mktemp("pooler")) as lab:
        yield lab


def _with_marks(case: Case) -> Any:
    marks = [pytest.mark.verify] if case.pooled else []
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [_with_marks(case) for case in CASES])
def test_a_fault_is_answered_in_time_and_with_the_truth(
    case: Case, request: pytest.FixtureRequest, start_api: StartApi
) -> None:
    check(case, request, start_api)


def check(case: Case, request: pytest.FixtureRequest, start_api: StartApi) -> None:
    which = "lab_with_pooler" if case.pooled else "lab_without_pooler"
    lab: Lab = request.getfixturevalue(which)
    outcomes = Volley(lab, start_api(DATABASE_URL=lab.url)).fly(case.fault)
    budget = database.COLD_BUDGET if case.cold else database.BUDGET
    for outcome in outcomes:
        assert outcome.said == case.expected(outcome.name), outcome
        assert outcome.seconds < budget + TOLERANCE, outcome
        assert outcome.retry_after == (outcome.status == 503)
        assert (outcome.lost, outcome.doubled, outcome.untrue) == (False,) * 3, outcome


@pytest.mark.verify
@pytest.mark.parametrize("name", ["accepts connections and never answers", "pooler paused"])
def test_the_real_budgets_hold(
    name: str,
    request: pytest.FixtureRequest,
    start_api: StartApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    assert (database.BUDGET, database.COLD_BUDGET) == (4, 8)
    [case] = [case for case in CASES if case.name == name]
    check(case, request, start_api)
