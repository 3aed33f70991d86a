"""docs/aws.md, followed word by word by a new operator: AWS is emulated by moto, the rest is real.

The functions run in Lambda's runtime with the variables that the deployed stack gives them, so they
read the parameters that the page stores. moto has no gateway: tests/platforms/aws/gateway.py is it.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from dev import postgres
from dev.deploy.aws import TEMPLATE
from tests.conftest import SECRET
from tests.integrations.client.documents import FENCED
from tests.platforms.aws.artifact import (
    emulator_binary,
    installed,
    lambda_runtime,
    unpacked_artifact,
)
from tests.platforms.aws.gateway import Invoke, serving
from tests.platforms.aws.sandbox import Fleet
from tests.platforms.aws.stack import read_functions, read_routes
from tests.platforms.aws.test_deploy import aws
from tests.support.databases import Cluster, Database
from tests.support.targets.lambda_runtime import SANDBOXES_PER_FUNCTION, invoking
from tests.tooling.contributor.working_copy import ROOT, WorkingCopy, copy_tree

__all__ = ["aws"]

PAGE = (ROOT / "docs" / "aws.md").read_text()
ROLES = (ROOT / "docs" / "database.md").read_text().partition("## Roles\n")[2]
RUN_SQL = "import os, psycopg, sys; psycopg.connect(os.environ['DATABASE_URL_UNPOOLED'], "
RUN_SQL += "autocommit=True).execute(sys.argv[1])"

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}

STAGE = "staging"

type Aws = Callable[[str], Any]


def section(heading: str) -> str:
    """The text between a heading of the page and the next one, of whatever level."""
    return re.split(r"^#+ ", PAGE.partition(f"{heading}\n")[2], maxsplit=1, flags=re.M)[0]


def scripts(text: str) -> list[str]:
    """The sh blocks of a section, also those inside of lists."""
    flush = re.sub(r"^ {3}", "", text, flags=re.M)
    return [found["text"] for found in FENCED.finditer(flush) if found["kind"] == "sh"]


@pytest.fixture
def copy(tmp_path: Path) -> WorkingCopy:
    """A clone of the repository, ready for `make`."""
    return copy_tree(tmp_path / "copy")


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A PostgreSQL without our roles, which belong to the server and not to a database."""
    with postgres.running(tmp_path / "postgres", durable=False) as server:
        yield Cluster(server.port, server.password)


@pytest.fixture
def database(new_cluster: Cluster) -> Iterator[Database]:
    """An empty database."""
    with new_cluster.clone("template0") as clone:
        yield clone


@contextmanager
def gateway(aws: Aws, **added: str) -> Generator[str]:
    """Serve the deployed functions of the stack. A function starts at its first request."""
    unpacked_artifact(), lambda_runtime(), emulator_binary()  # before the first request waits
    fleets: dict[str, Fleet] = {}

    def started(name: str) -> Invoke:
        def invoke(event: dict[str, object]) -> object:
            if name not in fleets:
                deployed = aws("lambda").get_function_configuration(
                    FunctionName=f"task-api-{STAGE}-{name}"
                )
                variables = deployed["Environment"]["Variables"] | added
                fleets[name] = Fleet(read_functions()[name], variables, SANDBOXES_PER_FUNCTION)
            return invoking(fleets[name])(event)

        return invoke

    functions = {name: started(name) for name in read_functions()}
    with serving(read_routes(), functions) as url:
        try:
            yield url
        finally:
            for fleet in fleets.values():
                with closing(fleet):
                    pass


def aws_command(folder: Path) -> Path:
    """Write the command `aws` into a folder."""
    packages = installed(Path(__file__).with_name("cli-requirements.txt"))
    folder.mkdir()
    command = folder / "aws"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" -m awscli "$@"\n'
    )
    command.chmod(0o755)
    return folder


def filled_in(script: str, values: dict[str, str]) -> str:
    """The script with the values that the page leaves out, each of which it must have once."""
    for shown, value in values.items():
        assert script.count(shown) == 1, shown
        script = script.replace(shown, value)
    return script


