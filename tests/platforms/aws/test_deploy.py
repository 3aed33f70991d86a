"""`make deploy-aws` against moto, which emulates uploads, stacks, functions and parameters.

It emulates neither the gateway nor alarms, so the smoke test runs against our emulated gateway.
"""

import base64
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer

from dev.app import GROUPS
from dev.deploy.aws import CannotDeploy, check_parameters
from tests.conftest import SECRET
from tests.platforms.aws.artifact import ROOT
from tests.support.databases import Cluster, Database
from tests.support.targets.lambda_runtime import serve

STAGE = "rehearsal"
REGION = "eu-central-1"

type Deploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def empty_database(cluster: Cluster) -> Iterator[Database]:
    """A database without any migration."""
    with cluster.clone(template="template1") as clone:
        yield clone


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Creates boto3 clients of an emulated AWS."""
    # moto treats cfn-lint's warnings as errors, even those that the template ignores. Named by its
    # path, because importing the module takes seconds in every worker.
    linter = "moto.cloudformation.models.validate_template_cfn_lint"
    monkeypatch.setattr(linter, lambda _: [])
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield lambda service: boto3.client(service, region_name="eu-central-1")
    server.stop()


@pytest.fixture
def deploy(empty_database: Database) -> Deploy:
    """Runs the command of `make deploy-aws` with every variable it needs, and with `changes`."""

    def run(**changes: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "STAGE": STAGE,
            "DATABASE_URL_UNPOOLED": empty_database.admin_url,
            "CORS_ORIGINS": "http://localhost:3000",
            "BETTER_AUTH_SECRET": SECRET,
            **changes,
        }
        return subprocess.run(
            [sys.executable, "-m", "dev.deploy.aws"],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def put(aws: Callable[[str], Any], name: str, value: str, kind: str = "SecureString") -> None:
    aws("ssm").put_parameter(Name=f"/task-api/{STAGE}/{name}", Value=value, Type=kind)


def is_migrated(database: Database) -> bool:
    with psycopg.connect(database.admin_url) as connection:
        row = connection.execute("SELECT to_regclass('tasks')").fetchone()
    return row is not None and row[0] is not None


def roll_back() -> None:
    """Run the page's commands for this stage, in a shell that names no region."""
    page = (ROOT / "docs" / "aws.md").read_text().partition("### Roll back\n")[2]
    commands = page.partition("```sh\n")[2].partition("```")[0].replace("prod", STAGE)
    show, restore, _ = commands.splitlines()

    def run(command: str) -> str:
        done = subprocess.run(
            command.split(),
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if "REGION" not in name},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    timestamp, *_ = re.findall(r"Timestamp: (\d{13})$", run(show), re.M)
    run(restore.replace("1795389934650", timestamp))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"STAGE": ""}, "Name the stage"),
        ({"STAGE": "local"}, "Name the stage"),
        ({"STAGE": "Prod; rm"}, "Name the stage"),
        ({"DATABASE_URL_UNPOOLED": ""}, "Set DATABASE_URL_UNPOOLED"),
        ({"CORS_ORIGINS": ""}, "Set CORS_ORIGINS"),
        ({"BETTER_AUTH_SECRET": ""}, "Set BETTER_AUTH_SECRET"),
    ],
)
def test_a_missing_variable_is_named_before_anything_happens(
    deploy: Deploy, changes: dict[str, str], sentence: str
) -> None:
    done = deploy(**changes)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(sentence)


def test_without_credentials_nothing_happens(
    deploy: Deploy, aws: Callable[[str], Any], tmp_path: Path
) -> None:
    missing = str(tmp_path / "none")
    done = deploy(
        AWS_ACCESS_KEY_ID="",
        AWS_SECRET_ACCESS_KEY="",
        AWS_SHARED_CREDENTIALS_FILE=missing,
        AWS_CONFIG_FILE=missing,
        AWS_EC2_METADATA_DISABLED="true",
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "credentials" in done.stderr


@pytest.mark.parametrize("function", ["tasks", "mcp", "smoke"])
def test_a_parameter_that_no_role_could_read_is_refused_before_anything_happens(
    function: str,
) -> None:
    environment = {"BETTER_AUTH_SECRET_PARAMETER": "auth-secret"}
    with pytest.raises(CannotDeploy, match="auth-secret must begin with a slash"):
        check_parameters({"functions": {function: {"environment": environment}}}, STAGE, REGION)


@pytest.mark.filterwarnings("ignore:Tried to parse:UserWarning")  # types that moto does not emulate
def test_a_deployment_from_missing_parameters_to_a_failing_smoke_test(
    deploy: Deploy, aws: Callable[[str], Any], empty_database: Database
) -> None:
    stacks = aws("cloudformation")

    # A parameter is missing: the message has the command that creates it.
    done = deploy()
    assert done.returncode == 1
    assert "aws ssm put-parameter --region eu-central-1" in done.stderr
    put(aws, "better-auth-secret", SECRET)

    # The functions would use another database than the migrations.
    put(aws, "database-url", empty_database.admin_url.replace("/test_", "/other_"))
    done = deploy()
    assert "name different databases" in done.stderr
    aws("ssm").delete_parameter(Name=f"/task-api/{STAGE}/database-url")
    put(aws, "database-url", empty_database.admin_url)
    assert not is_migrated(empty_database)
    assert stacks.list_stacks()["StackSummaries"] == []

    # Everything is set up.
    environment = {"DATABASE_URL": empty_database.admin_url, "BETTER_AUTH_SECRET": SECRET}
    with serve({**environment, "CORS_ORIGINS": "http://localhost:3000"}) as url:
        done = deploy(SMOKE_BASE_URL=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"{url} serves the new version.\n")
    assert is_migrated(empty_database)
    zipped = (ROOT / "build" / "lambda.zip").read_bytes()
    digest = base64.b64encode(hashlib.sha256(zipped).digest()).decode()
    functions = aws("lambda").list_functions()["Functions"]
    assert {function["FunctionName"] for function in functions} == {
        f"task-api-{STAGE}-{group.__name__.removeprefix('api.')}" for group in GROUPS
    }
    assert {function["CodeSha256"] for function in functions} == {digest}

    # The smoke test fails: the message has the commands to roll back.
    over_http = {"DATABASE_TRANSPORT": "HTTP", "DATABASE_HTTP_URL": "https://127.0.0.1:1/sql"}
    done = deploy(SMOKE_BASE_URL="http://127.0.0.1:1", **over_http)
    assert done.returncode == 1
    for command in ("deploy list", "rollback"):
        assert f"npx --no-install serverless {command} --stage {STAGE} --region {REGION}" in (
            done.stderr
        )
    with zipfile.ZipFile(ROOT / "build" / "lambda.zip") as archive:
        assert [name for name in archive.namelist() if name.startswith("psycopg")] == []

    roll_back()
