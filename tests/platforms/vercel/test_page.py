"""docs/vercel.md, followed word by word by a new operator, up to two smoke tests.

Only Vercel's account is missing: each deployment has the variables that the page adds to its
environment, and the CLI's `deploy` names it. The rest is real: the build, its functions in Vercel's
runtime, two databases with their migrations and roles, and the smoke test.
"""

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dev import postgres
from dev.deploy import vercel
from tests.conftest import SECRET
from tests.integrations.client.documents import FENCED
from tests.support.databases import Cluster, Database
from tests.support.targets import vercel_runtime
from tests.tooling.contributor.working_copy import ROOT

PAGE = (ROOT / "docs" / "vercel.md").read_text()
STEPS = PAGE.partition("## Deploy\n")[2].partition("\n### ")[0]
SCRIPTS = [
    found["text"]
    for found in FENCED.finditer(re.sub(r"^ {3}", "", STEPS, flags=re.M))
    if found["kind"] == "sh"
]
[CREATE_ROLE, *_] = re.findall(
    r"^```sql\n(.*?)^```$",
    (ROOT / "docs" / "database.md").read_text().partition("## Roles\n")[2],
    re.M | re.S,
)
ADD = re.compile(r"^npx vercel env add (\w+) ([a-z,]+) ", re.M)
EXPORT = re.compile(r"^export (\w+)=(\S+)", re.M)
CLI = '#!/bin/sh\necho "$DEPLOYED"\n'


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A PostgreSQL without our roles, which belong to the server and not to a database."""
    with postgres.running(tmp_path / "postgres", durable=False) as server:
        yield Cluster(server.port, server.password)


@pytest.fixture
def databases(new_cluster: Cluster) -> Iterator[dict[str, Database]]:
    """An empty database for each environment, as a branch of Neon is one."""
    with new_cluster.clone("template0") as production, new_cluster.clone("template0") as preview:
        yield {"production": production, "preview": preview}


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A linked project, and a CLI that deploys to the URL in DEPLOYED."""
    program = tmp_path / "vercel"
    program.write_text(CLI)
    program.chmod(0o755)
    monkeypatch.setattr(vercel, "CLI", program)
    monkeypatch.setattr(vercel, "UPLOAD", tmp_path / "upload")
    monkeypatch.setenv("VERCEL_PROJECT_ID", "p")
    # The same build for both environments.
    build, problems = vercel.vercel_build.build, vercel.vercel_build.problems
    monkeypatch.setattr(vercel.vercel_build, "main", lambda: len(problems(build())))


@pytest.mark.usefixtures("cli")
def test_the_page_leads_from_empty_databases_to_a_preview_and_to_production(
    databases: dict[str, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate, variables, deploy = SCRIPTS
    assert deploy.splitlines()[-2].startswith("make deploy-vercel ")
    assert deploy.splitlines()[-1] == "make deploy-vercel PRODUCTION=1"

    # Step 3. A branch has the tables and roles of production at the time when it is created.
    assert [name for name, _ in EXPORT.findall(migrate)] == [vercel.DIRECT_URL, vercel.PREVIEW_URL]
    assert migrate.endswith("make migrate\n")
    monkeypatch.setenv(vercel.DIRECT_URL, databases["production"].admin_url)
    monkeypatch.setenv(vercel.PREVIEW_URL, databases["preview"].admin_url)
    subprocess.run([".venv/bin/python", "-m", "migrations"], cwd=ROOT, check=True)
    create_role = CREATE_ROLE.replace("from: openssl rand -hex 24", "pw")
    with psycopg.connect(databases["production"].admin_url, autocommit=True) as connection:
        connection.execute(create_role.encode())

    # Step 4. The values are what the comments describe.
    known = {
        "BETTER_AUTH_SECRET": SECRET,
        "CORS_ORIGINS": "https://app.example.com",
        "CRON_SECRET": uuid.uuid4().hex,
    }
    given: dict[str, dict[str, str]] = {"production": {}, "preview": {}}
    assert len(ADD.findall(variables)) == len(variables.splitlines())
    for name, environments in ADD.findall(variables):
        for environment in environments.split(","):
            pooled = re.sub(
                "postgres:[^@]*@", "task_app:pw@", databases[environment].admin_url, count=1
            )
            given[environment][name] = pooled if name == "DATABASE_URL" else known[name]

    # Step 6.
    exported = dict(EXPORT.findall(deploy))
    assert exported["CORS_ORIGINS"] == known["CORS_ORIGINS"]
    for name in exported:
        monkeypatch.setenv(name, known.get(name, "x"))
    for environment in ("preview", "production"):
        monkeypatch.setenv("PRODUCTION", str(int(environment == "production")))
        settings = given[environment] | {"VERCEL_ENV": environment}
        with vercel_runtime.serve(settings) as url:
            monkeypatch.setenv("DEPLOYED", url)
            assert vercel.main() == 0
        [(count,)] = databases[environment].query("SELECT count(*) FROM users")
        assert count > 0, "the smoke test used another database"


def test_the_cli_refuses_schedules_as_vercel_documents_them(tmp_path: Path) -> None:
    """If it accepts them, vercel.json can have schedules in the place of crons."""
    (tmp_path / ".vercel").mkdir()
    (tmp_path / ".vercel" / "project.json").write_text('{"settings":{}}')
    (tmp_path / "vercel.json").write_text(
        '{"schedules": {"smoke": {"path": "/api/smoke", "schedule": "0 5 * * *"}}}'
    )
    done = subprocess.run(
        [ROOT / "node_modules" / ".bin" / "vercel", "build", "--yes"],
        cwd=tmp_path,
        env=os.environ | {"VERCEL_TELEMETRY_DISABLED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "`schedules` should be array" in done.stderr
