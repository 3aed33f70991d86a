"""The faults of the catalogue, between the API and Neon's serverless driver endpoint."""

from collections.abc import Generator

import pytest

from lib.db import http_connection, transaction
from lib.db import pool as database
from tests.conftest import StartApi
from tests.resilience.faults.catalogue import HTTP_CASES, Case
from tests.resilience.faults.lab import Batch, Lab, running_lab
from tests.resilience.faults.test_faults import TOLERANCE
from tests.support.databases import Cluster


@pytest.fixture(autouse=True)
def _short_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUDGET", 2.4)
    monkeypatch.setattr(database, "COLD_BUDGET", 3.6)
    monkeypatch.setattr(transaction, "LOCK_TIMEOUT", 0.8)
    monkeypatch.setitem(http_connection.SOCKET_OPTIONS, "TCP_USER_TIMEOUT", 800)


@pytest.fixture(scope="module")
def lab(cluster: Cluster) -> Generator[Lab]:
    with running_lab(cluster, http=True) as lab:
        yield lab


@pytest.mark.parametrize("case", HTTP_CASES, ids=[case.name for case in HTTP_CASES])
def test_responses_are_in_time_and_true(case: Case, lab: Lab, start_api: StartApi) -> None:
    outcomes = Batch(lab, start_api(**lab.variables)).send(case.fault)
    budget = database.COLD_BUDGET if case.cold else database.BUDGET
    for outcome in outcomes:
        assert outcome.reported == case.expected(outcome.kind), outcome
        assert outcome.seconds < budget + TOLERANCE, outcome
        assert outcome.retry_after == (outcome.status == 503)
        assert outcome.sound, outcome
