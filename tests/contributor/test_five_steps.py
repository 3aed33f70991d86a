"""CONTRIBUTING.md's endpoint group, made literally: it passes the checks and works everywhere."""

import zipfile
from collections.abc import Mapping

import httpx2
import pytest

from dev.postgres import free_port
from tests.conftest import SECRET, bearer
from tests.contributor.terminal import Terminal, typed
from tests.contributor.working_copy import ROOT, WorkingCopy, apply_blocks, copy_tree
from tests.databases import Cluster
from tests.dev.documented import documented

# The whole suite takes minutes: of `make test`, what a new group may break.
ITS_TESTS = "tests/api/test_notes.py tests/migrations tests/contract/test_health_and_docs.py"
BUILT = """
import os, sys, threading
from tests.targets.vercel_runtime import serve
with serve(dict(os.environ)) as url:
    print("Serves", url, flush=True)
    threading.Event().wait()
"""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """A copy of the working tree in which the five steps were done."""
    copy = copy_tree(tmp_path_factory.mktemp("grown") / "copy")
    page = (ROOT / "CONTRIBUTING.md").read_text()
    steps = page.partition("## Add an endpoint group\n")[2].partition("\n## ")[0]
    headings = [line for line in steps.splitlines() if line.startswith("### ")]
    assert [heading.split()[1] for heading in headings] == ["1.", "2.", "3.", "4.", "5."]
    apply_blocks(copy, steps, PYTEST_ADDOPTS=ITS_TESTS)
    return copy


def check_notes(url: str, headers: Mapping[str, str]) -> None:
    """The routes of the new group, asked by demo."""
    path = f"{url}/api/demo/notes"
    made = httpx2.post(path, json={"text": "The key is under the mat"}, headers=headers, timeout=60)
    assert (made.status_code, made.json()["text"]) == (201, "The key is under the mat")
    assert made.json() in httpx2.get(path, headers=headers, timeout=60).json()
    assert httpx2.get(f"{path}/", headers=headers, timeout=60).status_code == 200
    assert httpx2.get(path, timeout=60).status_code == 401
    assert httpx2.get(f"{url}/api/eve/notes", headers=headers, timeout=60).status_code == 403
    document = httpx2.get(f"{url}/api/openapi.json", timeout=60).json()
    assert set(document["paths"]["/api/{user_id}/notes"]) == {"get", "post"}


def printed_token(terminal: Terminal) -> dict[str, str]:
    [token] = {line for line in terminal.lines if line.startswith("eyJ")}
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("command", [documented("make dev"), documented("make offline")])
def test_it_is_served_on_this_machine(grown: WorkingCopy, command: list[str]) -> None:
    port = free_port()
    environment = grown.environment(PORT=str(port))
    with typed(*command, folder=grown.root, environment=environment) as terminal:
        terminal.wait_for("Ctrl-C")
        check_notes(f"http://127.0.0.1:{port}", printed_token(terminal))


def test_it_is_built_for_vercel(grown: WorkingCopy, cluster: Cluster) -> None:
    assert "api/notes " in grown.run("make", "vercel-build")
    # As a deployment finds it: everything is there but the new table.
    with cluster.clone() as clone:
        said = grown.run(*documented("make migrate"), DATABASE_URL_UNPOOLED=clone.admin_url)
        assert "applied 0002" in said
        environment = grown.environment(DATABASE_URL=clone.app_url, BETTER_AUTH_SECRET=SECRET)
        command = (".venv/bin/python", "-c", BUILT)
        with typed(*command, folder=grown.root, environment=environment) as runtime:
            runtime.wait_for("Serves")
            check_notes(runtime.lines[0].split()[1], bearer("demo"))


def test_it_is_in_the_stack_for_aws(grown: WorkingCopy) -> None:
    """The deploy tool takes serverless.yml; its names are those that CloudFormation gets."""
    # It wants the zip to be there, and does not look into it.
    (grown.root / "build").mkdir()
    zipfile.ZipFile(grown.root / "build/lambda.zip", "w").close()
    grown.run("node_modules/.bin/serverless", "package", "--stage", "prod", "--package", "built")
    template = (grown.root / "built/cloudformation-template-update-stack.json").read_text()
    assert '"NotesLambdaFunction"' in template
    assert "NotesLogGroup" in template
