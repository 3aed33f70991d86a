"""Reads the code blocks of a document and compares them with output."""

import re
from typing import NamedTuple

from tests.integrations.better_auth.snippets import COPY

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
    """Return the fenced blocks in order, without those that are copies of tested files."""
    return [Block(*found.groups()) for found in FENCED.finditer(COPY.sub("", document))]


def matches(expected: str, output: str) -> bool:
    """Whether output equals the block. Ids and times may differ; `...` matches any text."""
    return re.fullmatch(_pattern(expected), _without_whitespace(output)) is not None


def lines_match(expected: str, output: str) -> bool:
    """Whether output has all lines of the block in this order, possibly among others."""
    remaining = iter(output.splitlines())
    expected_lines = [line for line in expected.splitlines() if line.strip()]
    return all(any(matches(line, each) for each in remaining) for line in expected_lines)


def _without_whitespace(text: str) -> str:
    return "".join(text.split())


def _pattern(expected: str) -> str:
    text, pattern, end = _without_whitespace(expected), "", 0
    either = "|".join(f"({old})" for old, _ in VARIABLE)
    for found in re.finditer(either, text):
        pattern += re.escape(text[end : found.start()])
        pattern += next(new for old, new in VARIABLE if re.fullmatch(old, found[0]))
        end = found.end()
    return pattern + re.escape(text[end:])
