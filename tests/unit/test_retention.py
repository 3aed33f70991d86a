"""The retention job: GET /api/retention, the scheduled event, and the limits of a run."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from api import retention
from lib.db import retention as job
from lib.db.pool import close_pools
from lib.errors import RetentionStalled
from lib.settings import forget_settings
from tests.conftest import SECRET, StartApi, bearer
from tests.support.databases import Database

CRON_SECRET = "cron-secret-0123456789"
CRON = {"Authorization": f"Bearer {CRON_SECRET}"}
EVENT = {"source": "retention"}
NONE = {"idempotency_keys": 0, "task_texts": 0, "task_ids": 0}
KEYS = """INSERT INTO idempotency_keys
SELECT 'ada', 'key-' || n, 'hash', '{}', 1, 1, now() - interval '25 hours'
FROM generate_series(1, %s) AS n"""
COUNT = "SELECT count(*) FROM idempotency_keys"


@pytest.fixture
def expired(fresh_database: Database) -> Database:
    """A database with three expired keys, and no other row but their user's."""
    fresh_database.query("INSERT INTO users (id, name, email) VALUES ('ada', 'Ada', 'a@x.example')")
    fresh_database.query(KEYS, 3)
    return fresh_database


@pytest.fixture
def client(start_api: StartApi, expired: Database) -> TestClient:
    return start_api(DATABASE_URL=expired.app_url, CRON_SECRET=CRON_SECRET)


@pytest.fixture
def environment_of_job(expired: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DATABASE_URL", expired.app_url)
    monkeypatch.setenv("BETTER_AUTH_SECRET", SECRET)
    yield
    close_pools()


@pytest.fixture
def on_lambda(environment_of_job: None, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "task-api-prod")
    forget_settings()
    return monkeypatch


type Logged = Callable[[str], dict[str, Any]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """The fields of the only line with a message."""

    def find(message: str) -> dict[str, Any]:
        [record] = [each for each in caplog.records if each.getMessage() == message]
        return vars(record)

    return find


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [line] = [line for line in lines if "_aws" in line]
    return line


# The route


@pytest.mark.parametrize("path", ["/api/retention", "/api/retention/"])
def test_a_run_removes_what_has_expired(client: TestClient, expired: Database, path: str) -> None:
    response = client.get(path, headers=CRON)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    report = response.json()
    assert report.pop("milliseconds") > 0
    assert report == {
        "removed": NONE | {"idempotency_keys": 3},
        "left": NONE,
        "overdue_seconds": 0,
        "batches": 1,
    }
    assert expired.query(COUNT) == [(0,)]
    assert client.get(path, headers=CRON).json()["removed"] == NONE


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": CRON_SECRET},
        {"Authorization": f"Basic {CRON_SECRET}"},
        {"Authorization": f"Bearer {CRON_SECRET}x"},
        {"Authorization": f"Bearer {SECRET}"},
        bearer("ada", exp=4_000_000_000),
    ],
)
def test_a_request_without_the_secret_is_401_and_removes_nothing(
    client: TestClient, expired: Database, headers: dict[str, str]
) -> None:
    response = client.get("/api/retention", headers=headers)
    assert response.status_code == 401
    assert response.json() == {"detail": "The cron secret is required."}
    assert response.headers["www-authenticate"] == "Bearer"
    assert expired.query(COUNT) == [(3,)]


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer None"])
def test_without_a_secret_every_request_is_401(
    start_api: StartApi, expired: Database, authorization: str
) -> None:
    client = start_api(DATABASE_URL=expired.app_url)
    headers = {"Authorization": authorization}
    assert client.get("/api/retention", headers=headers).status_code == 401
    assert expired.query(COUNT) == [(3,)]


def test_other_methods_are_405(client: TestClient) -> None:
    response = client.post("/api/retention", headers=CRON)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_the_tasks_of_a_user_named_retention_are_not_affected(client: TestClient) -> None:
    response = client.get("/api/retention/tasks", headers=bearer("retention"))
    assert (response.status_code, response.json()) == (200, [])


