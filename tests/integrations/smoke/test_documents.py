"""The workflow and the documentation match the code."""

import re
from pathlib import Path

import yaml

from lib.settings import Settings
from lib.smoke.run import STEPS

ROOT = Path(__file__).parents[3]
WORKFLOW = ROOT / ".github" / "workflows" / "smoke.yml"


def test_the_page_explains_every_step() -> None:
    page = (ROOT / "docs" / "smoke.md").read_text()
    rows = re.findall(r"^\| ([a-z', -]+) \|", page, re.MULTILINE)
    explained = [name for row in rows for name in row.split(", ")]
    assert set(STEPS) <= set(explained)


def test_every_action_is_pinned_to_a_commit_and_may_only_read() -> None:
    text = WORKFLOW.read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: (\S+@\S+)", text)
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used)


def test_the_workflow_sets_variables_that_exist_and_takes_no_url_from_an_event() -> None:
    text = WORKFLOW.read_text()
    [job] = yaml.safe_load(text)["jobs"].values()
    variables = job["steps"][-1]["env"]
    assert set(variables) <= set(Settings.model_fields)
    for name, value in variables.items():
        assert re.fullmatch(rf"\${{{{ (vars|secrets)\.{name} }}}}", value)
    assert "environment_url" not in text
