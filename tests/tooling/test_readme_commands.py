"""Every command of README.md and CONTRIBUTING.md is executed by a test, and every link works."""

import re
from pathlib import Path

from dev.serve import ROOT
from tests.tooling.documented import PAGES, documented_commands, executed_commands
from tests.tooling.make_targets import TARGETS, make_targets

# These require an account with the platform, which the pages must state next to them.
NEED_AN_ACCOUNT = {"deploy-aws", "deploy-vercel"}
DOCUMENTS: list[Path] = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def needs_account(command: str) -> bool:
    return bool(NEED_AN_ACCOUNT & set(make_targets(command)))


def test_every_documented_command_is_executed_by_a_test() -> None:
    commands = documented_commands()
    assert {"make dev", "make test", "make check", "make"} <= commands
    assert {command for command in commands if not needs_account(command)} == executed_commands()


def test_documented_targets_exist() -> None:
    named = {target for command in documented_commands() for target in make_targets(command)}
    assert named <= TARGETS
    for document in DOCUMENTS:
        for command in re.findall(r"`(make [^`]+)`|^(make .*)$", document.read_text(), re.M):
            assert set(make_targets("".join(command).partition("#")[0])) <= TARGETS, document


def test_commands_that_need_an_account_are_marked() -> None:
    for page in PAGES:
        for paragraph in (ROOT / page).read_text().split("\n\n"):
            if any(re.search(rf"make {name}\b", paragraph) for name in NEED_AN_ACCOUNT):
                assert "account" in paragraph, paragraph


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_somewhere() -> None:
    for document in DOCUMENTS:
        links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", document.read_text())
        for page, anchor in links:
            linked = document.parent / page if page else document
            assert linked.exists(), f"{document}: {page}"
            assert not anchor or anchor in anchors(linked), f"{document}: {page}#{anchor}"


def test_readme_has_at_most_600_words() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 600
