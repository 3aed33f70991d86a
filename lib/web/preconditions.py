"""The headers by which a request says which version it means and whether it is a repeat; knows no
route and no storage.

ETags and their conditions follow RFC 9110, sections 8.8.3 and 13.1.
"""

import json
import re
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Header
from pydantic import AfterValidator

IfMatch = Annotated[
    str | None,
    Header(description="The `ETag` of the task as you read it: 412 if it has changed since."),
]
IfNoneMatch = Annotated[
    str | None,
    Header(description="The `ETag` of the task as you read it: 304 while it is the same."),
]


def _check_key(value: str) -> str:
    if not re.fullmatch(r"[!-~]{1,255}", value):
        raise ValueError("must have 1 to 255 visible ASCII characters")
    return value


IdempotencyKey = Annotated[
    str | None,
    AfterValidator(_check_key),
    Header(
        description="One for each thing to do: for 24 hours it gives the first answer again.",
        json_schema_extra={"pattern": "^[!-~]{1,255}$"},
    ),
]


def etag(version: int) -> str:
    return f'"{version}"'


def allowed_versions(if_match: str | None) -> list[int] | None:
    """The versions that If-Match allows: None for every one."""
    if if_match is None or if_match.strip() == "*":
        return None
    return [int(version) for version in re.findall(r'(?:^|,)\s*"(\d{1,18})"\s*(?=,|$)', if_match)]


def is_known(if_none_match: str | None, version: int) -> bool:
    """Whether If-None-Match names this version, be it as a weak ETag."""
    known = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    return known == {"*"} or etag(version) in known


def request_hash(*request: Any) -> str:
    """What tells two requests under one idempotency key apart."""
    return sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
