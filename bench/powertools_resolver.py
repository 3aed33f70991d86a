"""The task API with the HTTP resolver of Powertools and psycopg, a common choice on AWS.

Validation and OpenAPI, which cost more, are off, and nothing is logged.
"""

import json
import os
from typing import Any

import jwt
import psycopg
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import (
    ForbiddenError,
    NotFoundError,
    UnauthorizedError,
)
from psycopg.rows import dict_row

COLUMNS = "id, user_id, title, description, completed, created_at, updated_at"
LIST = f"SELECT {COLUMNS} FROM tasks WHERE user_id = %s ORDER BY created_at DESC, id DESC"
PAGE = f"{LIST} LIMIT %s OFFSET %s"
GET = f"SELECT {COLUMNS} FROM tasks WHERE user_id = %s AND id = %s"
CREATE = f"INSERT INTO tasks (user_id, title, description) VALUES (%s, %s, %s) RETURNING {COLUMNS}"
TOGGLE = f"""UPDATE tasks SET completed = NOT completed, updated_at = now()
WHERE user_id = %s AND id = %s RETURNING {COLUMNS}"""

_connection: psycopg.Connection[dict[str, Any]] | None = None


def _write_json(content: object) -> str:
    return json.dumps(content, default=lambda value: value.isoformat().replace("+00:00", "Z"))


app = APIGatewayHttpResolver(serializer=_write_json)


@app.get("/api/<user_id>/tasks")
def list_tasks(user_id: str) -> list[dict[str, Any]]:
    owner = _owner(user_id)
    query = app.current_event.query_string_parameters
    if "limit" in query:
        return _fetch(PAGE, owner, int(query["limit"]), int(query.get("offset", "0")))
    return _fetch(LIST, owner)


@app.post("/api/<user_id>/tasks")
def create_task(user_id: str) -> Response[Any]:
    owner = _owner(user_id)
    task = app.current_event.json_body
    [row] = _fetch(CREATE, owner, task["title"], task.get("description"))
    return Response(201, content_type="application/json", body=_write_json(row))


@app.get("/api/<user_id>/tasks/<task_id>")
def get_task(user_id: str, task_id: str) -> dict[str, Any]:
    return _only(_fetch(GET, _owner(user_id), int(task_id)))


@app.patch("/api/<user_id>/tasks/<task_id>/complete")
def toggle_task(user_id: str, task_id: str) -> dict[str, Any]:
    return _only(_fetch(TOGGLE, _owner(user_id), int(task_id)))


def _owner(user_id: str) -> str:
    authorization = app.current_event.headers.get("authorization", "")
    try:
        claims = jwt.decode(
            authorization.removeprefix("Bearer "),
            os.environ["BETTER_AUTH_SECRET"],
            algorithms=["HS256"],
        )
    except jwt.PyJWTError as error:
        raise UnauthorizedError("A bearer token is required.") from error
    if claims["sub"] != user_id:
        raise ForbiddenError("The path belongs to another user.")
    return claims["sub"]


def _only(rows: list[dict[str, Any]]) -> dict[str, Any]:
    if not rows:
        raise NotFoundError("Task not found.")
    return rows[0]


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


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return app.resolve(event, context)
