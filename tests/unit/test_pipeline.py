"""Named parameters of a statement are sent as numbered parameters."""

import pytest

from lib.db.pipeline import _numbered


@pytest.mark.parametrize(
    ("text", "sent", "names"),
    [
        ("SELECT 1", b"SELECT 1", []),
        ("SELECT %(b)s, %(a)s::TEXT, %(b)s", b"SELECT $1, $2::TEXT, $1", ["b", "a"]),
        ("SELECT %(id)s %% 2, '50%%', '%%(id)s'", b"SELECT $1 % 2, '50%', '%(id)s'", ["id"]),
    ],
)
def test_names_become_numbers(text: str, sent: bytes, names: list[str]) -> None:
    assert _numbered(text)[:2] == (sent, names)


def test_a_statement_is_named_by_its_text() -> None:
    """A name that PostgreSQL would shorten (64 bytes) could stand for two statements."""
    first, second = (_numbered(text)[2] for text in ("SELECT %(a)s", "SELECT %(a)s + 1"))
    assert first != second
    assert len(first) < 64
