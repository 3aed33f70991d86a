"""Reads the headers If-Match, If-None-Match and Idempotency-Key.

Conditions and ETags follow RFC 9110, sections 13.1 and 8.8.3.
"""

import re
from typing import Annotated

from fastapi import Depends, Header
from pydantic import AfterValidator

from lib.schemas import ALWAYS, Precondition

IfMatch = Annotated[
    str | None,
    Header(description="The `ETag` of the task as you read it: 412 if it has changed since."),
]
IfNoneMatch = Annotated[
    str | None,
    Header(description="The `ETag` of the task as you read it: 304 while it is the same."),
]
WriteIfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description="412 if the task has one of these ETags.",
        include_in_schema=False,
    ),
]


def _check_key(value: str | None) -> str | None:
    # A header has a value. An argument of a tool may be null.
    if value is not None and not re.fullmatch(r"[!-~]{1,255}", value):
        raise ValueError("must have 1 to 255 visible ASCII characters")
    return value


IdempotencyKey = Annotated[
    str | None,
    AfterValidator(_check_key),
    Header(
        description="Unique per action. For 24 hours, a retry with it returns the first response.",
        json_schema_extra={"pattern": "^[!-~]{1,255}$"},
    ),
]

# An entity tag: an optional `W/`, which marks it as weak, and the characters between its quotes.
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_SEPARATOR = re.compile(r"[ \t]*,[ \t,]*|[ \t]*$")


def _tags(header: str) -> list[tuple[bool, str]]:
    """Read the entity tags of a header as pairs of "is weak" and text.

    A malformed list has no entity tags. Empty elements are ignored.
    """
    tags, header = [], header.strip(" \t,")
    position = 0
    while found := _TAG.match(header, position):
        tags.append((bool(found[1]), found[2]))
        separator = _SEPARATOR.match(header, found.end())
        if not separator:
            return []
        position = separator.end()
        if position == len(header):
            return tags
    return []


def read_precondition(
    if_match: IfMatch = None, if_none_match: WriteIfNoneMatch = None
) -> Precondition:
    """Combine If-Match and If-None-Match into the condition for a change."""
    if if_match is None and if_none_match is None:
        return ALWAYS
    any_etag = if_match is not None and if_match.strip() == "*"
    # A weak tag never matches here (RFC 9110, section 13.1.1).
    wanted = (
        None if if_match is None or any_etag else [tag for weak, tag in _tags(if_match) if not weak]
    )
    if if_none_match is None:
        return Precondition(wanted, any_etag=any_etag)
    if if_none_match.strip() == "*":
        return Precondition([])  # no task that exists meets it
    unwanted = [tag for _, tag in _tags(if_none_match)]
    if wanted is None:
        return Precondition(unwanted, must_match=False, any_etag=any_etag)
    return Precondition([tag for tag in wanted if tag not in unwanted])


# FastAPI would run this function in a thread. lib/web/parameters.py calls it directly.
WritePrecondition = Annotated[Precondition, Depends(read_precondition)]


def is_unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether If-None-Match contains this ETag, as a strong or a weak one."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in [tag for _, tag in _tags(if_none_match)]
