"""Assertions about responses that hold for every request; this module sends nothing."""

import re
from datetime import datetime
from typing import Any

import httpx2

FIELDS = {
    *("id", "user_id", "title", "description", "completed", "priority", "due_date", "tags"),
    *("completed_at", "created_at", "updated_at"),
}
READ_ONLY = {"id", "user_id", "completed_at", "created_at", "updated_at"}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
DUE_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d\.\d{6}Z)?")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
STRONG_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


def media_type(response: httpx2.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def assert_error(response: httpx2.Response, *statuses: int) -> dict[str, Any]:
    """Assert one of these statuses and the body of every error; returns the body."""
    assert response.status_code in statuses, f"{response.status_code}: {response.text[:500]}"
    assert media_type(response) == "application/json"
    body = response.json()
    assert isinstance(body, dict)
    assert isinstance(body["detail"], str)
    assert body["detail"].strip()
    assert "\n" not in body["detail"]
    if response.status_code == 422:
        assert set(body) == {"detail", "errors"}
        assert body["errors"], "a 422 names the invalid input"
        for fault in body["errors"]:
            assert set(fault) == {"loc", "msg", "type"}, "nothing that echoes the input"
            assert isinstance(fault["loc"], list)
            assert all(isinstance(step, str | int) for step in fault["loc"])
            assert isinstance(fault["msg"], str)
            assert isinstance(fault["type"], str)
    else:
        assert set(body) == {"detail"}
    if response.status_code == 401:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    return body


def assert_refused(response: httpx2.Response) -> None:
    """Assert any 4xx with the usual body, where the contract does not fix the status."""
    assert_error(response, *range(400, 500))


def assert_task(body: Any) -> None:
    """Assert that the body is one task: every field with its type, and no other."""
    assert isinstance(body, dict)
    assert set(body) == FIELDS
    assert type(body["id"]) is int
    assert 1 <= body["id"] < 2**63
    assert isinstance(body["user_id"], str)
    assert isinstance(body["title"], str)
    assert body["description"] is None or isinstance(body["description"], str)
    assert type(body["completed"]) is bool
    assert body["priority"] in (None, "low", "medium", "high", "urgent")
    assert body["due_date"] is None or DUE_DATE.fullmatch(body["due_date"]), body["due_date"]
    assert all(isinstance(tag, str) for tag in body["tags"])
    assert (body["completed_at"] is not None) == body["completed"]
    if body["completed"]:
        assert TIMESTAMP.fullmatch(body["completed_at"]), body["completed_at"]
    for name in ("created_at", "updated_at"):
        assert TIMESTAMP.fullmatch(body[name]), body[name]
    assert parse_timestamp(body["created_at"]) <= parse_timestamp(body["updated_at"])


def parse_timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text)


def etag(response: httpx2.Response) -> str:
    """The strong ETag that every response about a single task has."""
    tag = response.headers["ETag"]
    assert STRONG_TAG.fullmatch(tag), f"no strong tag: {tag}"
    return tag


def tokens(header: str | None) -> set[str]:
    """A comma list such as Allow or Cache-Control, as a set in lower case."""
    return {token.strip().lower() for token in (header or "").split(",") if token.strip()}


def next_link(response: httpx2.Response) -> str | None:
    """The absolute URL of rel="next", or None on the last page."""
    header = response.headers.get("Link")
    if header is None:
        return None
    found = re.fullmatch(r'\s*<([^<>]+)>\s*;\s*rel="next"\s*', header)
    assert found, f'Link is <...>; rel="next" or absent: {header}'
    return str(response.url.join(found[1]))
