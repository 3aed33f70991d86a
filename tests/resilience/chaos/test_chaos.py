"""A short run finds no violation, and finds every mutant."""

import asyncio
from dataclasses import replace
from itertools import islice

import pytest

from tests.resilience.chaos import mutants, plan
from tests.resilience.chaos.ledger import MISSED
from tests.resilience.chaos.run import BOTH_TRANSPORTS, FEED, MUTANT, SHORT, run, size_of_mutant
from tests.support.databases import Cluster

SEED = 7


def test_no_write_is_lost_or_applied_twice_and_no_change_missed(cluster: Cluster) -> None:
    result = asyncio.run(run(cluster, SEED, SHORT))
    assert result.violations == [], result.log
    assert result.unmet == []
    assert not result.acknowledged_too_little()
    assert result.faults["kill a backend"]
    assert result.faults["kill a sandbox"]
    assert result.failures["the response was lost"]
    assert result.faults["hold a transaction"]
    assert all(follower.rounds and follower.changes for follower in result.followers)


def test_nothing_is_lost_with_both_transports_at_once(cluster: Cluster) -> None:
    result = asyncio.run(run(cluster, SEED, replace(SHORT, transports=BOTH_TRANSPORTS)))
    assert result.violations == [], result.log
    assert result.unmet == []
    assert not result.acknowledged_too_little()
    assert result.faults["kill a backend"]
    assert result.faults["kill a sandbox"]


@pytest.mark.parametrize("name", sorted(mutants.MUTANTS.keys() - mutants.FEEDS))
def test_a_mutant_is_found(cluster: Cluster, name: str) -> None:
    size = size_of_mutant(name)
    result = asyncio.run(run(cluster, SEED, size, mutant=name, stop_at_violation=True))
    assert result.violations
    assert result.done == 0, "the scenarios find it, before the clients begin"


@pytest.mark.parametrize("name", sorted(mutants.FEEDS))
def test_a_feed_that_misses_changes_is_found(cluster: Cluster, name: str) -> None:
    result = asyncio.run(run(cluster, SEED, FEED, mutant=name, stop_at_violation=True))
    assert {violation.kind for violation in result.violations} == {MISSED}, result.log


def test_the_feed_misses_no_change(cluster: Cluster) -> None:
    """The run that reveals a bug of any other feed."""
    result = asyncio.run(run(cluster, SEED, FEED))
    assert result.violations == [], result.log


@pytest.mark.parametrize("name", sorted(mutants.CONTROLS))
def test_the_faults_of_the_mutants_alone_are_no_violation(cluster: Cluster, name: str) -> None:
    """The repeats are what is found, not the lost responses that precede them."""
    result = asyncio.run(run(cluster, SEED, MUTANT, mutant=name))
    assert result.violations == [], result.log
    assert result.ledger.outcomes()["unknown"]
    assert result.ledger.outcomes()["done"]


def test_the_same_seed_gives_the_same_plan() -> None:
    def everything(seed: int) -> object:
        faults = {stream: list(islice(plan.faults(seed, stream), 50)) for stream in plan.STREAMS}
        deliveries = [plan.delivery(seed, n, call) for n in range(50) for call in range(3)]
        return plan.operations(seed, 500, 20), plan.followers_plan(seed, 20), faults, deliveries

    assert everything(1) == everything(1)
    assert everything(1) != everything(2)
