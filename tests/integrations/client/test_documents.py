"""Runs every code block of the frontend pages and of the README's endpoints."""

import io
import json
import os
import re
import subprocess
import uuid
from pathlib import Path

import httpx2
import pytest
from dotenv import dotenv_values

from lib.settings import read_settings
from lib.web.app import EXPOSED_HEADERS, REQUEST_HEADERS
from tests.conftest import SECRET
from tests.integrations.better_auth.snippets import DOCUMENTS, ROOT
from tests.integrations.client.documents import Block, blocks, lines_match, matches
from tests.integrations.client.test_generated_client import COMMAND

FRONTEND = "\n".join(document.read_text() for document in DOCUMENTS)
[README_API] = re.findall(
    r"^## Endpoints\n(.*?)^## ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)
LOCAL = "http://127.0.0.1:8000"
END = "\n--- end of block ---\n"
NPM_INSTALL = re.compile(r"npm install (\S+@\S+(?: \S+@\S+)*)")


def run_by_this_test(block: Block) -> bool:
    # test_generated_client.py runs the generator's command. This project's folder is not the one in
    # which a reader installs npm packages.
    text = block.text.strip()
    return block.kind == "sh" and not COMMAND.fullmatch(text) and not NPM_INSTALL.fullmatch(text)


def run_blocks(scripts: list[str], **variables: str) -> list[str]:
    """Return the output of each block. One shell runs all of them in the project's folder."""
    script = "set -euo pipefail\n" + "".join(f"{each}\nprintf '{END}'\n" for each in scripts)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    ran = subprocess.run(
        ["bash"], input=script, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        env={**env, "BETTER_AUTH_SECRET": SECRET, **variables},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.split(END)[:-1]


def blocks_for(document: str, base_url: str) -> list[Block]:
    """Return the blocks of a document with the URL of the API under test and a new user."""
    user = f"demo-{uuid.uuid4().hex}"
    return blocks(document.replace(LOCAL, base_url).replace("demo", user))


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    kinds = [block.kind for block in blocks(FRONTEND)]
    # tests/integrations/migrations/test_erase_user.py runs the SQL.
    assert set(kinds) == {"sh", "json", "http", "ini", "sql"}
    assert {block.kind for block in blocks(README_API)} == {"sh"}


def test_commands_of_the_pages_print_what_the_pages_show(base_url: str) -> None:
    page = [block for block in blocks_for(FRONTEND, base_url) if block.kind != "ini"]
    outputs = iter(run_blocks([block.text for block in page if run_by_this_test(block)]))
    output, compared = "", 0
    for block in page:
        if run_by_this_test(block):
            output = next(outputs)
        elif block.kind in ("json", "http"):
            match = matches if block.kind == "json" else lines_match
            assert match(block.text, output), (
                f"The page shows\n{block.text}\nbut the output is\n{output}"
            )
            compared += 1
    assert compared > 5


def test_the_npm_packages_of_the_pages_are_those_that_the_tests_install() -> None:
    [names] = [found[1].split() for x in blocks(FRONTEND) if (found := NPM_INSTALL.match(x.text))]
    package = ROOT / "tests/integrations/better_auth/mcp/package.json"
    tested = json.loads(package.read_text())["dependencies"]
    for name, _, version in (each.rpartition("@") for each in names):
        assert tested[name] == version


def test_commands_of_the_readme_work(base_url: str, tmp_path: Path) -> None:
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\n")
    scripts = [block.text for block in blocks_for(README_API, base_url)]
    assert '"title":"Buy milk"' in "".join(run_blocks(scripts, CURL_HOME=str(tmp_path)))


@pytest.mark.parametrize("block", [x for x in blocks(FRONTEND) if x.kind == "ini"], ids=str)
def test_settings_of_the_page_are_accepted_by_a_preview_on_vercel(block: Block) -> None:
    text = block.text.replace("=...", f"={SECRET}")
    variables = {k: v or "" for k, v in dotenv_values(stream=io.StringIO(text)).items()}
    assert variables
    # Each block alone, on the platform with the strictest checks.
    platform = {"VERCEL": "1", "VERCEL_ENV": "preview", "BETTER_AUTH_SECRET": SECRET}
    if variables.get("JWT_ALGORITHM", "HS256") != "HS256":
        platform.pop("BETTER_AUTH_SECRET")
    settings = read_settings({**platform, **variables})
    assert set(variables) <= settings.model_fields_set


def test_origins_name_every_header_that_pages_may_send_and_read(base_url: str) -> None:
    [origins] = re.findall(r"^## Origins\n(.*?)^## ", FRONTEND, re.MULTILINE | re.DOTALL)
    words = set(re.findall(r"`([A-Za-z0-9]+(?:-[A-Za-z0-9]+)*)`", origins)) - {"Origin"}
    named = {word for word in words if word[0].isupper() or word in REQUEST_HEADERS}
    preflight = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": ", ".join(sorted(named - set(EXPOSED_HEADERS))),
    }
    response = httpx2.options(f"{base_url}/api/demo/tasks", headers=preflight)
    assert response.status_code == 204, response.text
    allowed = set(response.headers["access-control-allow-headers"].split(", "))
    assert response.headers["access-control-max-age"] == "7200"
    # The page does not name the headers that browsers always allow.
    safelisted = {"Accept", "Accept-Language", "Content-Language"}
    assert named == (allowed - safelisted) | set(EXPOSED_HEADERS)
