"""Says what an answer must look like, whatever the question was; sends nothing itself."""

import re
from datetime import datetime
from typing import Any

import httpx2

FIELDS = {"id", "user_id", "title", "description", "completed", "created_at", "updated_at"}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
STRONG_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


def media_type(answer: httpx2.Response) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def assert_error(answer: httpx2.Response, *statuses: int) -> dict[str, Any]:
    """The answer has one of these statuses and the body that every error has; gives the body."""
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text[:500]}"
    assert media_type(answer) == "application/json"
    body = answer.json()
    assert isinstance(body, dict)
    assert isinstance(body["detail"], str)
    assert body["detail"].strip()
    assert "\n" not in body["detail"]
    if answer.status_code == 422:
        assert set(body) == {"detail", "errors"}
        assert body["errors"], "a 422 says which input is wrong"
        for fault in body["errors"]:
            assert set(fault) == {"loc", "msg", "type"}, "nothing that echoes the input"
            assert isinstance(fault["loc"], list)
            assert all(isinstance(step, str | int) for step in fault["loc"])
            assert isinstance(fault["msg"], str)
            assert isinstance(fault["type"], str)
    else:
        assert set(body) == {"detail"}
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    return body


def assert_refused(answer: httpx2.Response) -> None:
    """Bad input gets some 4xx with the usual body: where the contract leaves the status open."""
    assert_error(answer, *range(400, 500))


def assert_task(body: Any) -> None:
    """The body is one task: every field, of its type, and nothing else."""
    assert isinstance(body, dict)
    assert set(body) == FIELDS
    assert type(body["id"]) is int
    assert 1 <= body["id"] < 2**63
    assert isinstance(body["user_id"], str)
    assert isinstance(body["title"], str)
    assert body["description"] is None or isinstance(body["description"], str)
    assert type(body["completed"]) is bool
    for name in ("created_at", "updated_at"):
        assert TIMESTAMP.fullmatch(body[name]), body[name]
    assert moment(body["created_at"]) <= moment(body["updated_at"])


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def etag(answer: httpx2.Response) -> str:
    """The strong tag that every answer about a single task has."""
    tag = answer.headers["ETag"]
    assert STRONG_TAG.fullmatch(tag), f"no strong tag: {tag}"
    return tag


def tokens(header: str | None) -> set[str]:
    """A comma list such as Allow or Cache-Control, as a set in lower case."""
    return {token.strip().lower() for token in (header or "").split(",") if token.strip()}


def next_link(answer: httpx2.Response) -> str | None:
    """The address behind rel="next", made absolute; None on the last page."""
    header = answer.headers.get("Link")
    if header is None:
        return None
    found = re.fullmatch(r'\s*<([^<>]+)>\s*;\s*rel="next"\s*', header)
    assert found, f'Link is <...>; rel="next" or absent: {header}'
    return str(answer.url.join(found[1]))
