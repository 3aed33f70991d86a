"""Sends a request for tasks as a call of an MCP tool, and reads its result as the response.

So the clients do the same, and expect the same, through both.
"""

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tests.resilience.chaos.fleet import Request, Response
from tests.resilience.faults.lab import UNCHANGED, UNKNOWN

PATH = "/api/mcp"
VERSION = "2025-11-25"
STATUSES = {"add_task": 201, "delete_task": 204}  # 200 for all others
REFUSALS = {"Task not found.": 404, UNKNOWN: 503, UNCHANGED: 503}


def as_tool_call(request: Request, path: str) -> Request | None:
    """The call that does what the request does, or None if no tool does.

    `path` is what follows the path of the user's tasks.
    """
    headers = dict(request.headers)
    key, if_match = headers.pop("idempotency-key", None), headers.get("if-match")
    tool, arguments = _tool(request, path)
    if not tool or if_match is not None:
        return None
    if key:
        arguments["idempotency_key"] = key
    params = {"name": tool, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return Request("POST", PATH, headers | {"mcp-protocol-version": VERSION}, message)


def _tool(request: Request, path: str) -> tuple[str, dict[str, Any]]:
    number, _, action = path.removeprefix("/").partition("/")
    task = {"id": int(number)} if number.isdigit() else {}
    query: dict[str, Any] = dict(parse_qsl(request.query))
    call: tuple[str, dict[str, Any]] = "", {}
    match request.method, action:
        # Without a limit, a tool lists one page where the API lists all.
        case "GET", "" if not task and "limit" in query:
            call = "list_tasks", query | {"limit": int(query["limit"])}
        case "POST", "" if not task:
            call = "add_task", dict(request.body)
        case (("PUT" | "PATCH"), "") if task:
            call = "update_task", task | request.body
        case "PATCH", "complete" if request.body:
            call = "complete_task", task | request.body
        case "DELETE", "" if not query:
            call = "delete_task", task
        case "POST", "restore":
            call = "restore_task", task
    return call


def as_response(call: Request, response: Response) -> Response:
    """The response that the API gives to the request which the call replaces."""
    if response.status != 200:
        return response
    name, result = call.body["params"]["name"], response.body["result"]
    headers = dict(response.headers)
    if result["isError"]:
        detail = result["content"][0]["text"]
        return Response(REFUSALS.get(detail, 422), headers, {"detail": detail})
    body = result["structuredContent"]
    if json.loads(result["content"][0]["text"]) != body:
        return Response(500, headers, {"detail": f"the text differs from {body}"})
    if name == "list_tasks":
        if cursor := body["next_cursor"]:
            query = urlencode(call.body["params"]["arguments"] | {"cursor": cursor})
            headers["link"] = f"<?{query}>"
        body = body["tasks"]
    return Response(STATUSES.get(name, 200), headers, None if name == "delete_task" else body)
