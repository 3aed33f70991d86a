"""The functions that the clients of a run call, as one: tasks, MCP and retention."""

from types import ModuleType
from typing import Any

from starlette.types import Receive, Scope, Send

from api import mcp, retention, tasks

FUNCTIONS = {"/api/mcp": mcp, "/api/retention": retention}


def _function_of(path: str) -> ModuleType:
    return FUNCTIONS.get(path, tasks)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await _function_of(scope.get("path", "")).app(scope, receive, send)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return _function_of(event["rawPath"]).lambda_handler(event, context)
