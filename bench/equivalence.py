"""Checks before the measurements that all implementations return the same responses."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from bench.processes import ComparisonError

# The fields of a task that every implementation has. This API returns four more.
FIELDS = (
    "id", "user_id", "title", "description", "completed", "created_at", "updated_at",
)  # fmt: skip
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)")


def check(name: str, send: Callable[[str], dict[str, Any]], expected: dict[str, Any]) -> None:
    """Compare the responses of one implementation with `expected`, by event name.

    `send` sends the event of a name and returns the response. The first implementation fills `expected`. Raises ComparisonError if a status or body differs.
    """
    for event, status in (
        ("unauthorized", 401), ("list", 200), ("page 10", 200), ("get", 200)
    ):  # fmt: skip
        response = send(event)
        if response["statusCode"] != status:
            raise ComparisonError(
                f"{name} responds to {event} with {response['statusCode']}: {response['body']}"
            )
        if status == 200:
            content = comparable(response["body"])
            if expected.setdefault(event, content) != content:
                raise ComparisonError(
                    f"{name}: the response to {event} differs: {response['body'][:500]}"
                )
    if len(expected["list"]) != 10:
        raise ComparisonError(f"The list has {len(expected['list'])} tasks.")
    created = send("create")
    if created["statusCode"] != 201 or set(comparable(created["body"])) != set(expected["get"]):
        raise ComparisonError(f"{name} does not create the task: {created}")
    before, after = (comparable(send("toggle")["body"]) for _ in range(2))
    if before["completed"] == after["completed"] or before["id"] != after["id"]:
        raise ComparisonError(f"{name} does not toggle the task: {after}")


def comparable(body: str | bytes) -> Any:
    """Parse JSON, with timestamps as datetimes and without fields that only this API has."""

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: convert(value[name]) for name in FIELDS if name in value}
        if isinstance(value, list):
            return [convert(item) for item in value]
        if isinstance(value, str) and TIMESTAMP.fullmatch(value):
            return datetime.fromisoformat(value)
        return value

    return convert(json.loads(body))
