"""The floor of the server comparison: an ASGI application without a framework."""

import asyncio
import json
import os
from typing import Any
from urllib.parse import parse_qsl

import jwt
import psycopg
from floor import CREATE, GET, LIST, PAGE, TOGGLE, _format_timestamp
from psycopg.rows import dict_row

CONNECTIONS = 8  # as this API on Vercel

_idle: list[psycopg.AsyncConnection[dict[str, Any]]] = []
_free = asyncio.Semaphore(CONNECTIONS)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
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
    owner = claims["sub"]
    match scope["method"], scope["path"].split("/")[2:]:
        case _, [user, *_] if user != owner:
            await _respond(send, 403, {"detail": "The path belongs to another user."})
        case "GET", [_, "tasks"]:
            query = dict(parse_qsl(scope["query_string"].decode()))
            if "limit" in query:
                rows = await _fetch(PAGE, owner, int(query["limit"]), int(query.get("offset", "0")))
            else:
                rows = await _fetch(LIST, owner)
            await _respond(send, 200, rows)
        case "POST", [_, "tasks"]:
            task = json.loads((await receive())["body"])
            [row] = await _fetch(CREATE, owner, task["title"], task.get("description"))
            await _respond(send, 201, row)
        case "GET", [_, "tasks", task_id]:
            await _respond_one(send, await _fetch(GET, owner, int(task_id)))
        case "PATCH", [_, "tasks", task_id, "complete"]:
            await _respond_one(send, await _fetch(TOGGLE, owner, int(task_id)))
        case _:
            await _respond(send, 404, {"detail": "Not found."})


async def _fetch(statement: str, *values: object) -> list[dict[str, Any]]:
    async with _free:
        if _idle:
            connection = _idle.pop()
        else:
            connection = await psycopg.AsyncConnection.connect(
                os.environ["DATABASE_URL"],
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
            )
        try:
            return await (await connection.execute(statement, values)).fetchall()
        finally:
            _idle.append(connection)


async def _respond_one(send: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        await _respond(send, 200, rows[0])
    else:
        await _respond(send, 404, {"detail": "Task not found."})


async def _respond(send: Any, status: int, content: object) -> None:
    headers = [(b"content-type", b"application/json")]
    body = json.dumps(content, default=_format_timestamp).encode()
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
