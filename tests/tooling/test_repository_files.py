"""The files that tools read and nobody runs by hand: valid, and true to the rest of the project."""

import configparser
import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.deploy.sources import tracked_files, untracked_files
from dev.serve import ROOT
from tests.tooling.make_targets import TARGETS, make_targets

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"uses: ([\w./-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+")
# Keep a Changelog's, and no others.
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def jobs_of(workflow: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(workflow.read_text())["jobs"].values())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_a_workflow_may_read_and_no_more(workflow: Path) -> None:
    text = workflow.read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert text.count("permissions:") == 1
    assert "pull_request_target" not in text
    for job in jobs_of(workflow):
        assert job["timeout-minutes"] <= 30
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_actions_are_pinned_by_full_commits_and_alike_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for workflow in WORKFLOWS:
        for line in workflow.read_text().splitlines():
            if "uses:" in line and not line.lstrip().startswith("#"):
                pinned = PINNED.search(line)
                assert pinned, line
                pins.setdefault(pinned[1], set()).add(pinned[2])
    assert {name: len(commits) for name, commits in pins.items()} == dict.fromkeys(pins, 1)
    assert pins


def test_workflows_run_what_exists() -> None:
    commands = [
        step["run"]
        for workflow in WORKFLOWS
        for job in jobs_of(workflow)
        for step in job["steps"]
        if "run" in step
    ]
    named = {target for command in commands for target in make_targets(command)}
    assert {"check", "test"} <= named
    assert named <= TARGETS
    for module in re.findall(r"python -m (dev\.\w+)", "\n".join(commands)):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()


def test_the_dev_container_is_the_machine_that_make_expects() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["image"].endswith(f"/python:{(ROOT / '.python-version').read_text().strip()}")
    assert set(make_targets(container["postCreateCommand"])) <= TARGETS
    [node] = [one["version"] for one in container["features"].values()]
    engines = json.loads((ROOT / "package.json").read_text())["engines"]["node"]
    assert re.search(rf"[\^=]{node}\b", engines)
    assert 'os.environ.get("PORT", "8000")' in (ROOT / "dev/serve.py").read_text()
    assert container["forwardPorts"] == [8000]


@pytest.fixture
def hooks() -> dict[str, list[str]]:
    """The command of each pre-commit hook."""
    configured = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in configured["repos"]] == ["local"]
    [hooks] = [repository["hooks"] for repository in configured["repos"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    return {hook["id"]: hook["entry"].split() for hook in hooks}


def test_hooks_run_the_checks_of_make_check(hooks: dict[str, list[str]], tmp_path: Path) -> None:
    here = {name: [str(ROOT / program), *options] for name, (program, *options) in hooks.items()}
    bad = tmp_path / "bad.py"
    bad.write_text("import os\nnumbers = [1,2]\n")
    assert subprocess.run([*here["lint"], bad], capture_output=True, check=False).returncode == 1
    subprocess.run([*here["format"], bad], capture_output=True, check=True)
    assert bad.read_text() == "import os\n\nnumbers = [1, 2]\n"
    assert here["types"][1:] == ["check", "--output-format", "concise"]
    assert all(Path(program).parent == Path(sys.prefix) / "bin" for program, *_ in here.values())


def test_text_files_are_as_editorconfig_says() -> None:
    config = configparser.ConfigParser(delimiters="=")
    config.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    assert config["top"]["root"] == "true"
    wrong = []
    for name in [*tracked_files(ROOT), *untracked_files(ROOT)]:
        rules: dict[str, str] = {}
        for section in config.sections()[1:]:
            patterns = re.sub(r".*\{(.*)\}.*", lambda found: found[1], section).split(",")
            whole = [re.sub(r"\{.*\}", pattern, section) for pattern in patterns]
            if any(fnmatch(Path(name).name, pattern) for pattern in whole):
                rules |= config[section]
        text = (ROOT / name).read_bytes().decode(rules["charset"])
        lines = text.split("\n")
        blank = [number for number, line in enumerate(lines, 1) if line != line.rstrip()]
        style = {"tab": "\t", "space": " "}[rules["indent_style"]]
        other = {"\t": " ", " ": "\t"}[style]
        indented = [number for number, line in enumerate(lines, 1) if line.startswith(other)]
        if blank or indented or (text and not text.endswith("\n")):
            wrong.append(f"{name}: blanks at the end {blank[:5]}, indented {indented[:5]}")
    assert wrong == []


def test_the_changelog_is_kept_for_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\]", text, re.M)
    assert versions[0] == "Unreleased"
    assert version in versions or f"To become {version}" in text
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= KINDS


def test_contributing_names_what_exists() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    layout = page.partition("## The layout")[2].partition("\n## ")[0]
    named = set(re.findall(r"\b(?:api|lib|dev|tests|migrations|bench|docs)/\w*(?:\.\w+)?", layout))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
