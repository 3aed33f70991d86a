"""Which of several ids a request goes by."""

import re
from typing import Any

import pytest

from lib.web.middleware import _joined, _request_id

OF_GATEWAY = {"requestContext": {"requestId": "JKJaXmPLvHcESHA="}}
MADE_HERE = re.compile("[0-9a-f]{32}")


@pytest.mark.parametrize(
    ("headers", "event", "taken"),
    [
        ([(b"x-request-id", b"mine-1")], OF_GATEWAY, "mine-1"),
        ([(b"x-request-id", b"no good")], OF_GATEWAY, "JKJaXmPLvHcESHA-"),
        ([(b"x-request-id", b"\xe4")], OF_GATEWAY, "JKJaXmPLvHcESHA-"),
        # A gateway joins what is repeated, so that none of them is taken anywhere.
        ([(b"x-request-id", b"one"), (b"x-request-id", b"two")], OF_GATEWAY, "JKJaXmPLvHcESHA-"),
        ([(b"x-vercel-id", b"fra1::iad1::abc-1")], None, "fra1--iad1--abc-1"),
        ([(b"x-request-id", b"mine"), (b"x-vercel-id", b"fra1::abc")], None, "mine"),
        ([(b"x-vercel-id", b"a" * 200)], {}, "a" * 128),
        ([], {"requestContext": None}, MADE_HERE),
        ([(b"x-request-id", b"")], None, MADE_HERE),
    ],
)
def test_the_clients_id_then_the_platforms_then_one_of_our_own(
    headers: list[tuple[bytes, bytes]], event: dict[str, Any] | None, taken: str | re.Pattern[str]
) -> None:
    given = _request_id(_joined(headers), event)
    assert taken.fullmatch(given) if isinstance(taken, re.Pattern) else given == taken
