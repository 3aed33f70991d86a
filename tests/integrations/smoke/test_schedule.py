"""The Lambda handler: scheduled events write metrics and raise nothing, others are requests."""

import json
import subprocess
import sys
from typing import Any

import pytest

from api import smoke
from lib.settings import forget_settings
from lib.smoke.run import STEPS
from tests.conftest import SECRET
from tests.integrations.smoke.conftest import ORIGIN, Rows

EVENT = {"source": "smoke"}
HTTP_EVENT: dict[str, Any] = {
    "version": "2.0",
    "routeKey": "GET /api/smoke",
    "rawPath": "/api/smoke",
    "rawQueryString": "",
    "headers": {"host": "api.example", "x-forwarded-proto": "https", "x-forwarded-port": "443"},
    "requestContext": {
        "http": {
            "method": "GET",
            "path": "/api/smoke",
            "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.1",
        },
        "requestId": "gateway-1",
        "stage": "$default",
    },
    "isBase64Encoded": False,
}


@pytest.fixture
def on_lambda(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a deployed smoke function, without the URL."""
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    monkeypatch.setenv("BETTER_AUTH_SECRET", SECRET)
    monkeypatch.setenv("CORS_ORIGINS", ORIGIN)
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "task-api/prod")
    forget_settings()
    return monkeypatch


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def metrics(written: list[dict[str, Any]]) -> dict[str, Any]:
    [line] = [line for line in written if "_aws" in line]
    return line


def test_a_scheduled_run_writes_the_metrics_of_the_alarm(
    on_lambda: pytest.MonkeyPatch,
    base_url: str,
    rows: Rows,
    capsys: pytest.CaptureFixture[str],
) -> None:
    on_lambda.setenv("SMOKE_BASE_URL", base_url)
    report = smoke.lambda_handler(EVENT, None)
    assert report["ok"] is True
    json.dumps(report)
    line = metrics(lines(capsys))
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "task-api/prod"
    assert directive["Dimensions"] == [["service"]]
    assert line["service"] == "task-api"
    assert {(metric["Name"], metric["Unit"]) for metric in directive["Metrics"]} == {
        ("SmokeSuccess", "Count"),
        ("SmokeMilliseconds", "Milliseconds"),
        ("SmokeStepMilliseconds", "Milliseconds"),
    }
    assert line["SmokeSuccess"] == [1.0]
    assert line["SmokeMilliseconds"] == [report["milliseconds"]]
    assert line["SmokeStepMilliseconds"] == [step["milliseconds"] for step in report["steps"]]
    assert list(line["steps"]) == list(STEPS)
    assert line["run"] == report["run"]
    assert rows.count() == 0


def test_a_failure_is_a_metric_and_a_log_line_and_no_exception(
    on_lambda: pytest.MonkeyPatch,
    closed_url: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    on_lambda.setenv("SMOKE_BASE_URL", closed_url)
    report = smoke.lambda_handler(EVENT, None)
    assert report["ok"] is False
    written = lines(capsys)
    assert metrics(written)["SmokeSuccess"] == [0.0]
    assert metrics(written)["failed"] == ["liveness"]
    assert list(metrics(written)["steps"]) == ["setup", "liveness"]
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert vars(warning)["detail"] == report["detail"]
    assert [step["name"] for step in vars(warning)["steps"]] == ["liveness"]


@pytest.mark.parametrize("event", [{}, {"version": "0", "source": "aws.scheduler"}, None, "text"])
def test_any_other_event_runs_the_test(
    on_lambda: pytest.MonkeyPatch, closed_url: str, capsys: pytest.CaptureFixture[str], event: Any
) -> None:
    on_lambda.setenv("SMOKE_BASE_URL", closed_url)
    assert smoke.lambda_handler(event, None)["failed"] == ["liveness"]
    assert metrics(lines(capsys))["SmokeSuccess"] == [0.0]


def test_invalid_settings_raise_no_exception(
    on_lambda: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_lambda.setenv("LOG_LEVEL", "LOUD")
    response = smoke.lambda_handler(EVENT, None)
    assert response == {"ok": False, "detail": "The smoke test could not run. See the log."}


def test_metrics_are_written_on_lambda_only(
    on_lambda: pytest.MonkeyPatch, closed_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    on_lambda.setenv("SMOKE_BASE_URL", closed_url)
    on_lambda.delenv("AWS_LAMBDA_RUNTIME_API")
    smoke.lambda_handler(EVENT, None)
    assert not [line for line in lines(capsys) if "_aws" in line]


def test_an_http_event_is_a_request(on_lambda: pytest.MonkeyPatch, closed_url: str) -> None:
    on_lambda.setenv("SMOKE_BASE_URL", closed_url)
    on_lambda.setenv("CRON_SECRET", "cron-secret-0123456789")
    on_lambda.setattr(smoke, "_latest", None)
    smoke.app.middleware_stack = None
    assert smoke.lambda_handler(HTTP_EVENT, None)["statusCode"] == 401
    headers = {**HTTP_EVENT["headers"], "authorization": "Bearer cron-secret-0123456789"}
    response = smoke.lambda_handler({**HTTP_EVENT, "headers": headers}, None)
    assert response["statusCode"] == 503
    assert json.loads(response["body"])["failed"] == ["liveness"]
    smoke.app.middleware_stack = None


def test_no_other_function_imports_the_smoke_test() -> None:
    program = "import sys, api.tasks, api.health, api.docs; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "lib.log" in loaded
    for module in ("lib.smoke.run", "lib.smoke.report", "lib.http_client"):
        assert module not in loaded
