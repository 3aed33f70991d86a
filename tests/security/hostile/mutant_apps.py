"""The API with six violations of its OpenAPI document, each of which schemathesis must find."""

import json
import os
import time
from typing import Any

import jwt
from starlette.types import Message, Receive, Scope, Send

from dev.app import app as original

SECRET = os.environ.get("BETTER_AUTH_SECRET", "")
TASK: dict[str, Any] = {
    "id": 1,
    "user_id": "somebody",
    "title": "Accepted",
    "description": None,
    "completed": False,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}
# What schemathesis calls each violation, and what it is.
NAMES = {
    "UndefinedStatusCode": "the health check has status 202",
    "JsonSchemaError": "readiness has an undocumented status text",
    "ServerError": "a search fails",
    "MissingHeaders": "a new task has no Location",
    "IgnoredAuth": "every request may toggle",
    "AcceptedNegativeData": "an invalid PUT is accepted",
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """One violation for each route. All other responses are those of the API."""
    if scope["type"] != "http":
        await original(scope, receive, send)
        return
    path, method = scope["path"], scope["method"]
    if method == "GET" and b"q=" in scope["query_string"]:
        await _respond(send, 500, b'{"detail": "Mutant."}')
        return
    if path == "/api/health/ready":
        await _respond(send, 200, b'{"status": "splendid"}')
        return
    if method == "PATCH":
        scope = _with_token(scope)

    replaced = False

    async def send_altered(message: Message) -> None:
        nonlocal replaced
        if message["type"] == "http.response.start":
            if path == "/api/health":
                message["status"] = 202
            if method == "POST":
                kept = (header for header in message["headers"] if header[0] != b"location")
                message["headers"] = list(kept)
            if method == "PUT" and message["status"] == 422:
                replaced = True
                await _respond(send, 200, json.dumps(TASK).encode(), (b"etag", b'"1"'))
        if not replaced:
            await send(message)

    await original(scope, receive, send_altered)


def _with_token(scope: Scope) -> Scope:
    user = scope["path"].split("/")[2]
    token = jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, SECRET)
    kept = [header for header in scope["headers"] if header[0] != b"authorization"]
    return {**scope, "headers": [*kept, (b"authorization", f"Bearer {token}".encode())]}


async def _respond(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    usual = [(b"content-type", b"application/json")] if body else []
    await send({"type": "http.response.start", "status": status, "headers": [*usual, *headers]})
    await send({"type": "http.response.body", "body": body})
