"""Cursors and links of paged lists.

A cursor names the position of the last task of a page. It is signed, together with the list that it
belongs to: the user, the filters and the order.
"""

import base64
import hmac
import json
from hashlib import sha256
from urllib.parse import quote, urlencode

from fastapi import Request

from lib.errors import InvalidInput
from lib.schemas import AuthenticatedUser, TaskQuery
from lib.settings import load_settings
from lib.web.list_parameters import PAGE_START

SIGNATURE_BYTES = 16
# Proxies limit response headers to a few kilobytes.
MAX_LINK_BYTES = 4096
# Characters of a query that need no encoding (RFC 3986, section 3.4).
_SAFE = "!$'()*,:;@/?"

type Position = tuple[str, int]


def read_cursor(user: AuthenticatedUser, query: TaskQuery) -> Position | None:
    """The position after which the page starts: the sort key and the id of a task.

    Raises InvalidInput for a cursor that was not made for this list, and for an offset that does
    not fit the other parameters.
    """
    if query.offset is not None:
        _check_offset(query)
    if query.cursor is None:
        return None
    if query.limit is None:
        raise InvalidInput(
            "A cursor requires a limit.", location=("query", "limit"), kind="missing"
        )
    try:
        raw = base64.urlsafe_b64decode(query.cursor + "=" * (-len(query.cursor) % 4))
    except ValueError:
        raw = b""
    signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
    signatures = (_sign(payload, user, query, key) for key in load_settings().cursor_keys)
    valid = any(hmac.compare_digest(signature, each) for each in signatures)
    # The decoder ignores characters outside of its alphabet.
    if not valid or _encode(raw) != query.cursor:
        raise InvalidInput(
            "The cursor is not valid for this list. Start again without it.",
            location=("query", "cursor"),
            kind="cursor_invalid",
        )
    sort_key, task_id = json.loads(payload)
    return sort_key, task_id


def _check_offset(query: TaskQuery) -> None:
    if query.limit is None:
        raise InvalidInput(
            "An offset requires a limit.", location=("query", "limit"), kind="missing"
        )
    if query.cursor is not None:
        raise InvalidInput(
            "Send a cursor or an offset, not both.",
            location=("query", "offset"),
            kind="offset_with_cursor",
        )


def make_cursor(user: AuthenticatedUser, query: TaskQuery, last: Position) -> str:
    """The cursor of the page that starts after the position `last`."""
    payload = json.dumps(last, ensure_ascii=False, separators=(",", ":")).encode()
    signature = _sign(payload, user, query, load_settings().cursor_keys[0])
    return _encode(signature + payload)


def link_to_next_page(
    request: Request, user: AuthenticatedUser, query: TaskQuery, last: Position
) -> str:
    """The Link header (RFC 8288) of a page whose last task is at the position `last`.

    It keeps every parameter of the request but an offset: the next page starts where this one ends,
    even if tasks are created or deleted meanwhile. Raises InvalidInput if they are too long.
    """
    parameters = [each for each in request.query_params.multi_items() if each[0] not in PAGE_START]
    parameters.append(("cursor", make_cursor(user, query, last)))
    query_string = urlencode(parameters, safe=_SAFE, quote_via=quote)
    link = f'<{tasks_path(request, user)}?{query_string}>; rel="next"'
    if len(link) > MAX_LINK_BYTES:
        raise InvalidInput(
            "The query string is too long for the link to the next page.",
            location=("query",),
            kind="query_too_long",
        )
    return link


def tasks_path(request: Request, user: AuthenticatedUser) -> str:
    """The path of the list, with the user if the path of the request contains the user."""
    owner = f"/{quote(user.id, safe='')}" if request.path_params["user_id"] else ""
    return f"/api{owner}/tasks"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _sign(payload: bytes, user: AuthenticatedUser, query: TaskQuery, key: bytes) -> bytes:
    list_key = json.dumps([user.id, query.list_identity()], sort_keys=True)
    return hmac.digest(key, list_key.encode() + b"\0" + payload, sha256)[:SIGNATURE_BYTES]
