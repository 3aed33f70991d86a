"""The floor of the server comparison: an ASGI application without a framework, for lists only."""

import asyncio
import json
import os
from typing import Any

import jwt
import psycopg
from floor import LIST, _format_timestamp
from psycopg.rows import dict_row

CONNECTIONS = 8  # as this API on Vercel

_idle: asyncio.LifoQueue[psycopg.AsyncConnection[dict[str, Any]] | None] = asyncio.LifoQueue()
for _ in range(CONNECTIONS):
    _idle.put_nowait(None)


async def app(scope: dict[str, Any], _: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    headers = dict(scope["headers"])
    try:
        claims = jwt.decode(
            headers.get(b"authorization", b"").removeprefix(b"Bearer "),
            os.environ["BETTER_AUTH_SECRET"],
            algorithms=["HS256"],
        )
    except jwt.PyJWTError:
        await _respond(send, 401, {"detail": "A bearer token is required."})
        return
    if scope["path"] != f"/api/{claims['sub']}/tasks":
        await _respond(send, 404, {"detail": "Not found."})
        return
    connection = await _idle.get()
    try:
        if connection is None:
            connection = await psycopg.AsyncConnection.connect(
                os.environ["DATABASE_URL"],
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
            )
        cursor = await connection.execute(LIST, [claims["sub"]])
        rows = await cursor.fetchall()
    finally:
        _idle.put_nowait(connection)
    await _respond(send, 200, rows)


async def _respond(send: Any, status: int, content: object) -> None:
    headers = [(b"content-type", b"application/json")]
    body = json.dumps(content, default=_format_timestamp).encode()
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
