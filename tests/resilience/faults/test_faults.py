"""Every fault of the database: responses arrive in time and are correct, no write is lost."""

from collections.abc import Generator
from typing import Any

import pytest

from lib.db import pool as database
from lib.db import transaction
from lib.db import url as database_url
from tests.conftest import StartApi
from tests.resilience.faults.catalogue import CASES, Case
from tests.resilience.faults.lab import Batch, Lab, running_lab
from tests.support.databases import Cluster

TOLERANCE = 0.5


@pytest.fixture(autouse=True)
def _short_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUDGET", 2.4)
    monkeypatch.setattr(database, "COLD_BUDGET", 3.6)
    monkeypatch.setattr(transaction, "LOCK_TIMEOUT", 0.8)
    monkeypatch.setattr(database_url, "TCP_USER_TIMEOUT_MS", 800)


@pytest.fixture(scope="module")
def lab_without_pooler(cluster: Cluster) -> Generator[Lab]:
    with running_lab(cluster) as lab:
        yield lab


@pytest.fixture(scope="module")
def lab_with_pooler(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Generator[Lab]:
    with running_lab(cluster, tmp_path_factory.mktemp("pooler")) as lab:
        yield lab


def _with_marks(case: Case) -> Any:
    marks = [pytest.mark.verify] if case.pooled else []
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [_with_marks(case) for case in CASES])
def test_responses_arrive_in_time_and_match_the_database(
    case: Case, request: pytest.FixtureRequest, start_api: StartApi
) -> None:
    check(case, request, start_api)


def check(case: Case, request: pytest.FixtureRequest, start_api: StartApi) -> None:
    fixture = "lab_with_pooler" if case.pooled else "lab_without_pooler"
    lab: Lab = request.getfixturevalue(fixture)
    outcomes = Batch(lab, start_api(**lab.variables)).send(case.fault)
    budget = database.COLD_BUDGET if case.cold else database.BUDGET
    for outcome in outcomes:
        assert outcome.reported == case.expected(outcome.kind), outcome
        assert outcome.seconds < budget + TOLERANCE, outcome
        assert outcome.retry_after == (outcome.status == 503)
        assert outcome.sound, outcome


@pytest.mark.verify
@pytest.mark.parametrize(
    "name", ["connections are accepted, then nothing is sent", "pooler paused"]
)
def test_the_real_time_limits_hold(
    name: str,
    request: pytest.FixtureRequest,
    start_api: StartApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    assert (database.BUDGET, database.COLD_BUDGET) == (4, 8)
    [case] = [case for case in CASES if case.name == name]
    check(case, request, start_api)
