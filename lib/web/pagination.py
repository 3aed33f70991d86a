"""Cursors and links of paged lists, and the tokens of the feed of changes.

A cursor names the position of the last task of a page. It is signed, together with the list that it
belongs to: the user, the filters and the order. A token names a position in the user's feed.
"""

import base64
import hmac
import json
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request

from lib.errors import InvalidInput
from lib.schemas import AuthenticatedUser, FeedPosition, Snapshot, TaskQuery
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
    position = _read(query.cursor, _list_name(user, query))
    if position is None:
        raise InvalidInput(
            "The cursor is not valid for this list. Start again without it.",
            location=("query", "cursor"),
            kind="cursor_invalid",
        )
    sort_key, task_id = position
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
    return _write(last, _list_name(user, query))


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


def read_feed_token(user: AuthenticatedUser, token: str | None) -> FeedPosition | None:
    """The position that a token names.

    Raises InvalidInput for a token that was not made for this user.
    """
    if token is None:
        return None
    read = _read(token, _feed_name(user))
    if read is None:
        raise InvalidInput(
            "The value of since is not valid. Start again without it.",
            location=("query", "since"),
            kind="since_invalid",
        )
    history, known, reached, after = read
    return FeedPosition(
        history, known and Snapshot(*known), reached and Snapshot(*reached), after and tuple(after)
    )


def make_feed_token(user: AuthenticatedUser, position: FeedPosition) -> str:
    return _write(position, _feed_name(user))


def _list_name(user: AuthenticatedUser, query: TaskQuery) -> str:
    return json.dumps([user.id, query.list_identity()], sort_keys=True)


def _feed_name(user: AuthenticatedUser) -> str:
    return json.dumps([user.id, "changes"])


def _write(position: tuple[object, ...], belongs_to: str) -> str:
    """A signed text for clients, which names a position in the list or feed `belongs_to`."""
    payload = json.dumps(position, ensure_ascii=False, separators=(",", ":")).encode()
    return _encode(_sign(payload, belongs_to, load_settings().cursor_keys[0]) + payload)


def _read(text: str, belongs_to: str) -> list[Any] | None:
    """The position that `_write` wrote for the same list or feed, or None."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
    signatures = (_sign(payload, belongs_to, key) for key in load_settings().cursor_keys)
    valid = any(hmac.compare_digest(signature, each) for each in signatures)
    # The decoder ignores characters outside of its alphabet.
    return json.loads(payload) if valid and _encode(raw) == text else None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _sign(payload: bytes, belongs_to: str, key: bytes) -> bytes:
    return hmac.digest(key, belongs_to.encode() + b"\0" + payload, sha256)[:SIGNATURE_BYTES]
