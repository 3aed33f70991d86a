"""Sends messages of the Model Context Protocol as a user, without an SDK."""

import json
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.contract.responses import media_type
from tests.contract.users import User

STATELESS = "2026-07-28"
WITH_HANDSHAKE = ("2025-11-25", "2025-06-18")
VERSION_FIELD = "io.modelcontextprotocol/protocolVersion"
META = {
    VERSION_FIELD: STATELESS,
    "io.modelcontextprotocol/clientInfo": {"name": "contract-suite", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
TOOLS = [
    "add_task", "list_tasks", "update_task", "complete_task", "delete_task", "restore_task",
]  # fmt: skip


@dataclass(frozen=True)
class Assistant:
    """An AI assistant that acts for a user."""

    user: User

    def post(self, content: bytes | str, **headers: str | None) -> httpx2.Response:
        """POST a body as it is. A header that is None is not sent."""
        sent: dict[str, Any] = {"Content-Type": "application/json", **self.user.headers}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in sent.items() if value is not None}
        return self.user.client.post("/api/mcp", content=content, headers=sent)

    def send(
        self, method: str, params: dict[str, Any] | None = None, **headers: str | None
    ) -> httpx2.Response:
        """Send a correct request of the stateless revision, with these headers on top."""
        params = {"_meta": META, **(params or {})}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        standard: dict[str, str | None] = {
            "MCP_Protocol_Version": STATELESS,
            "Mcp_Method": method,
        }
        if method == "tools/call":
            standard["Mcp_Name"] = str(params.get("name"))
        return self.post(json.dumps(message), **(standard | headers))

    def send_legacy(
        self, method: str, params: dict[str, Any] | None = None, version: str = WITH_HANDSHAKE[0]
    ) -> httpx2.Response:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        return self.post(json.dumps(message), MCP_Protocol_Version=version)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The result of a tool, which may be an error."""
        response = self.send("tools/call", {"name": tool, "arguments": arguments})
        assert response.status_code == 200, response.text
        document = response.json()
        assert document["jsonrpc"] == "2.0"
        assert document["id"] == 1
        return document["result"]

    def done(self, tool: str, **arguments: Any) -> Any:
        """The structured content of a result that is no error."""
        result = self.call(tool, **arguments)
        assert result["isError"] is False, result
        [content] = result["content"]
        assert content["type"] == "text"
        assert json.loads(content["text"]) == result["structuredContent"]
        return result["structuredContent"]

    def refused(self, tool: str, **arguments: Any) -> str:
        """The sentence of a result that is an error."""
        result = self.call(tool, **arguments)
        assert result["isError"] is True, result
        assert "structuredContent" not in result
        [content] = result["content"]
        return content["text"]


def error_of(response: httpx2.Response, status: int, code: int) -> dict[str, Any]:
    """Assert a JSON-RPC error with this status and code; returns it."""
    assert response.status_code == status, f"{response.status_code}: {response.text[:500]}"
    assert media_type(response) == "application/json"
    document = response.json()
    assert document["jsonrpc"] == "2.0"
    assert "result" not in document
    error = document["error"]
    assert error["code"] == code, error
    assert error["message"].endswith(".")
    return document
