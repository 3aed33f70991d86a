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
    assert _numbered(text) == (sent, names)