def test_an_unavailable_database_is_503(start_api: StartApi) -> None:
    client = start_api(DATABASE_URL="postgresql://u:p@127.0.0.1:1/x", CRON_SECRET=CRON_SECRET)
    response = client.get("/api/retention", headers=CRON)
    assert response.status_code == 503
    assert response.json()["detail"].startswith("The database is unavailable.")
    assert response.headers["retry-after"]


def test_a_missing_function_is_503(client: TestClient, expired: Database) -> None:
    expired.query("DROP FUNCTION remove_expired")
    response = client.get("/api/retention", headers=CRON)
    assert response.status_code == 503
    assert response.json()["detail"] == "The database is not prepared. Run the migrations."


# A trigger that keeps the rows, as an example of a fault that raises no error.
KEEPING = """CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE DELETE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION keep()"""


def test_a_job_that_removes_nothing_is_503_and_a_warning(
    client: TestClient, expired: Database, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired.query(KEEPING)
    monkeypatch.setattr(job, "PAUSE", 0.01)
    response = client.get("/api/retention", headers=CRON)
    assert response.status_code == 503
    assert response.json() == {"detail": "Expired data could not be removed. See the log."}
    line = logged("Expired data could not be removed.")
    assert line["levelname"] == "WARNING"
    assert line["left"] == NONE | {"idempotency_keys": 3}
    assert line["overdue_seconds"] == pytest.approx(3600, abs=60)


def test_one_kind_that_stays_is_503_although_another_is_removed(
    client: TestClient, expired: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired.query(KEEPING)
    expired.query("INSERT INTO tasks (user_id, title) VALUES ('ada', 'Old')")
    expired.query("DELETE FROM tasks")
    expired.query("UPDATE deleted_tasks SET deleted_at = now() - interval '40 days'")
    monkeypatch.setattr(job, "PAUSE", 0.01)
    assert client.get("/api/retention", headers=CRON).status_code == 503
    assert expired.query("SELECT count(*) FROM deleted_tasks") == [(0,)]


# The limits of a run


def run() -> job.RetentionReport:
    return asyncio.run(job.remove_expired())


@pytest.mark.usefixtures("environment_of_job")
def test_a_run_has_several_short_transactions(
    expired: Database, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    expired.query("DELETE FROM idempotency_keys")
    expired.query(KEYS, 250)
    monkeypatch.setattr(job, "BATCH_SIZE", 100)
    assert (run().removed.idempotency_keys, expired.query(COUNT)) == (250, [(0,)])
    line = logged("Expired data was removed.")
    assert (line["levelname"], line["batches"]) == ("INFO", 3)
    assert line["removed"] == NONE | {"idempotency_keys": 250}


@pytest.mark.usefixtures("environment_of_job")
@pytest.mark.parametrize(("limit", "value"), [("MAX_BATCHES", 2), ("MAX_SECONDS", 0.0)])
def test_a_run_ends_at_its_limits_and_the_next_one_continues(
    expired: Database, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(job, "BATCH_SIZE", 1)
    monkeypatch.setattr(job, limit, value)
    report = run()
    removed = 2 if limit == "MAX_BATCHES" else 1
    assert report.batches == report.removed.idempotency_keys == removed
    assert report.left.idempotency_keys == 3 - removed
    assert report.overdue_seconds == pytest.approx(3600, abs=60)
    run()
    run()
    assert expired.query(COUNT) == [(0,)]


@pytest.mark.usefixtures("environment_of_job")
def test_a_run_waits_a_moment_for_rows_that_another_one_removes(
    expired: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(expired.admin_url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("DELETE FROM idempotency_keys")
        paused = pool.submit(run)
        time.sleep(job.PAUSE / 2)
        other.commit()
        assert paused.result().removed.idempotency_keys == 0


@pytest.mark.usefixtures("environment_of_job")
def test_rows_that_stay_locked_end_a_run(
    expired: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PAUSE", 0.01)
    with psycopg.connect(expired.admin_url) as other:
        other.execute("SELECT FROM idempotency_keys FOR UPDATE")
        with pytest.raises(RetentionStalled):
            run()


# The schedule


def test_a_scheduled_run_writes_the_metrics_of_the_alarm(
    on_lambda: pytest.MonkeyPatch, expired: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    on_lambda.setattr(job, "BATCH_SIZE", 1)
    on_lambda.setattr(job, "MAX_BATCHES", 2)
    report = retention.lambda_handler(EVENT, None)
    assert report["removed"]["idempotency_keys"] == 2
    json.dumps(report)
    line = metrics(capsys)
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "task-api-prod"
    assert directive["Dimensions"] == [["service"]]
    assert {(metric["Name"], metric["Unit"]) for metric in directive["Metrics"]} == {
        ("RetentionSuccess", "Count"),
        ("RetentionRemoved", "Count"),
        ("RetentionBacklog", "Count"),
        ("RetentionMilliseconds", "Milliseconds"),
    }
    assert line["RetentionSuccess"] == [1.0]
    assert line["RetentionRemoved"] == [2]
    assert line["RetentionBacklog"] == [1]
    assert line["removed"] == NONE | {"idempotency_keys": 2}
    assert line["left"] == NONE | {"idempotency_keys": 1}
    assert line["overdue_seconds"] == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("event", [{}, {"version": "0", "source": "aws.scheduler"}, None, "text"])
def test_any_other_event_runs_the_job(
    on_lambda: pytest.MonkeyPatch, expired: Database, event: Any
) -> None:
    assert retention.lambda_handler(event, None)["removed"]["idempotency_keys"] == 3
    assert expired.query(COUNT) == [(0,)]


def test_a_failure_is_a_metric_and_a_log_line_and_no_exception(
    on_lambda: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logged: Logged
) -> None:
    on_lambda.setenv("DATABASE_URL", "postgresql://u:p@127.0.0.1:1/x")
    forget_settings()
    failed = {"detail": "The retention job failed. See the log."}
    assert retention.lambda_handler(EVENT, None) == failed
    assert metrics(capsys)["RetentionSuccess"] == [0.0]
    assert logged("The retention job failed.")["reason"].startswith("no connection: ")


def test_an_unexpected_error_is_a_metric_and_a_log_line_and_no_exception(
    on_lambda: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logged: Logged
) -> None:
    on_lambda.setattr(job, "run_transaction", None)
    assert "detail" in retention.lambda_handler(EVENT, None)
    assert metrics(capsys)["RetentionSuccess"] == [0.0]
    assert logged("The retention job failed.")["causes"][0]["error"] == "TypeError"


def test_invalid_settings_raise_no_exception(on_lambda: pytest.MonkeyPatch) -> None:
    on_lambda.setenv("LOG_LEVEL", "LOUD")
    forget_settings()
    assert "detail" in retention.lambda_handler(EVENT, None)


def test_an_http_event_is_a_request(on_lambda: pytest.MonkeyPatch, expired: Database) -> None:
    on_lambda.setenv("CRON_SECRET", CRON_SECRET)
    forget_settings()
    retention.app.middleware_stack = None
    http = {"method": "GET", "path": "/api/retention", "sourceIp": "192.0.2.1"}
    event = {"version": "2.0", "requestContext": {"http": http}, "headers": {}, "body": ""}
    assert retention.lambda_handler(event, None)["statusCode"] == 401
    # A scheduled run in between does not disturb the event loop of the requests.
    assert "removed" in retention.lambda_handler(EVENT, None)
    headers = {"authorization": f"Bearer {CRON_SECRET}"}
    response = retention.lambda_handler(event | {"headers": headers}, None)
    assert response["statusCode"] == 200
    assert json.loads(response["body"])["removed"] == NONE
    retention.app.middleware_stack = None
