"""README.md's commands, on a machine where nothing is installed."""

import json
import re
from pathlib import Path

import httpx2

from dev.postgres import free_port
from tests.integrations.better_auth.servers import EXAMPLE
from tests.integrations.example.servers import build
from tests.tooling.contributor.terminal import typed
from tests.tooling.contributor.working_copy import WorkingCopy, copy_tree
from tests.tooling.documented import documented, documented_script


def test_one_command_installs_and_serves(tmp_path: Path) -> None:
    copy = copy_tree(tmp_path / "copy", installed=())
    # An incomplete virtual environment, as an interrupted installation leaves it.
    copy.run("python3.13", "-m", "venv", "--without-pip", ".venv")
    port = free_port()
    environment = copy.environment(PORT=str(port))
    command = documented("make dev")
    with typed(*command, folder=copy.root, environment=environment) as dev:
        dev.wait_for("Ctrl-C")
        url = f"http://127.0.0.1:{port}"
        assert f"API:      {url}/api" in dev.lines
        curls = [line for line in dev.lines if line.startswith("curl ")]
        ready, created, listed = [json.loads(copy.run("sh", "-c", f"{one} -sS")) for one in curls]
        assert ready == {"status": "ok"}
        assert listed == [created]

        token = copy.run(*documented("make token USER=alice")).strip()
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx2.get(f"{url}/api/alice/tasks", headers=headers, timeout=60).json() == []

        script = documented_script("TASKS=http://127.0.0.1:8000/api/demo/tasks")
        output = copy.run("sh", "-ec", script.replace("http://127.0.0.1:8000", url))
        assert '"title":"Buy milk"' in output
        assert "detail" not in output

        smoke = documented("make smoke URL=https://api.example.com", URL=url)
        assert "All steps succeeded." in copy.run(*smoke)


def test_one_command_serves_the_page(copy: WorkingCopy) -> None:
    """With the packages and the build of this tree: tests/tooling/test_demo.py covers the rest."""
    build()
    for name in ("node_modules", ".next"):
        (copy.root / "examples/nextjs" / name).symlink_to(EXAMPLE / name)
    environment = copy.environment(PORT=str(free_port()))
    with typed(*documented("make demo"), folder=copy.root, environment=environment) as demo:
        demo.wait_for("Ctrl-C")
        shown = dict(line.split(maxsplit=1) for line in demo.lines if len(line.split()) == 2)
        url = shown["Open"]
        person = {"email": shown["E-mail:"], "password": shown["Password:"]}
        with httpx2.Client(base_url=url, headers={"Origin": url}, timeout=60) as browser:
            [api] = re.findall('data-api="(.*?)"', browser.get("/").text)
            browser.post("/api/auth/sign-in/email", json=person).raise_for_status()
            token = browser.get("/api/auth/token").json()["token"]
            assert person["email"] in browser.get("/").text
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx2.get(f"{api}/api/tasks", headers=headers, timeout=60).json() == []


def test_one_command_runs_every_stage_of_the_tests(copy: WorkingCopy) -> None:
    """Only collected, and not run: they take minutes, and include this test."""
    found = "--collect-only -qq tests/contract/test_ids_and_paths.py tests/integrations/browser"
    output = copy.run(*documented("make verify"), PYTEST_ADDOPTS=found)
    for stage in ("contract on offline", "contract on vercel_runtime", "real components"):
        assert f"{stage} ..." in output


def test_the_benchmark_runs(copy: WorkingCopy) -> None:
    """As short as possible: this test does not look at the figures."""
    output = copy.run(*documented("make bench"), BENCH="trial")
    assert "| **this API** |" in output
    assert "| hono + pg on Node |" in output
