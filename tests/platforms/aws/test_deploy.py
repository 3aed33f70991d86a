"""`make deploy-aws` against moto's AWS, which knows uploads, stacks, functions and parameters, but
neither gateway nor alarms: so the smoke test of a rehearsal looks at our own stand-in.
"""

import base64
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from moto.cloudformation import models as cloudformation
from moto.server import ThreadedMotoServer

from dev.app import GROUPS
from tests.conftest import SECRET
from tests.platforms.aws.artifact import ROOT
from tests.support.databases import Cluster, Database
from tests.support.targets.lambda_runtime import serve

STAGE = "rehearsal"

type Deploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def empty_database(cluster: Cluster) -> Iterator[Database]:
    """A database that no migration has seen."""
    with cluster.clone(template="template1") as clone:
        yield clone


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Makes clients of an AWS of our own."""
    # It takes cfn-lint's remarks for errors, also those that the template says to ignore.
    monkeypatch.setattr(cloudformation, "validate_template_cfn_lint", lambda _: [])
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
    """Runs what `make deploy-aws` runs, in a shell that has all it needs, but for `changes`."""

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
def test_a_shell_that_lacks_something_is_told_before_anything_happens(
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


@pytest.mark.filterwarnings("ignore:Tried to parse:UserWarning")  # what moto does not know
def test_the_whole_way(deploy: Deploy, aws: Callable[[str], Any], empty_database: Database) -> None:
    stacks = aws("cloudformation")

    # A parameter is missing: the sentence has the command that makes it.
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

    # All is well.
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

    # What serves is broken: the way back is told.
    done = deploy(SMOKE_BASE_URL="http://127.0.0.1:1")
    assert done.returncode == 1
    assert f"rollback --stage {STAGE}" in done.stderr
