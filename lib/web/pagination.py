"""Opaque paging cursors: signed, so that a forged one and one of another list are told apart from
ours.
"""

import base64
import hmac
import json
from collections.abc import Iterable
from hashlib import sha256

from lib.errors import InvalidInput

SIGNATURE_BYTES = 16


def make_cursor(place: tuple[str, int], of_list: str, key: bytes) -> str:
    """A cursor for the place behind a task of the list that `of_list` describes."""
    payload = json.dumps(place, ensure_ascii=False, separators=(",", ":")).encode()
    return _encode(_sign(payload, of_list, key) + payload)


def read_cursor(cursor: str, of_list: str, keys: Iterable[bytes]) -> tuple[str, int]:
    """The place that a cursor marks. Raises InvalidInput for any text that this list never gave."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        raw = b""
    signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
    ours = any(hmac.compare_digest(signature, _sign(payload, of_list, key)) for key in keys)
    if not ours or _encode(raw) != cursor:  # the decoder skips what it does not know
        raise InvalidInput(
            "The cursor is not valid for this list. Start again without it.",
            location=("query", "cursor"),
            kind="cursor_invalid",
        )
    value, task_id = json.loads(payload)
    return value, task_id


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _sign(payload: bytes, of_list: str, key: bytes) -> bytes:
    message = of_list.encode() + b"\0" + payload
    return hmac.digest(key, message, sha256)[:SIGNATURE_BYTES]