@pytest.mark.filterwarnings("ignore:Tried to parse:UserWarning")  # types that moto does not emulate
def test_the_page_leads_from_an_empty_database_to_a_domain(
    aws: Aws, copy: WorkingCopy, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The certificate is issued at once, because the AWS CLI looks only every 60 seconds.
    monkeypatch.setattr("moto.settings.ACM_VALIDATION_WAIT", 0)
    [create_role, _] = re.findall(r"^```sql\n(.*?)^```$", ROLES, re.M | re.S)[:2]
    pooled = database.admin_url.replace("postgres:", "task_app:", 1)
    pooled = re.sub(r":[^:@]*@", ":a-password@", pooled)
    # moto gives an updated stack no new outputs, so the last step of this section cannot run.
    *deploy, subscribe = scripts(section("## Deploy"))
    assert "Outputs[?OutputKey=='AlarmTopic']" in subscribe
    deploy[1] += f'python -c "{RUN_SQL}" "$CREATE_ROLE"\n'
    steps = filled_in(
        "\n".join([*deploy, *scripts(section("### Custom domain"))]),
        {
            "'postgresql://...'": f"'{database.admin_url}'",
            "'postgresql://task_app:...'": f"'{pooled}'",
            "BETTER_AUTH_SECRET='...'": f"BETTER_AUTH_SECRET='{SECRET}'",
        },
    )
    # moto emulates no SnapStart, which prod has.
    steps = steps.replace("=prod\n", f"={STAGE}\n").replace("task-api-prod", f"task-api-{STAGE}")
    steps = steps.replace("/prod/", f"/{STAGE}/").replace("prod-task-api", f"{STAGE}-task-api")
    assert "prod" not in steps
    # Nor HTTP APIs in stacks.
    api = aws("apigatewayv2").create_api(Name=f"{STAGE}-task-api", ProtocolType="HTTP")["ApiId"]
    create_role = filled_in(create_role, {"from: openssl rand -hex 24": "a-password"})
    with gateway(aws, AWS_ENDPOINT_URL=os.environ["AWS_ENDPOINT_URL"], **CREDENTIALS) as url:
        done = subprocess.run(
            ["bash", "-euxo", "pipefail"],
            input=steps,
            cwd=copy.root,
            env=copy.environment(
                PATH=f"{aws_command(tmp_path / 'bin')}:{copy.root}/.venv/bin:{os.environ['PATH']}",
                CREATE_ROLE=create_role,
                # moto has no gateway.
                SMOKE_BASE_URL=url,
            ),
            capture_output=True,
            text=True,
            check=False,
            timeout=560,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{url} serves the new version.\n" in done.stdout
    [mapping] = aws("apigatewayv2").get_api_mappings(DomainName="api.example.com")["Items"]
    assert mapping["ApiId"] == api
    template = json.loads((copy.root / "build" / "deployment" / TEMPLATE).read_text())
    assert template["Resources"]["HttpApi"]["Properties"]["Name"] == f"{STAGE}-task-api"
    assert "AlarmTopic" in template["Outputs"]


@pytest.mark.parametrize("function", ["smoke", "retention"])
def test_a_scheduled_function_is_invoked_by_hand(function: str, tmp_path: Path) -> None:
    """Version 2 of the AWS CLI expects other payloads in base64, and this one as it is too."""
    pages = (ROOT / "docs" / "smoke.md").read_text() + PAGE
    name = f"task-api-prod-{function}"
    [command] = re.findall(
        rf"`([^`]*aws lambda invoke [^`]*{name} [^`]*)`", " ".join(pages.split())
    )
    received: list[tuple[str, bytes]] = []

    class Lambda(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, body))
            self.send_response(200)
            self.send_header("Content-Length", "12")
            self.end_headers()
            self.wfile.write(b'{"ok": true}')

    with HTTPServer(("127.0.0.1", 0), Lambda) as server, ThreadPoolExecutor() as pool:
        served = pool.submit(server.handle_request)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            env={
                **CREDENTIALS,
                "PATH": f"{aws_command(tmp_path / 'bin')}:{os.environ['PATH']}",
                "AWS_REGION": "eu-central-1",
                "AWS_DEFAULT_REGION": "eu-central-1",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            },
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        served.result(10)
    [(path, payload)] = received
    assert path == f"/2015-03-31/functions/{name}/invocations"
    assert json.loads(payload) == {}
    assert '{"ok": true}' in done.stdout
