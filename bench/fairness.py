"""Says before anything is measured whether all partners do the same; knows no figure."""

import json
import re
from datetime import datetime
from typing import Any

from bench.processes import Sandbox, Unfair

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)")


def check(name: str, sandbox: Sandbox, expected: dict[str, Any]) -> None:
    """Fills `expected` with the answers of the first partner, and holds the others to them.

    Raises Unfair.
    """
    for event, status in (("unauthorized", 401), ("list", 200), ("get", 200)):
        answer = sandbox.answer(event)["answer"]
        if answer["statusCode"] != status:
            raise Unfair(f"{name} answers {event} with {answer['statusCode']}: {answer['body']}")
        if status == 200:
            content = comparable(answer["body"])
            if expected.setdefault(event, content) != content:
                raise Unfair(f"{name} answers {event} unlike the others: {answer['body'][:500]}")
    if len(expected["list"]) != 10:
        raise Unfair(f"The list has {len(expected['list'])} tasks.")
    created = sandbox.answer("create")["answer"]
    if created["statusCode"] != 201 or set(comparable(created["body"])) != set(expected["get"]):
        raise Unfair(f"{name} does not create: {created}")
    before, after = (comparable(sandbox.answer("toggle")["answer"]["body"]) for _ in range(2))
    if before["completed"] == after["completed"] or before["id"] != after["id"]:
        raise Unfair(f"{name} does not toggle: {after}")


def comparable(body: str | bytes) -> Any:
    """JSON in which moments are moments, however they are written."""

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: convert(item) for name, item in value.items()}
        if isinstance(value, list):
            return [convert(item) for item in value]
        if isinstance(value, str) and MOMENT.fullmatch(value):
            return datetime.fromisoformat(value)
        return value

    return convert(json.loads(body))
