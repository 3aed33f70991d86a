"""The CloudFormation template, as the deploy tool generates it without an account."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lib.settings import SECRETS, Settings
from tests.platforms.aws.artifact import ROOT, one_at_a_time

SERVERLESS = ROOT / "node_modules" / ".bin" / "serverless"
TEMPLATE = "cloudformation-template-update-stack.json"
# Set by a platform, or needed only locally.
NOT_OF_THE_STACK = {
    *("VERCEL", "VERCEL_ENV", "VERCEL_URL", "VERCEL_AUTOMATION_BYPASS_SECRET"),
    *("AWS_LAMBDA_RUNTIME_API", "SSL_CERT_FILE"),
}

type Template = dict[str, Any]
type Synthesize = Callable[..., Path]


@pytest.fixture(scope="session")
def synthesize(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Synthesize:
    """Generates the template of a stage with parameters, and returns its path."""
    assert artifact == ROOT / "build" / "lambda.zip", "serverless.yml names it"

    @cache
    def make(stage: str, *parameters: str) -> Path:
        folder = tmp_path_factory.mktemp(stage)
        options = [option for parameter in parameters for option in ("--param", parameter)]
        # Even with --package, the tool also writes to .serverless and then removes it.
        with one_at_a_time("serverless"):
            done = subprocess.run(
                [SERVERLESS, "package", "--stage", stage, "--package", folder, *options],
                cwd=ROOT,
                check=False,
                capture_output=True,
                text=True,
            )
        assert done.returncode == 0, done.stdout + done.stderr
        return folder / TEMPLATE

    return make


@pytest.fixture
def template(synthesize: Synthesize) -> Template:
    """The template of a stage other than production."""
    return json.loads(synthesize("staging").read_text())


@pytest.fixture
def production(synthesize: Synthesize) -> Template:
    return json.loads(synthesize("prod").read_text())


def resources(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    found = {
        name: resource.get("Properties", {})
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }
    assert found, kind
    return found


def statements(template: Template) -> Iterator[dict[str, Any]]:
    for role in resources(template, "AWS::IAM::Role").values():
        for policy in role["Policies"]:
            yield from policy["PolicyDocument"]["Statement"]


def listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_cfn_lint_finds_nothing(synthesize: Synthesize) -> None:
    # W3005: the deploy tool lists dependencies that CloudFormation also finds by itself.
    command = [Path(sys.executable).with_name("cfn-lint"), "--ignore-checks", "W3005", "--"]
    templates = [synthesize(stage) for stage in ("staging", "prod")]
    done = subprocess.run([*command, *templates], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# Permissions


def test_no_role_has_a_wildcard(template: Template) -> None:
    for statement in statements(template):
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            assert "*" not in action
        for resource in listed(statement["Resource"]):
            assert "*" not in json.dumps(resource)


def test_each_function_has_a_role_of_its_own(template: Template) -> None:
    functions = resources(template, "AWS::Lambda::Function")
    roles = [function["Role"]["Fn::GetAtt"][0] for function in functions.values()]
    assert len(set(roles)) == len(functions)
    assert set(roles) <= set(resources(template, "AWS::IAM::Role"))


@pytest.mark.parametrize(
    "parameters",
    [
        (),
        (
            "databaseUrlParameter=/shared/database",
            "secretParameter=/company/auth/signing-key",
            "previousSecretParameter=/company/auth/old-signing-key",
            "smokeTokenParameter=/elsewhere/token",
            "smokeOtherTokenParameter=/elsewhere/other-token",
        ),
    ],
    ids=["default names", "other names"],
)
def test_each_function_may_read_the_parameters_it_names_and_no_others(
    synthesize: Synthesize, parameters: tuple[str, ...]
) -> None:
    template = json.loads(synthesize("staging", *parameters).read_text())
    roles = resources(template, "AWS::IAM::Role")
    for function in resources(template, "AWS::Lambda::Function").values():
        named = {
            value
            for name, value in function["Environment"]["Variables"].items()
            if name.endswith("_PARAMETER") and value
        }
        role = roles[function["Role"]["Fn::GetAtt"][0]]
        allowed = {
            resource["Fn::Sub"].partition(":parameter")[2]
            for policy in role["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            if "ssm:GetParameter" in statement["Action"]
            for resource in listed(statement["Resource"])
        }
        # An empty name is a resource that no parameter has.
        assert named == allowed - {""}


def test_each_function_writes_to_its_own_log_only(template: Template) -> None:
    functions = resources(template, "AWS::Lambda::Function")
    groups = resources(template, "AWS::Logs::LogGroup")
    for function in functions.values():
        role = template["Resources"][function["Role"]["Fn::GetAtt"][0]]["Properties"]
        [written] = [
            statement["Resource"]["Fn::GetAtt"][0]
            for policy in role["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            if "logs:PutLogEvents" in statement["Action"]
        ]
        assert groups[written]["LogGroupName"] == f"/aws/lambda/{function['FunctionName']}"


# Functions


def test_every_function_is_what_was_built(template: Template) -> None:
    functions = resources(template, "AWS::Lambda::Function")
    assert len(functions) >= 3
    for function in functions.values():
        assert function["Runtime"] == "python3.13"
        assert function["Architectures"] == ["arm64"]
        assert function["Code"]["S3Key"].endswith("/lambda.zip")
        # The gateway waits 30 seconds: a function must time out first to send its own response.
        assert function["Timeout"] < 30
        module, _, name = function["Handler"].rpartition(".")
        assert callable(getattr(importlib.import_module(module.replace("/", ".")), name))


def test_every_setting_can_be_set(template: Template) -> None:
    given = {
        name
        for function in resources(template, "AWS::Lambda::Function").values()
        for name in function["Environment"]["Variables"]
    }
    wanted = {f"{name}_PARAMETER" if name in SECRETS else name for name in Settings.model_fields}
    assert wanted - NOT_OF_THE_STACK - given == {
        # For preview deployments on Vercel: anywhere else the API does not start with it.
        "CORS_PREVIEW_ORIGIN",
        # Only migrations use it, and they do not run on Lambda.
        "DATABASE_URL_UNPOOLED_PARAMETER",
        # The schedule invokes the function without HTTP.
        "CRON_SECRET_PARAMETER",
    }


def test_the_template_holds_no_secret(
    template: Template, synthesize: Synthesize, monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in resources(template, "AWS::Lambda::Function").values():
        assert not set(SECRETS) & set(function["Environment"]["Variables"])
    for name in SECRETS:
        monkeypatch.setenv(name, "postgresql://a-secret-of-the-shell")
    text = synthesize("leaky").read_text()
    assert "a-secret-of-the-shell" not in text


def test_snapstart_is_for_production(template: Template, production: Template) -> None:
    functions = resources(template, "AWS::Lambda::Function").values()
    assert [function for function in functions if "SnapStart" in function] == []
    faster = {
        name
        for name, function in resources(production, "AWS::Lambda::Function").items()
        if function.get("SnapStart") == {"ApplyOn": "PublishedVersions"}
    }
    # The functions that serve requests with the database. Nobody waits for the retention job.
    connected = {
        name
        for name, function in resources(production, "AWS::Lambda::Function").items()
        if "DATABASE_URL_PARAMETER" in function["Environment"]["Variables"]
        and name != "RetentionLambdaFunction"
    }
    assert faster == connected >= {"TasksLambdaFunction", "HealthLambdaFunction"}
    for name, integration in resources(production, "AWS::ApiGatewayV2::Integration").items():
        function = name.replace("HttpApiIntegration", "") + "LambdaFunction"
        # A snapshot belongs to a version: requests must go to the alias of the newest one.
        assert ("snapstart" in json.dumps(integration["IntegrationUri"])) == (function in faster)


# The gateway


def test_the_gateway_leaves_cors_to_the_functions(template: Template) -> None:
    [api] = resources(template, "AWS::ApiGatewayV2::Api").values()
    assert "CorsConfiguration" not in api
    routes = {
        route["RouteKey"] for route in resources(template, "AWS::ApiGatewayV2::Route").values()
    }
    assert "$default" in routes
    prefixes = ("$default", "ANY /api/", "ANY /.well-known/oauth-protected-resource")
    assert all(key.startswith(prefixes) for key in routes)
    assert not any(key.endswith("/") for key in routes), "AWS refuses a route with a last slash"
    for integration in resources(template, "AWS::ApiGatewayV2::Integration").values():
        assert integration["PayloadFormatVersion"] == "2.0"


def test_the_gateway_throttles_and_logs(template: Template) -> None:
    [stage] = resources(template, "AWS::ApiGatewayV2::Stage").values()
    throttling = stage["DefaultRouteSettings"]
    assert 0 < throttling["ThrottlingRateLimit"] <= throttling["ThrottlingBurstLimit"]
    line = json.loads(stage["AccessLogSettings"]["Format"])
    assert line["requestId"] == "$context.requestId"
    assert {"$context.status", "$context.routeKey", "$context.responseLatency"} <= set(
        line.values()
    )
    # These contain user ids and search terms.
    assert not re.search(r"context\.(path|requestOverride)|querystring|authorizer", str(line))


def test_every_log_expires(template: Template, production: Template) -> None:
    for made, days in ((template, 30), (production, 90)):
        groups = resources(made, "AWS::Logs::LogGroup").values()
        assert len(groups) == len(resources(made, "AWS::Lambda::Function")) + 1
        assert {group["RetentionInDays"] for group in groups} == {days}
    for function in resources(template, "AWS::Lambda::Function").values():
        assert function["LoggingConfig"]["LogFormat"] == "JSON"


# The schedules

SCHEDULED = ("Smoke", "Retention")


def schedule_of(template: Template, function: str) -> dict[str, Any]:
    schedules = resources(template, "AWS::Scheduler::Schedule")
    assert len(schedules) == len(SCHEDULED)
    return schedules[f"{function}SchedulerSchedule1"]


@pytest.mark.parametrize(
    ("function", "rate"), [("Smoke", "rate(5 minutes)"), ("Retention", "rate(1 hour)")]
)
def test_a_schedule_runs_its_function_without_retries(
    template: Template, function: str, rate: str
) -> None:
    schedule = schedule_of(template, function)
    assert schedule["ScheduleExpression"] == rate
    target = schedule["Target"]
    assert target["Arn"] == {"Fn::GetAtt": [f"{function}LambdaFunction", "Arn"]}
    assert json.loads(target["Input"]) == {"source": function.lower()}
    # The defaults are 185 attempts by EventBridge, each with two retries by Lambda.
    assert target["RetryPolicy"]["MaximumRetryAttempts"] == 0
    of_lambda = resources(template, "AWS::Lambda::EventInvokeConfig")
    assert len(of_lambda) == len(SCHEDULED)
    assert {each["MaximumRetryAttempts"] for each in of_lambda.values()} == {0}


@pytest.mark.parametrize("function", SCHEDULED)
def test_a_schedule_may_invoke_only_its_function(template: Template, function: str) -> None:
    schedule = schedule_of(template, function)
    role = template["Resources"][schedule["Target"]["RoleArn"]["Fn::GetAtt"][0]]["Properties"]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    [policy] = role["Policies"]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["lambda:InvokeFunction"]
    assert statement["Resource"] == schedule["Target"]["Arn"]


# Alarms


def test_the_smoke_alarm_watches_the_metric_of_the_smoke_test(template: Template) -> None:
    alarm = resources(template, "AWS::CloudWatch::Alarm")["SmokeAlarm"]
    function = resources(template, "AWS::Lambda::Function")["SmokeLambdaFunction"]
    variables = function["Environment"]["Variables"]
    assert alarm["Namespace"] == variables["POWERTOOLS_METRICS_NAMESPACE"]
    service = {"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}
    assert alarm["Dimensions"] == [service]
    assert alarm["TreatMissingData"] == "breaching", (
        "a smoke test that no longer runs must raise the alarm"
    )


def test_the_alarms_of_the_retention_job_watch_its_metric(template: Template) -> None:
    alarms = resources(template, "AWS::CloudWatch::Alarm")
    variables = resources(template, "AWS::Lambda::Function")["RetentionLambdaFunction"][
        "Environment"
    ]["Variables"]
    for name in ("RetentionAlarm", "RetentionFailureAlarm"):
        alarm = alarms[name]
        assert alarm["MetricName"] == "RetentionSuccess"
        assert alarm["Namespace"] == variables["POWERTOOLS_METRICS_NAMESPACE"]
        service = {"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}
        assert alarm["Dimensions"] == [service]
    stopped, failing = alarms["RetentionAlarm"], alarms["RetentionFailureAlarm"]
    # Of any success in two days, and of no data.
    assert (stopped["Statistic"], stopped["TreatMissingData"]) == ("Maximum", "breaching")
    assert stopped["DatapointsToAlarm"] == stopped["EvaluationPeriods"]
    assert stopped["Period"] * stopped["EvaluationPeriods"] == 2 * 24 * 3600
    assert failing["TreatMissingData"] == "ignore"
    for alarm in alarms.values():
        # The limits of CloudWatch.
        days = 7 if alarm["Period"] >= 3600 else 1
        assert alarm["Period"] * alarm["EvaluationPeriods"] <= days * 24 * 3600


def test_alarms_watch_this_api_and_notify_the_topic(template: Template) -> None:
    alarms = resources(template, "AWS::CloudWatch::Alarm")
    assert {alarm["MetricName"] for alarm in alarms.values()} >= {"5xx", "Latency"}
    topics = resources(template, "AWS::SNS::Topic")
    for alarm in alarms.values():
        assert [action["Ref"] for action in alarm["AlarmActions"]] == list(topics)
        assert alarm["DatapointsToAlarm"] <= alarm["EvaluationPeriods"]
        if alarm["Namespace"] == "AWS/ApiGateway":
            assert alarm["Dimensions"] == [{"Name": "ApiId", "Value": {"Ref": "HttpApi"}}]
            # Periods without requests are not failures.
            assert alarm["TreatMissingData"] == "notBreaching"


def test_alarms_can_notify_an_existing_topic(synthesize: Synthesize) -> None:
    topic = "arn:aws:sns:eu-central-1:123456789012:on-call"
    made = json.loads(synthesize("staging", f"alarmTopic={topic}").read_text())
    for alarm in resources(made, "AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == [topic]
