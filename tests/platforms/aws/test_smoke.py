"""The scheduled event in Lambda's runtime: the smoke test passes, and fails if the API is down."""

import json
from typing import Any

from tests.platforms.aws.sandbox import running_sandbox
from tests.platforms.aws.stack import read_functions, read_stack
from tests.support.databases import Database
from tests.support.targets import lambda_runtime


def metrics(output: str) -> dict[str, Any]:
    [*_, line] = [line for line in output.splitlines() if '"_aws"' in line]
    return json.loads(line)


def test_the_scheduled_smoke_test_reports_a_metric(
    environment: dict[str, str], fresh_database: Database
) -> None:
    function = read_functions()["smoke"]
    [schedule] = [
        event["schedule"]
        for event in read_stack()["functions"]["smoke"]["events"]
        if "schedule" in event
    ]
    environment = environment | {"DATABASE_URL": fresh_database.app_url}
    with lambda_runtime.serve(environment) as url:
        variables = {"SMOKE_BASE_URL": url, "POWERTOOLS_METRICS_NAMESPACE": "task-api/prod"}
        with running_sandbox(function, environment | variables) as sandbox:
            # The first run may fail because cold functions are slow.
            reports: list[Any] = [sandbox.invoke(schedule["input"]) for _ in range(2)]
            assert reports[-1]["ok"], reports[-1]["detail"]
            assert metrics(sandbox.output())["SmokeSuccess"] == [1.0]
    with running_sandbox(function, environment | variables) as sandbox:
        # By hand.
        report: Any = sandbox.invoke({})
        assert report["failed"] == ["liveness"]
        assert metrics(sandbox.output())["SmokeSuccess"] == [0.0]
    assert fresh_database.query("SELECT count(*) FROM tasks") == [(0,)]
