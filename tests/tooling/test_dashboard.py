"""The dashboard of the stack: each widget has values in what the code writes, and a picture."""

import re
import xml.etree.ElementTree as ET

import pytest

from dev.serve import ROOT
from tests.platforms.aws.stack import read_stack
from tests.support.databases import Cluster
from tests.tooling import log_insights
from tests.tooling.dashboard import PICTURE, draw, emitted_metrics, read_widgets, series_of
from tests.tooling.test_readme_commands import anchors
from tests.tooling.traffic import Line, collect_lines

# Of an HTTP API: docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
GATEWAY_METRICS = {"4xx", "5xx", "Count", "IntegrationLatency", "Latency", "DataProcessed"}
WIDGETS = read_widgets()


@pytest.fixture(scope="module")
def lines(cluster: Cluster) -> list[Line]:
    with cluster.clone() as database:
        return collect_lines(database)


def test_every_metric_is_one_that_the_code_or_the_gateway_writes(lines: list[Line]) -> None:
    emitted = emitted_metrics(lines)
    for widget in WIDGETS:
        for metric in widget["properties"].get("metrics", []):
            namespace, name, dimension, value, _ = metric
            if namespace == "AWS/ApiGateway":
                assert name in GATEWAY_METRICS
                assert (dimension, value) == ("ApiId", "${HttpApi}")
            else:
                assert dimension == "service"
                assert (namespace, name, value) in emitted
            assert series_of(metric, widget["properties"], lines).values, metric


def test_every_query_finds_lines(lines: list[Line]) -> None:
    groups = {f"/aws/lambda/task-api-prod-{name}" for name in read_stack()["functions"]}
    queries = [widget["properties"]["query"] for widget in WIDGETS if widget["type"] == "log"]
    assert len(queries) >= 4
    for query in queries:
        assert set(re.findall(r"SOURCE '([^']+)'", query)) <= groups
        rows = log_insights.run(query, lines)
        assert rows
        assert all(None not in row.values() for row in rows[:1]), (query, rows[0])


def test_the_dashboard_shows_what_an_operator_asks_for(lines: list[Line]) -> None:
    by_title = {widget["properties"]["title"]: widget["properties"] for widget in WIDGETS}
    errors = log_insights.run(by_title["4xx and 5xx by route"]["query"], lines)
    assert {row["status"] for row in errors} == {401, 404, 503}
    database = log_insights.run(by_title["503 of the database by reason"]["query"], lines)
    assert [row["reason"].partition(":")[0] for row in database] == ["no connection"]
    cold = log_insights.run(by_title["Cold starts, percent of requests"]["query"], lines)
    assert 0 < max(row["cold"] for row in cold) < 100
    failed = log_insights.run(by_title["Failed smoke tests"]["query"], lines)
    assert [row["failed.0"] for row in failed] == ["liveness", "liveness"]


def test_widgets_do_not_overlap() -> None:
    used = [
        (x, y)
        for widget in WIDGETS
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(used) == len(set(used))
    assert max(x for x, _ in used) < 24


def test_every_alarm_is_on_the_dashboard_and_names_its_runbook() -> None:
    resources = read_stack()["resources"]["Resources"]
    alarms = {
        name: each["Properties"]
        for name, each in resources.items()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    }
    [shown] = [widget["properties"]["alarms"] for widget in WIDGETS if widget["type"] == "alarm"]
    assert set(shown) == {f"${{self:custom.alarmArn}}:${{{name}}}" for name in alarms}
    page = read_stack()["params"]["default"]["runbook"]
    for alarm in alarms.values():
        [anchor] = re.findall(r"\$\{param:runbook\}#([\w-]+)$", alarm["AlarmDescription"])
        assert anchor in anchors(ROOT / page)


def test_the_picture_is_of_this_dashboard(lines: list[Line]) -> None:
    def titles(svg: str) -> list[str | None]:
        found = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")  # noqa: S314 - ours
        return [each.text for each in found if each.get("class") == "title"]

    committed = PICTURE.read_text()
    assert titles(committed) == titles(draw(WIDGETS, lines)), "Run make dashboard."
    assert len(committed) < 20_000
