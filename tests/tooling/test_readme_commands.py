"""Every command that README.md and CONTRIBUTING.md show is executed by a test."""

import re

from dev.serve import ROOT
from tests.tooling.documented import PAGES, documented_commands, executed_commands
from tests.tooling.make_targets import TARGETS, make_targets

# Nobody can try these without an account at the platform: the pages must say so beside them.
NEED_AN_ACCOUNT = {"deploy-aws", "deploy-vercel"}


def needs_account(command: str) -> bool:
    return bool(NEED_AN_ACCOUNT & set(make_targets(command)))


def test_every_documented_command_is_executed_by_a_test() -> None:
    commands = documented_commands()
    assert {"make dev", "make test", "make check", "make"} <= commands
    assert {command for command in commands if not needs_account(command)} == executed_commands()


def test_documented_targets_exist() -> None:
    named = {target for command in documented_commands() for target in make_targets(command)}
    assert named <= TARGETS


def test_commands_that_need_an_account_are_marked() -> None:
    for page in PAGES:
        for paragraph in (ROOT / page).read_text().split("\n\n"):
            if any(re.search(rf"make {name}\b", paragraph) for name in NEED_AN_ACCOUNT):
                assert "account" in paragraph, paragraph


def test_every_relative_link_leads_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
            assert (ROOT / link).exists(), f"{page}: {link}"
