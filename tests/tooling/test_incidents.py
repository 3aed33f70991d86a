"""The commands of docs/operations.md print what the page shows, in order and in incidents."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from dev.serve import ROOT
from tests.conftest import SECRET
from tests.integrations.client.documents import lines_match, matches
from tests.support.databases import Database
from tests.support.targets import local

PAGE = (ROOT / "docs" / "operations.md").read_text()
UNREACHABLE = "postgresql://nobody@127.0.0.1:1/none"
USER = "the-sub-of-their-tokens"
# A recipe that needs no installation.
MAKE = f'make() {{ command make --silent -C "{ROOT}" --assume-old=.venv/ready "$@"; }}\n'


def blocks(heading: str) -> list[str]:
    section = re.split(r"^##+ ", PAGE.partition(f"# {heading}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(r"^```(?:sh|text)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def run(script: str, folder: Path, **variables: str) -> str:
    """Run a block as a shell does: the next command runs even if one fails."""
    done = subprocess.run(
        ["bash", "-c", MAKE + script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "BETTER_AUTH_SECRET": SECRET, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def settings(url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "BETTER_AUTH_SECRET": SECRET,
        "CORS_ORIGINS": "http://localhost:3000",
    }


def test_the_first_commands_print_what_the_page_shows(database: Database, tmp_path: Path) -> None:
    commands, printed = blocks("Incidents")
    with local.serve(settings(database.app_url)) as url:
        assert lines_match(printed, run(commands, tmp_path, API=url))


@pytest.mark.parametrize("fault", ["unavailable", "not prepared"])
def test_the_table_names_what_the_second_command_prints(
    fresh_database: Database, tmp_path: Path, fault: str
) -> None:
    if fault == "not prepared":
        fresh_database.query("DROP TRIGGER after_delete ON tasks")
    url = UNREACHABLE if fault == "unavailable" else fresh_database.app_url
    [row] = re.findall(rf"^\| 2 \| `(.*{fault}\. )\.\.\.` \|", PAGE, re.MULTILINE)
    commands, _ = blocks("Incidents")
    with local.serve(settings(url)) as api:
        output = run(commands, tmp_path, API=api)
    assert row in output
    failed = re.findall(r"^\| 3 \| `(.+)` \|", PAGE, re.MULTILINE)
    assert lines_match(failed[0], output)


def test_a_server_that_is_not_reached_is_an_error_of_curl(tmp_path: Path) -> None:
    commands, _ = blocks("Incidents")
    assert "curl: (7)" in run(commands, tmp_path, API="http://127.0.0.1:1")


def test_the_retention_job_prints_what_the_page_shows(database: Database, tmp_path: Path) -> None:
    command, printed = blocks("Retention failed")
    assert matches(printed, run(command, tmp_path, DATABASE_URL=database.app_url))


def test_a_user_is_exported_and_erased(fresh_database: Database, tmp_path: Path) -> None:
    fresh_database.query("INSERT INTO users (id, name, email) VALUES (%s, 'n', 'e@x.e')", USER)
    owner = {"DATABASE_URL_UNPOOLED": fresh_database.admin_url}
    [export], [erase] = blocks("Export a user"), blocks("Erase a user")
    assert run(export, tmp_path, **owner) == ""
    assert json.loads((tmp_path / "export.json").read_text())["users"][0]["id"] == USER
    assert run(erase, tmp_path, **owner).startswith(f"Erased the user {USER} in test_")
    assert fresh_database.query("SELECT FROM users WHERE id = %s", USER) == []


def test_every_command_is_run_by_a_test() -> None:
    headings = re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)
    assert {heading for heading in headings if blocks(heading)} == {
        *("Incidents", "Retention failed", "Export a user", "Erase a user"),
        "Vercel",  # needs an account
    }
