"""The conformance suite of the Model Context Protocol, against the API on this machine.

The suite is written for a server with its own test tools, prompts and resources, so most of its
scenarios cannot apply to another server. Each of those is named here with the reason.
"""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import bearer
from tests.support.targets import local

# The scenarios that apply, with the number of their checks that pass.
APPLICABLE = {
    "2026-07-28": {
        "server-stateless": 21,
        "http-header-validation": 14,
        "tools-list": 4,
        "caching": 4,
        "dns-rebinding-protection": 2,
        "input-required-result-unsupported-methods": 2,
        "input-required-result-validate-input": 3,
    },
    "2025-11-25": {
        "server-initialize": 2,
        "ping": 2,
        "tools-list": 3,
        "dns-rebinding-protection": 2,
    },
}
# Checks of these scenarios that cannot apply.
TEST_TOOL = "calls a tool that only test servers have"
NO_LISTS = "needs prompts and resources, which this server does not have"
EXCEPT = {
    "sep-2575-server-rejects-undeclared-capability": TEST_TOOL,
    "sep-2575-missing-capability-http-400": TEST_TOOL,
    "sep-2575-http-server-no-independent-requests-on-stream": TEST_TOOL,
    "sep-2575-server-no-log-without-loglevel": TEST_TOOL,
    "sep-2549-prompts-list-caching-hints": NO_LISTS,
    "sep-2549-resources-list-caching-hints": NO_LISTS,
    "sep-2549-resources-templates-list-caching-hints": NO_LISTS,
}
# The scenarios that cannot apply, by patterns of their names.
NOT_APPLICABLE = {
    r"tools-call-.*": TEST_TOOL,
    r"json-schema-2020-12": TEST_TOOL,
    r"elicitation-.*": "calls a test tool that asks the client for input",
    r"input-required-result-.*": "calls a test tool that asks the client for input",
    r"prompts-.*": "needs prompts",
    r"resources-.*|sep-2164-resource-not-found": "needs resources",
    r"completion-complete": "needs prompts or resources with arguments",
    r"logging-set-level": "needs log messages, which a server without sessions cannot send",
    r"server-sse-.*|server-session-lifecycle": "needs event streams and sessions",
    r"tasks-.*": "tests an extension for operations that take minutes",
    r"http-custom-header-server-validation": "needs a tool with x-mcp-header",
}

type Checks = dict[str, list[dict[str, Any]]]


def run_suite(environment: dict[str, str], revision: str, folder: Path) -> Checks:
    """Run what the revision requires. Returns the checks of each scenario."""
    token = bearer("conformance", exp=int(time.time()) + 3600)["Authorization"].split()[1]
    authorized = environment | {"CONFORMANCE_TOKEN": token}
    application = "tests.integrations.mcp.authorized:app"
    # One scenario sends the server's own origin and expects that it is allowed.
    port = local.free_port()
    authorized["CORS_ORIGINS"] = f"http://localhost:{port},http://127.0.0.1:{port}"
    with local.serve(authorized, application, port) as url:
        arguments = ["--url", f"{url}/api/mcp", "--requirements", revision, "-o", str(folder)]
        # It fails for the scenarios that cannot apply.
        subprocess.run(
            ["conformance", "server", *arguments], capture_output=True, timeout=300, check=False
        )
    found = {}
    for path in folder.glob("*/checks.json"):
        name = re.sub(r"-\d{4}-\d\d-\d\dT.*", "", path.parent.name.removeprefix("server-"))
        found[name] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("revision", APPLICABLE)
def test_every_scenario_that_applies_passes(
    environment: dict[str, str], revision: str, tmp_path: Path
) -> None:
    found = run_suite(environment, revision, tmp_path)
    failures = [
        (name, check["id"], check.get("errorMessage"))
        for name in APPLICABLE[revision]
        for check in found[name]
        if check["status"] in ("FAILURE", "WARNING") and check["id"] not in EXCEPT
    ]
    assert failures == []
    passed = {
        name: sum(check["status"] == "SUCCESS" for check in found[name])
        for name in APPLICABLE[revision]
    }
    assert passed == APPLICABLE[revision]
    # What the server sends follows the schema of the revision, also where it refuses.
    schemas = [
        check["status"]
        for checks in found.values()
        for check in checks
        if check["id"] == "wire-schema-valid"
    ]
    assert len(schemas) > 25
    assert set(schemas) == {"SUCCESS"}
    others = found.keys() - APPLICABLE[revision].keys()
    unnamed = [
        name for name in others if not any(re.fullmatch(each, name) for each in NOT_APPLICABLE)
    ]
    assert unnamed == []
