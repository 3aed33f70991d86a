"""CONTRIBUTING.md's new endpoint group passes every check and works on each platform."""

import re
from collections.abc import Mapping

import httpx2

from dev.postgres import free_port
from tests.conftest import SECRET, bearer
from tests.support.databases import Cluster
from tests.tooling.contributor.terminal import Terminal, typed
from tests.tooling.contributor.working_copy import WorkingCopy, apply_blocks, contributing_section
from tests.tooling.documented import documented

# The tests that a new group can break; all of `make test` takes minutes.
ITS_TESTS = (
    "tests/unit/test_notes.py tests/tooling/bench/test_import_budget.py "
    "tests/unit/test_parameters.py tests/unit/test_ownership.py tests/unit/test_owned_tables.py "
    "tests/unit/test_row_level_security.py tests/unit/test_platform_routes.py "
    "tests/unit/test_public_routes.py tests/contract/test_health_and_docs.py "
    "tests/integrations/migrations/test_migrations.py "
    "tests/integrations/migrations/test_erase_user.py "
    "tests/integrations/migrations/test_row_level_security.py "
    "tests/integrations/migrations/test_privileges.py "
    "tests/integrations/migrations/test_rollback.py"
)
# Tests in these files which take long, and which no new group can break.
LONG_TESTS = (
    "test_erase_user.py::test_a_deadlock_with_a_restoration_is_tried_again",
    "test_erase_user.py::test_a_user_id",
    "test_erase_user.py::test_a_variable_of_the_shell",
    "test_erase_user.py::test_exactly_the_named_user_is_erased",
    "test_migrations.py::test_of_four_at_once",
    "test_rollback.py::test_make_dev_names_the_folder",
    "test_row_level_security.py::test_a_backup_is_restored_whole",
)
BUILT = """
import os, sys, threading
from tests.support.targets.vercel_runtime import serve
with serve(dict(os.environ)) as url:
    print("Serving", url, flush=True)
    threading.Event().wait()
"""


def follow_steps(copy: WorkingCopy) -> None:
    """Apply the five steps of CONTRIBUTING.md to a copy of the working tree."""
    steps = contributing_section("Add an endpoint group")
    headings = [line for line in steps.splitlines() if line.startswith("### ")]
    assert [heading.split()[1] for heading in headings] == ["1.", "2.", "3.", "4.", "5."]
    left_out = "".join(f" --deselect tests/integrations/migrations/{one}" for one in LONG_TESTS)
    apply_blocks(copy, steps, PYTEST_ADDOPTS=ITS_TESTS + left_out)
    # Builds for AWS and Vercel take only files that git tracks.
    copy.run("git", "add", "api", "lib")


def check_notes(url: str, headers: Mapping[str, str]) -> None:
    """Call the routes of the new group as the user demo."""
    path = f"{url}/api/demo/notes"
    created = httpx2.post(
        path, json={"text": "The key is under the mat"}, headers=headers, timeout=60
    )
    assert (created.status_code, created.json()["text"]) == (201, "The key is under the mat")
    assert created.json() in httpx2.get(path, headers=headers, timeout=60).json()
    assert httpx2.get(f"{path}/", headers=headers, timeout=60).status_code == 200
    assert httpx2.get(path, timeout=60).status_code == 401
    assert httpx2.get(f"{url}/api/eve/notes", headers=headers, timeout=60).status_code == 403
    document = httpx2.get(f"{url}/api/openapi.json", timeout=60).json()
    assert set(document["paths"]["/api/{user_id}/notes"]) == {"get", "post"}


def printed_token(terminal: Terminal) -> dict[str, str]:
    [token] = {line for line in terminal.lines if line.startswith("eyJ")}
    return {"Authorization": f"Bearer {token}"}


def check_served_on_this_machine(copy: WorkingCopy, command: list[str]) -> None:
    port = free_port()
    environment = copy.environment(PORT=str(port))
    with typed(*command, folder=copy.root, environment=environment) as terminal:
        terminal.wait_for("Ctrl-C")
        check_notes(f"http://127.0.0.1:{port}", printed_token(terminal))


def check_built_for_vercel(copy: WorkingCopy, cluster: Cluster) -> None:
    assert "api/notes " in copy.run(*documented("make vercel-build"))
    # The state before a deployment: every table exists except the new one.
    with cluster.clone() as clone:
        output = copy.run(*documented("make migrate"), DATABASE_URL_UNPOOLED=clone.admin_url)
        assert re.search(r"pending: \d+\.", output), output
        environment = copy.environment(DATABASE_URL=clone.app_url, BETTER_AUTH_SECRET=SECRET)
        command = (".venv/bin/python", "-c", BUILT)
        with typed(*command, folder=copy.root, environment=environment) as runtime:
            runtime.wait_for("Serving")
            check_notes(runtime.lines[0].split()[1], bearer("demo"))


def check_stack_for_aws(copy: WorkingCopy) -> None:
    # The tests of the stack, which now has one more function.
    tests = [
        "tests/platforms/aws/test_template.py",
        "-k",
        "role_of_its_own or own_log or snapstart",
    ]
    copy.run(".venv/bin/python", "-m", "pytest", "-q", "-m", "verify", *tests)


# One test, because following the steps takes longer than checking the result.
def test_the_five_steps_result_in_a_group_that_works_on_each_platform(
    copy: WorkingCopy, cluster: Cluster
) -> None:
    follow_steps(copy)
    check_served_on_this_machine(copy, documented("make dev"))
    check_served_on_this_machine(copy, documented("make offline"))
    check_built_for_vercel(copy, cluster)
    check_stack_for_aws(copy)
