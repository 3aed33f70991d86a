"""The floor of a server: a bare ASGI application with async psycopg, for lists only; knows no
framework.
"""

import asyncio
import json
import os
from typing import Any

import jwt
import psycopg
from floor import LIST, _moment
from psycopg.rows import dict_row

CONNECTIONS = 8  # as ours has on Vercel

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
        await _answer(send, 401, {"detail": "A bearer token is needed."})
        return
    if scope["path"] != f"/api/{claims['sub']}/tasks":
        await _answer(send, 404, {"detail": "There is nothing here."})
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
    await _answer(send, 200, rows)


async def _answer(send: Any, status: int, content: object) -> None:
    headers = [(b"content-type", b"application/json")]
    body = json.dumps(content, default=_moment).encode()
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
