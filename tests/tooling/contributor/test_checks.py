"""`make check` names the file and line of each failure; `make` lists every target."""

import re
import subprocess

from tests.tooling.contributor.working_copy import LONG_AGO, ROOT, WorkingCopy
from tests.tooling.documented import documented

# Prerequisites of other targets.
INTERNAL = {"stage-named", "verify-rest"}


def line_of(copy: WorkingCopy, name: str, text: str) -> int:
    return (copy.root / name).read_text().splitlines().index(text) + 1


def test_every_failure_names_its_line_or_the_command_that_corrects_it(copy: WorkingCopy) -> None:
    (copy.root / "dev/unformatted.py").write_text("numbers = [1,2]\n")
    (copy.root / "dev/unused.py").write_text("import os\n")
    (copy.root / "dev/untyped.py").write_text('number: int = "one"\n')
    copy.replace("lib/auth/tokens.py", "import jwt\n", "import jwt\n\nfrom lib.db import tasks\n")
    (copy.root / "dev/misspelt.py").write_text("# Rec" + "ieved.\n")
    copy.replace("dev/check.py", "runs every check", "who" + "ever runs every check")
    copy.replace(".github/workflows/audit.yml", "persist-credentials: false", "fetch-depth: 1")
    copy.replace("api/health.py", "Check that the service runs", "Say that the service runs")
    copy.replace("lib/db/queries.py", "READY = _ready(", "MORE = select(ONE)\nREADY = _ready(")
    with (copy.root / "requirements.txt").open("a") as requirements:
        requirements.write("# edited by hand\n")
    code, output = copy.attempt(*documented("make check"))
    assert code
    results = dict(re.findall(r"^(\w+) +(\w+) +\d+\.\d s$", output, re.M))
    assert results == dict.fromkeys(
        [
            *("format", "lint", "types", "imports", "spelling", "words", "workflows"),
            *("sql", "openapi", "pins"),
        ],
        "FAILED",
    )
    lines = output.splitlines()
    assert any(line.startswith("dev/unformatted.py:1:") for line in lines), output
    assert any(line.startswith("dev/unused.py:1:8: F401") for line in lines), output
    assert any(line.startswith("dev/untyped.py:1:") for line in lines), output
    line = line_of(copy, "lib/auth/tokens.py", "from lib.db import tasks")
    position = f"lib/auth/tokens.py:{line}: lib.db.tasks"
    assert any(position in line for line in lines), output
    assert any(line.startswith("./dev/misspelt.py:1: Rec") for line in lines), output
    assert any(line.startswith("dev/check.py:1: who" + "ever") for line in lines), output
    assert any(".github/workflows/audit.yml:" in line for line in lines), output
    assert "lib/db/compiled.py is out of date: run make sql and commit it." in lines
    assert "The OpenAPI document is out of date: run make openapi and commit it." in lines
    assert "requirements.txt is out of date: run make lock and commit it." in lines
    names = "format, lint, types, imports, spelling, words, workflows, sql, openapi, pins"
    assert f"Failed checks: {names}." in lines


def test_checking_the_pins_writes_no_file(copy: WorkingCopy) -> None:
    # A newer requirements-dev.txt would make `make` install every package again.
    copy.run(".venv/bin/python", "-m", "dev.lock", "--check")
    files = [copy.root / name for name in ("requirements.txt", "requirements-dev.txt")]
    assert {file.stat().st_mtime for file in files} == {LONG_AGO}


def test_make_without_a_target_lists_every_target_on_one_line() -> None:
    command = documented("make")
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # The other lines are headings and blank.
    listed = [line.split(maxsplit=2) for line in output.splitlines() if line.startswith("  ")]
    assert all(line[0] == "make" and len(line) == 3 for line in listed), output
    assert all(len(line) <= 120 for line in output.splitlines()), output
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert sorted(line[1] for line in listed) == sorted(set(phony) - INTERNAL)
    for line in listed:
        subprocess.run(["make", "-n", line[1]], cwd=ROOT, capture_output=True, check=True)


def test_the_fast_tests_run_alone(copy: WorkingCopy) -> None:
    only = "tests/unit/test_pipeline.py"
    output = copy.run(*documented("make test-fast"), PYTEST_ADDOPTS=only)
    assert "Running the fast tests" in output
    assert "4 passed" in output
