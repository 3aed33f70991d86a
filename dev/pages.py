"""Writes what a command has measured into a page of the documentation.

The text is between two comments that name the command, and a name where it writes several:

    <!-- make fairness: -->
    ...
    <!-- :make fairness -->
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def write_block(page: str, command: str, text: str, name: str = "") -> None:
    """Replace the text in a page, such as `docs/database.md`. Raises ValueError if it has no place
    for it.
    """
    path = ROOT / page
    path.write_text(with_block(path.read_text(), command, text, name))


def with_block(page: str, command: str, text: str, name: str = "") -> str:
    """Return the page with a new text. Raises ValueError if it has no place for it, or several."""
    begin = f"<!-- {command}: {name} -->" if name else f"<!-- {command}: -->"
    block = re.compile(f"({re.escape(begin)}\n).*?(\n<!-- :{re.escape(command)} -->)", re.DOTALL)
    page, number = block.subn(lambda found: found[1] + text + found[2], page)
    if number != 1:
        raise ValueError(f"The page has {number} places for {begin}.")
    return page
