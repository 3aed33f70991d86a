"""Invisible titles are blank, and titles are trimmed as in JavaScript."""

import pytest

from tests.contract.responses import assert_error
from tests.contract.users import User

# String.prototype.trim removes these, ECMAScript 2026, sections 12.2 and 12.3.
TRIMMED = "\t\n\v\f\r \u00a0\u1680\u2000\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
INVISIBLE = {
    "zero width space": "\u200b",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "Hangul filler": "\u3164",
    "half-width Hangul filler": "\uffa0",
    "Braille blank": "\u2800",
    "soft hyphen": "\u00ad",
    "variation selector": "\ufe0f",
    "tag characters": "\U000e0041\U000e0042",
    "next line": "\u0085",
    "several": " \u200b\u2060\t\u3164 ",
}


@pytest.mark.parametrize("title", INVISIBLE.values(), ids=INVISIBLE)
def test_an_invisible_title_is_blank(user: User, title: str) -> None:
    task = user.create()
    assert_error(user.post({"title": title}), 422)
    assert_error(user.put(task, {"title": title}), 422)
    assert user.list().json() == [task]


@pytest.mark.parametrize(
    "title",
    ["\u0301", "\u20dd", "\u0001", "\u001c", "\u001f", "\ufffc", "\U0001d159", "\ue000"],
    ids=lambda each: f"U+{ord(each):04X}",
)
def test_a_title_is_blank_only_by_the_properties_of_its_characters(user: User, title: str) -> None:
    """A combining mark, a control character and the like are neither white space nor ignorable."""
    assert user.create(title)["title"] == title


@pytest.mark.parametrize("title", INVISIBLE.values(), ids=INVISIBLE)
def test_invisible_characters_beside_visible_ones_are_kept(user: User, title: str) -> None:
    assert user.create(f"a{title}b")["title"] == f"a{title}b"


@pytest.mark.parametrize("character", TRIMMED, ids=lambda each: f"U+{ord(each):04X}")
def test_a_title_is_trimmed_as_in_javascript(user: User, character: str) -> None:
    assert user.create(f"{character}milk{character}")["title"] == "milk"


@pytest.mark.parametrize("character", "\u0085\u200b\u001f", ids=lambda each: f"U+{ord(each):04X}")
def test_characters_that_javascript_does_not_trim_are_kept(user: User, character: str) -> None:
    assert user.create(f"{character}milk")["title"] == f"{character}milk"
