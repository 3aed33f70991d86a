"""The floor: what every Python function on Lambda pays before any framework. Knows no framework.

A plain handler, PyJWT, psycopg, json.dumps. No validation of bodies beyond what the table refuses,
no request id, no CORS, no log line: nobody should deploy this, and nothing can be much cheaper.
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
    """Answers an API Gateway HTTP API event (payload 2.0)."""
    authorization = event["headers"].get("authorization", "")
    try:
        claims = jwt.decode(
            authorization.removeprefix("Bearer "),
            os.environ["BETTER_AUTH_SECRET"],
            algorithms=["HS256"],
        )
    except jwt.PyJWTError:
        return _answer(401, {"detail": "A bearer token is needed."})
    owner = claims["sub"]
    match event["requestContext"]["http"]["method"], event["rawPath"].split("/")[2:]:
        case _, [user, *_] if user != owner:
            return _answer(403, {"detail": "Not your path."})
        case "GET", [_, "tasks"]:
            query = dict(parse_qsl(event["rawQueryString"]))
            if "limit" in query:
                rows = _fetch(PAGE, owner, int(query["limit"]), int(query.get("offset", "0")))
            else:
                rows = _fetch(LIST, owner)
            return _answer(200, rows)
        case "POST", [_, "tasks"]:
            task = json.loads(event["body"])
            rows = _fetch(CREATE, owner, task["title"], task.get("description"))
            return _answer(201, rows[0])
        case "GET", [_, "tasks", task_id]:
            rows = _fetch(GET, owner, int(task_id))
        case "PATCH", [_, "tasks", task_id, "complete"]:
            rows = _fetch(TOGGLE, owner, int(task_id))
        case _:
            return _answer(404, {"detail": "There is nothing here."})
    return _answer(200, rows[0]) if rows else _answer(404, {"detail": "Task not found."})


def _fetch(statement: str, *values: object) -> list[dict[str, Any]]:
    global _connection
    if _connection is None:
        _connection = psycopg.connect(
            os.environ["DATABASE_URL"],
            autocommit=True,
            # As behind Neon's pooler, where a prepared statement may meet another server.
            prepare_threshold=None,
            row_factory=dict_row,
        )
    return _connection.execute(statement, values).fetchall()


def _answer(status: int, content: object) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(content, default=_moment),
        "isBase64Encoded": False,
    }


def _moment(value: Any) -> str:
    return value.isoformat().replace("+00:00", "Z")
