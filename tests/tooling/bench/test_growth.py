"""The model of growth: its page is up to date, its measurement works, and its predictions hold."""

import json
from pathlib import Path

import pytest

from bench.growth import assumptions, measure, model, tables
from bench.growth.__main__ import FIGURES
from tests.support.databases import Database

ALL = json.loads(FIGURES.read_text())
MEASURED, SIMULATED = ALL["measured"], ALL["simulated"]
RELATIONS = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')
    AND coalesce((SELECT indrelid FROM pg_index WHERE indexrelid = oid), oid)::regclass::text
        = ANY(%s)
"""


def test_the_page_shows_the_tables_of_the_model() -> None:
    """After a change of an assumption, a price or the model: make growth TABLES=1."""
    page = tables.PAGE.read_text()
    assert tables.with_tables(page, ALL) == page


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="0 places for <!-- make growth: limits -->"):
        tables.with_tables("", ALL)


def test_the_figures_cover_every_index(database: Database) -> None:
    """After a migration that adds or drops an index: make growth SIMULATE=1."""
    found = {name for (name,) in database.query(RELATIONS, list(measure.TABLES))}
    assert found == set(MEASURED["relations"]) == set(SIMULATED["relations"])


def test_the_simulation_has_the_predicted_sizes_and_plans() -> None:
    assert SIMULATED["relations"]["tasks"]["rows"] == 1_000_000
    for name, simulated in SIMULATED["relations"].items():
        if simulated["table"] == "tasks":
            predicted = model.row_bytes(MEASURED, name) * simulated["rows"]
            assert simulated["bytes"] == pytest.approx(predicted, rel=0.1), name
    for kind in assumptions.MIX:
        small, large = (each["requests"][kind] for each in (MEASURED, SIMULATED))
        # Records of keys are so few for each user that any of their indexes is good.
        assert _indexes_of_tasks(small) == _indexes_of_tasks(large), kind
        assert large["rows"] <= small["rows"] + 10, kind
        # A larger index may have one or two more levels, and a write enters all indexes.
        assert large["blocks"] <= small["blocks"] + 30, kind


def _indexes_of_tasks(request: measure.Figures) -> list[str]:
    return [name for name in request["indexes"] if not name.startswith("idempotency_keys")]


def test_a_small_measurement_agrees_with_the_figures(tmp_path: Path) -> None:
    """The tables, the triggers and the statements are still those that were measured."""
    found = measure.measure(tmp_path / "postgres", 40, rounds=1, requests=4, records=40)
    assert found["relations"]["tasks"]["rows"] == 40 * assumptions.assumed("tasks")
    size, committed = (model.row_bytes(each, "tasks") for each in (found, MEASURED))
    assert size == pytest.approx(committed, rel=0.1)
    for kind in assumptions.MIX:
        one, other = (each["requests"][kind] for each in (found, MEASURED))
        assert one["response_bytes"] == pytest.approx(other["response_bytes"], rel=0.25), kind
        assert one["wal_bytes"] == pytest.approx(other["wal_bytes"], rel=0.5, abs=50), kind
        if kind in ("list", "page", "get", "changes", "delete"):  # the others look up few keys
            assert one["rows"] <= other["rows"] + 10, kind
        assert one["postgres_ms"] > 0, kind
    assert found["clustered"]["list"]["blocks"] < found["requests"]["list"]["blocks"] / 3


def test_the_model_adds_up() -> None:
    """Compared with sums by hand for figures of one byte and one millisecond."""
    requests = {
        kind: {"postgres_ms": 1, "function_ms": 1, "wal_bytes": 10, "response_bytes": 1000}
        for kind in assumptions.MIX
    }
    relations = {"tasks": {"table": "tasks", "bytes": 500, "rows": 1}}
    grown = model.grow({"relations": relations, "requests": requests}, 1_000_000)
    assert grown.tasks == 100_000_000
    assert grown.storage == 50e9
    assert grown.requests_per_day == pytest.approx(4_000_000)
    assert grown.peak_rate == pytest.approx(231.5, abs=0.1)
    assert grown.wal_per_day == pytest.approx(40e6)
    assert grown.sent_per_month == pytest.approx(120e9)
    assert grown.processors == pytest.approx(0.2315 / 0.6, abs=0.001)
    # 16 tasks in a block: the chance that none of them is of an active user is 0.9 ** 16.
    assert grown.hot_bytes == pytest.approx(50e9 * (1 - 0.9 ** (8192 / 500)))
    # In the order of the users, a block has tasks of 1.16 users.
    assert grown.hot_clustered == pytest.approx(50e9 * (1 - 0.9 ** (1 + 8192 / 500 / 100)))
    assert grown.compute == 13  # 41 GB in three quarters of 4 GiB each
    assert grown.neon["storage"] == pytest.approx(50 * 0.35)
    assert grown.neon["transfer"] == pytest.approx(20 * 0.10)
    assert grown.neon["compute"] == pytest.approx(13 * 730 * 0.106)
    assert grown.aws["gateway"] == pytest.approx(120)
    # 1.7 ms of the function's processor, 1 ms of PostgreSQL and 2 ms of network: 5 ms are billed.
    assert grown.aws["functions"] == pytest.approx(120 * (0.20 + 5_000 * 0.0000133334))
    assert grown.vercel["requests"] == pytest.approx(120 * 2.60)


def test_a_small_team_pays_at_least_the_plan_of_vercel() -> None:
    assert sum(model.grow(MEASURED, 10).vercel.values()) == pytest.approx(20)


def test_limits_are_sorted_by_users_and_are_reached_there() -> None:
    limits = model.limits(MEASURED)
    assert [each.users for each in limits] == sorted(each.users for each in limits)
    [throttle] = [each for each in limits if each.name == "the stack's throttle"]
    assert model.grow(MEASURED, round(throttle.users)).peak_rate == pytest.approx(50, rel=0.01)
    text = (tables.PAGE.parents[1] / "serverless.yml").read_text()
    assert f"throttlingRate: {model.STACK_RATE}\n" in text
    assert text.count("snapStart: ${param:snapStart}") * 2 == model.SNAPSTART_VERSIONS


def test_the_shares_of_the_requests_are_the_whole() -> None:
    assert sum(assumptions.MIX.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.0123, "0.012"), (3.14, "3.1"), (9.96, "10"), (99.6, "100"),
        (12_345, "12,000"), (4_321_000, "4.3 million"), (9.99e8, "1.0 billion"),
    ],
)  # fmt: skip
def test_numbers_have_two_significant_digits(value: float, text: str) -> None:
    assert tables.two_digits(value) == text
