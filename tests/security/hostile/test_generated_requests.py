"""At least 1,000 requests that schemathesis generates from the OpenAPI document, with all checks.

HOSTILE_SEED=... generates other requests. The output of a run names its seed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.security.hostile import mutant_apps
from tests.security.hostile.conftest import FIGURES
from tests.support.targets.local import serve

pytestmark = pytest.mark.verify

HOOKS = Path(__file__).parent / "schemathesis_hooks.py"
SEED = os.environ.get("HOSTILE_SEED", "20261123")
MIN_CASES = 1000
TASK_OPERATIONS = {
    "GET /api/{user_id}/tasks",
    "POST /api/{user_id}/tasks",
    "GET /api/{user_id}/tasks/{task_id}",
    "PUT /api/{user_id}/tasks/{task_id}",
    "DELETE /api/{user_id}/tasks/{task_id}",
    "PATCH /api/{user_id}/tasks/{task_id}",
    "PATCH /api/{user_id}/tasks/{task_id}/complete",
    "GET /api/{user_id}/tasks/stats",
    "GET /api/{user_id}/tasks/changes",
    "POST /api/{user_id}/tasks/{task_id}/restore",
    "GET /api/tasks/changes",
    "POST /api/tasks/{task_id}/restore",
    "GET /api/tasks",
    "POST /api/tasks",
    "GET /api/tasks/stats",
    "GET /api/tasks/{task_id}",
    "PUT /api/tasks/{task_id}",
    "PATCH /api/tasks/{task_id}",
    "DELETE /api/tasks/{task_id}",
    "PATCH /api/tasks/{task_id}/complete",
}


def attack(
    url: str, folder: Path, environment: Mapping[str, str], *, examples: int
) -> tuple[dict[str, Any], str]:
    """Run schemathesis against `url`. Returns its report and its output."""
    configuration, report = folder / "schemathesis.toml", folder / "report.json"
    configuration.write_text(f"hooks = {json.dumps(str(HOOKS))}\n")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)]
    command += ["run", f"{url}/api/openapi.json", "--checks", "all"]
    # The hooks replace these checks by some that allow for rules beyond schemas.
    command += ["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]
    command += ["--max-examples", str(examples), "--seed", SEED, "--no-shrink"]
    command += ["--continue-on-failure", "--generation-database", "none", "--no-color"]
    command += ["--report", "json", "--report-json-path", str(report)]
    completed = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "HOSTILE_SECRET": environment["BETTER_AUTH_SECRET"]},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert report.exists(), completed.stdout + completed.stderr
    return json.loads(report.read_text()), completed.stdout


def test_no_generated_request_gets_a_5xx_or_breaks_the_document(
    environment: dict[str, str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with serve(environment) as url:
        report, output = attack(url, tmp_path, environment, examples=80)
    generated, failures = report["test_cases"]["generated"], len(report["failures"])
    record_property(
        FIGURES,
        f"generated requests, seed {SEED}: {generated}, all checks, {failures} failures",
    )
    assert report["failures"] == [], output
    assert report["errors"] == [], output
    assert report["complete"]
    assert report["test_cases"]["generated"] >= MIN_CASES
    assert {phase["status"] for phase in report["phases"].values()} == {"success"}
    accepted = {
        operation
        for operation, phases in report["valid_rates"].items()
        if sum(phase["accepted"] for phase in phases.values())
    }
    assert accepted >= TASK_OPERATIONS, "requests that are all refused prove nothing"


def test_mutants_are_found(environment: dict[str, str], tmp_path: Path) -> None:
    with serve(environment, "tests.security.hostile.mutant_apps:app") as url:
        report, output = attack(url, tmp_path, environment, examples=5)
    found = {failure["type"] for failure in report["failures"]}
    assert found >= set(mutant_apps.NAMES), output
