"""The API with six faults of contract, so that the check that must find them can be seen to."""

import json
import os
import time
from typing import Any

import jwt
from starlette.types import Message, Receive, Scope, Send

from dev.app import app as sound

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
# What schemathesis calls each of them, and where it stands below.
NAMES = {
    "UndefinedStatusCode": "the health check answers 202",
    "JsonSchemaError": "readiness answers a status of its own making",
    "ServerError": "a search fails",
    "MissingHeaders": "a new task has no Location",
    "IgnoredAuth": "anybody may toggle",
    "AcceptedNegativeData": "a PUT of anything is accepted",
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """One fault a route; everything else is as it should be."""
    if scope["type"] != "http":
        await sound(scope, receive, send)
        return
    path, method = scope["path"], scope["method"]
    if method == "GET" and b"q=" in scope["query_string"]:
        await _answer(send, 500, b'{"detail": "Planted."}')
        return
    if path == "/api/health/ready":
        await _answer(send, 200, b'{"status": "splendid"}')
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
                await _answer(send, 200, json.dumps(TASK).encode(), (b"etag", b'"1"'))
        if not replaced:
            await send(message)

    await sound(scope, receive, send_altered)


def _with_token(scope: Scope) -> Scope:
    user = scope["path"].split("/")[2]
    token = jwt.encode({"sub": user, "exp": int(time.time()) + 300}, SECRET)
    kept = [header for header in scope["headers"] if header[0] != b"authorization"]
    return {**scope, "headers": [*kept, (b"authorization", f"Bearer {token}".encode())]}


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    usual = [(b"content-type", b"application/json")] if body else []
    await send({"type": "http.response.start", "status": status, "headers": [*usual, *headers]})
    await send({"type": "http.response.body", "body": body})
