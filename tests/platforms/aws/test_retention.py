"""The scheduled event in Lambda's runtime: the retention job removes what has expired."""

from typing import Any

from tests.platforms.aws.sandbox import running_sandbox
from tests.platforms.aws.stack import read_functions, read_stack
from tests.platforms.aws.test_smoke import metrics
from tests.support.databases import Database

UNREACHABLE = "postgresql://nobody@127.0.0.1:1/none"


def test_the_scheduled_job_reports_metrics(
    environment: dict[str, str], fresh_database: Database
) -> None:
    fresh_database.query("INSERT INTO users (id, name, email) VALUES ('ada', 'Ada', 'a@x.example')")
    fresh_database.query(
        "INSERT INTO idempotency_keys VALUES ('ada', 'k', 'h', '{}', 1, 1, '2026-01-01')"
    )
    function = read_functions()["retention"]
    [schedule] = [
        event["schedule"]
        for event in read_stack()["functions"]["retention"]["events"]
        if "schedule" in event
    ]
    variables = environment | {"POWERTOOLS_METRICS_NAMESPACE": "task-api/prod"}
    working = variables | {"DATABASE_URL": fresh_database.app_url}
    with running_sandbox(function, working) as sandbox:
        # By the schedule, and by hand.
        for removed, event in ((1, schedule["input"]), (0, {})):
            report: Any = sandbox.invoke(event)
            assert report["removed"]["idempotency_keys"] == removed
            assert metrics(sandbox.output())["RetentionRemoved"] == [removed]
            assert metrics(sandbox.output())["RetentionSuccess"] == [1.0]
    assert fresh_database.query("SELECT count(*) FROM idempotency_keys") == [(0,)]
    with running_sandbox(function, variables | {"DATABASE_URL": UNREACHABLE}) as sandbox:
        sandbox.invoke(schedule["input"])
        assert metrics(sandbox.output())["RetentionSuccess"] == [0.0]
