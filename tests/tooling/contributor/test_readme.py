"""README.md's commands as a newcomer types them, from a machine where nothing is installed."""

import json
from pathlib import Path

import httpx2

from dev.postgres import free_port
from tests.tooling.contributor.terminal import typed
from tests.tooling.contributor.working_copy import WorkingCopy, copy_tree
from tests.tooling.documented import documented, documented_script


def test_from_nothing_to_a_task_in_one_command(tmp_path: Path) -> None:
    copy = copy_tree(tmp_path / "copy", installed=())
    # Half of a virtual environment, as an interrupted installation leaves it.
    copy.run("python3.13", "-m", "venv", "--without-pip", ".venv")
    port = free_port()
    environment = copy.environment(PORT=str(port))
    command = documented("make dev")
    with typed(*command, folder=copy.root, environment=environment) as dev:
        dev.wait_for("Ctrl-C")
        url = f"http://127.0.0.1:{port}"
        assert f"The API runs at {url}" in dev.lines
        curls = [line for line in dev.lines if line.startswith("curl ")]
        ready, created, listed = [json.loads(copy.run("sh", "-c", f"{one} -sS")) for one in curls]
        assert ready == {"status": "ok"}
        assert listed == [created]

        token = copy.run(*documented("make token USER=alice")).strip()
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx2.get(f"{url}/api/alice/tasks", headers=headers, timeout=60).json() == []

        script = documented_script("TASKS=http://127.0.0.1:8000/api/demo/tasks")
        said = copy.run("sh", "-ec", script.replace("http://127.0.0.1:8000", url))
        assert '"title":"Buy milk"' in said
        assert "detail" not in said

        smoke = documented("make smoke URL=https://api.example.com", URL=url)
        assert "All steps succeeded." in copy.run(*smoke)


def test_all_tests_begin_with_one_command(copy: WorkingCopy) -> None:
    """They take minutes, and this one is among them: so some are found, and none is run."""
    found = "--collect-only -qq tests/contract/test_ids_and_paths.py tests/integrations/browser"
    said = copy.run(*documented("make verify"), PYTEST_ADDOPTS=found)
    for stage in ("contract on offline", "contract on vercel_runtime", "real components"):
        assert f"{stage} ..." in said


def test_the_benchmark_runs(copy: WorkingCopy) -> None:
    """As short as can be, for its figures are not what is tested."""
    said = copy.run(*documented("make bench"), BENCH="trial")
    assert "| **this API** |" in said
    assert "| hono + pg on Node |" in said
