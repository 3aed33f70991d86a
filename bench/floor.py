"""The floor of the comparison: a minimal Lambda handler without a framework.

It uses PyJWT, psycopg and json.dumps. Only the constraints of the table validate bodies, and there
are no request ids, CORS headers or logs. It is not meant for deployment: it shows the minimum cost
of a Python function.
"""

import json
import os
from typing import Any
from urllib.parse import parse_qsl

import jwt
import psycopg
from psycopg.rows import dict_row

COLUMNS = "id, user_id, title, description, completed, created_at, updated_at"
LIST = f"SELECT {COLUMNS} FROM tasks WHERE user_id = %s ORDER BY created_at DESC, id DESC"
PAGE = f"{LIST} LIMIT %s OFFSET %s"
GET = f"SELECT {COLUMNS} FROM tasks WHERE user_id = %s AND id = %s"
CREATE = f"INSERT INTO tasks (user_id, title, description) VALUES (%s, %s, %s) RETURNING {COLUMNS}"
TOGGLE = f"""UPDATE tasks SET completed = NOT completed, updated_at = now()
WHERE user_id = %s AND id = %s RETURNING {COLUMNS}"""

_connection: psycopg.Connection[dict[str, Any]] | None = None


def lambda_handler(event: dict[str, Any], _: object) -> dict[str, Any]:
    """Respond to an event of an API Gateway HTTP API (payload format 2.0)."""
    authorization = event["headers"].get("authorization", "")
    try:
        claims = jwt.decode(
            authorization.removeprefix("Bearer "),
            os.environ["BETTER_AUTH_SECRET"],
            algorithms=["HS256"],
        )
    except jwt.PyJWTError:
        return _respond(401, {"detail": "A bearer token is required."})
    owner = claims["sub"]
    match event["requestContext"]["http"]["method"], event["rawPath"].split("/")[2:]:
        case _, [user, *_] if user != owner:
            return _respond(403, {"detail": "The path belongs to another user."})
        case "GET", [_, "tasks"]:
            query = dict(parse_qsl(event["rawQueryString"]))
            if "limit" in query:
                rows = _fetch(PAGE, owner, int(query["limit"]), int(query.get("offset", "0")))
            else:
                rows = _fetch(LIST, owner)
            return _respond(200, rows)
        case "POST", [_, "tasks"]:
            task = json.loads(event["body"])
            rows = _fetch(CREATE, owner, task["title"], task.get("description"))
            return _respond(201, rows[0])
        case "GET", [_, "tasks", task_id]:
            rows = _fetch(GET, owner, int(task_id))
        case "PATCH", [_, "tasks", task_id, "complete"]:
            rows = _fetch(TOGGLE, owner, int(task_id))
        case _:
            return _respond(404, {"detail": "Not found."})
    return _respond(200, rows[0]) if rows else _respond(404, {"detail": "Task not found."})


def _fetch(statement: str, *values: object) -> list[dict[str, Any]]:
    global _connection
    if _connection is None:
        _connection = psycopg.connect(
            os.environ["DATABASE_URL"],
            autocommit=True,
            # Neon's pooler may run a prepared statement on another server connection.
            prepare_threshold=None,
            row_factory=dict_row,
        )
    return _connection.execute(statement, values).fetchall()


def _respond(status: int, content: object) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(content, default=_format_timestamp),
        "isBase64Encoded": False,
    }


def _format_timestamp(value: Any) -> str:
    return value.isoformat().replace("+00:00", "Z")
