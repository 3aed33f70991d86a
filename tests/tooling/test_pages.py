"""Measured figures in the documentation are written by commands, and not by hand."""

import re
from pathlib import Path

import pytest

from dev.pages import ROOT, with_block
from lib.db.transaction import PAUSES
from tests.resilience.faults.catalogue import CASES
from tests.tooling.make_targets import TARGETS

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "SECURITY.md"]
BLOCK = re.compile(r"^<!-- (make \w+): (\w*) ?-->\n(.*?)\n<!-- :(make \w+) -->$", re.S | re.M)
CODE = re.compile(r"^```.*?^```$", re.S | re.M)
# A duration that somebody has measured, or a number of instructions, rows or blocks.
MEASURED = re.compile(
    r"\d (?:ms|us|milliseconds|microseconds)\b|\d(?: million| billion)? instructions"
    r"|\d rows per second|\d blocks\b|\d requests/s|\d(?:\.\d)? times (?:that|as)"
)
# Settings and not measurements; the last one is Linux's.
SETTINGS = {
    f"pauses of 0, {1000 * PAUSES[1]:.0f} and {1000 * PAUSES[2]:.0f} ms",
    f"every {1000 * PAUSES[4]:.0f} ms",
    "40 ms on Linux",
}
IN_NOTES = "bench/NOTES.md"


def _without_blocks(page: str) -> str:
    return BLOCK.sub("", CODE.sub("", page))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_measured_figure_is_written_by_hand(path: Path) -> None:
    text = _without_blocks(path.read_text())
    for setting in SETTINGS:
        text = text.replace(setting, "")
    # A paragraph may round what bench/NOTES.md describes, if it names that file.
    paragraphs = [each for each in text.split("\n\n") if IN_NOTES not in each]
    assert [each for each in paragraphs if MEASURED.search(each)] == []


def test_each_block_names_a_command_of_make_and_is_not_empty() -> None:
    found = [(path.name, block) for path in PAGES for block in BLOCK.findall(path.read_text())]
    assert {name for name, _ in found} >= {"README.md", "database.md", "growth.md"}
    for page, (command, _, text, end) in found:
        assert command == end, page
        assert command.removeprefix("make ") in TARGETS, page
        assert text.strip(), (page, command)
    comments = [line for path in PAGES for line in re.findall("<!-- :?make", path.read_text())]
    assert len(comments) == 2 * len(found)


def test_the_table_of_faults_has_every_fault_with_its_responses() -> None:
    """After a change of tests/resilience/faults/catalogue.py: make faults."""
    page = (ROOT / "docs" / "database.md").read_text()
    [table] = [block[2] for block in BLOCK.findall(page) if block[0] == "make faults"]
    rows = [line.rsplit("|", 2)[0] + "|" for line in table.splitlines()[2:]]
    assert sorted(rows) == sorted(case.row() for case in CASES)


def test_a_block_gets_a_new_text() -> None:
    page = "a\n<!-- make lists: -->\nold\n\ntext\n<!-- :make lists -->\nz\n"
    assert with_block(page, "make lists", r"new \1") == (
        "a\n<!-- make lists: -->\nnew \\1\n<!-- :make lists -->\nz\n"
    )
    named = page.replace("lists: -->", "lists: short -->")
    assert "new" in with_block(named, "make lists", "new", "short")
    for command, name in (("make other", ""), ("make lists", "short")):
        with pytest.raises(ValueError, match="0 places"):
            with_block(page, command, "new", name)
    with pytest.raises(ValueError, match="2 places"):
        with_block(2 * page, "make lists", "new")
