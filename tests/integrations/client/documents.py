"""The code blocks of a document; knows nothing of what they do."""

import re
from typing import NamedTuple

from tests.integrations.better_auth.snippets import PLACE

FENCED = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
VARIABLE = [
    (r'"id":1\b|"id":2\b', r'"id":\d+'),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", r"\d{4}-\d\d-\d\dT[\d:]+(\.\d+)?Z"),
    (r"\.\.\.", ".*"),
]


class Block(NamedTuple):
    kind: str
    text: str


def blocks(document: str) -> list[Block]:
    """The fenced blocks in their order, but for those that are copies of tested files."""
    return [Block(*found.groups()) for found in FENCED.finditer(PLACE.sub("", document))]


def shown(expected: str, seen: str) -> bool:
    """Whether this is what the document shows; ids and times differ, `...` stands for anything."""
    return re.fullmatch(_pattern(expected), _squeezed(seen)) is not None


def lines_shown(expected: str, seen: str) -> bool:
    """Whether each line that the document shows is there, in this order: others may be between."""
    remaining = iter(seen.splitlines())
    wanted = [line for line in expected.splitlines() if line.strip()]
    return all(any(shown(line, each) for each in remaining) for line in wanted)


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _pattern(expected: str) -> str:
    text, pattern, end = _squeezed(expected), "", 0
    either = "|".join(f"({what})" for what, _ in VARIABLE)
    for found in re.finditer(either, text):
        pattern += re.escape(text[end : found.start()])
        pattern += next(put for what, put in VARIABLE if re.fullmatch(what, found[0]))
        end = found.end()
    return pattern + re.escape(text[end:])
