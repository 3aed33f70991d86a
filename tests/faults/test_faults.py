"""The database is away in every way it can be: answered in time, nothing lost, doubled or untrue."""

from pathlib import Path
from typing import Any

import pytest

from lib import connection, database
from tests.conftest import StartApi
from tests.databases import Cluster
from tests.faults.catalogue import CASES, Case
from tests.faults.lab import Volley, laboratory

TOLERANCE = 0.3


@pytest.fixture(autouse=True)
def _short_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUDGET", 1.6)
    monkeypatch.setattr(database, "COLD_BUDGET", 2.4)
    monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.5)
    monkeypatch.setattr(connection, "UNACKNOWLEDGED", 500)


def _with_marks(case: Case) -> Any:
    marks = [pytest.mark.verify] if case.pooled else []
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [_with_marks(case) for case in CASES])
def test_a_fault_is_answered_in_time_and_with_the_truth(
    case: Case, cluster: Cluster, start_api: StartApi, tmp_path: Path
) -> None:
    with laboratory(cluster, tmp_path if case.pooled else None) as lab:
        client = start_api(DATABASE_URL=lab.url)
        outcomes = Volley(lab, client).fly(case.fault)
        database.close()
    for outcome in outcomes:
        assert outcome.said == case.expected(outcome.name), outcome
        assert outcome.seconds < database.COLD_BUDGET + TOLERANCE, outcome
        assert outcome.retry_after == (outcome.status == 503)
        assert not (outcome.lost or outcome.doubled or outcome.untrue), outcome
