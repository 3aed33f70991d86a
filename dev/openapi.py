"""Writes the OpenAPI document of the whole API (`make openapi`); `--check` says whether it is
fresh.
"""

import json
import sys
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api import docs, health, smoke, tasks
from lib.models import TaskQuery
from lib.route import CallersRoute

DESCRIPTION = """Tasks of a to-do application. Every task route wants a Better Auth token:
`Authorization: Bearer <JWT>`, and its `{user_id}` is the token's subject.

Errors are always `{"detail": "<one sentence>"}`. Single tasks carry an `ETag`, which `If-Match` and
`If-None-Match` understand; `POST` and `PATCH` understand `Idempotency-Key`."""

# Compared with the token by CallersRoute, before FastAPI looks at parameters.
USER_ID = {
    "name": "user_id",
    "in": "path",
    "required": True,
    "description": "The user of the token: its `sub`.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}

QUERIES = {"list_tasks": TaskQuery}

# Response headers that clients may count on, by operation and status.
ETAG = {"ETag": "Its version, for If-Match and If-None-Match."}
CHALLENGE = {"WWW-Authenticate": "The scheme, and what is wrong with the token (RFC 6750)."}
RETRY = {"Retry-After": "Seconds to wait before trying again."}
HEADERS: dict[tuple[str, str], dict[str, str]] = {
    ("create_task", "201"): ETAG | {"Location": "The path of the new task."},
    ("get_task", "200"): ETAG,
    ("get_task", "304"): ETAG,
    ("update_task", "200"): ETAG,
    ("complete_task", "200"): ETAG,
}
EVERYWHERE = {"401": CHALLENGE, "503": RETRY}
# Only some answers carry these.
OPTIONAL = {
    "Link": 'Where the next page is, rel="next".',
    "X-Total-Count": "How many tasks match.",
}

# What can be done with the task of an answer, and where its path and headers come from.
OF_TASK = {"user_id": "$response.body#/user_id", "task_id": "$response.body#/id"}
OF_FIRST = {"user_id": "$request.path.user_id", "task_id": "$response.body#/0/id"}
AS_READ = {"header.If-Match": "$response.header.ETag"}
LINKS: dict[tuple[str, str], dict[str, dict[str, str]]] = {
    ("list_tasks", "200"): {"get_task": OF_FIRST, "update_task": OF_FIRST},
    ("create_task", "201"): {
        "get_task": OF_TASK,
        "update_task": OF_TASK | AS_READ,
        "complete_task": OF_TASK,
        "delete_task": OF_TASK,
    },
    ("get_task", "200"): {
        "update_task": OF_TASK | AS_READ,
        "complete_task": OF_TASK | AS_READ,
        "delete_task": OF_TASK | AS_READ,
    },
    ("update_task", "200"): {"get_task": OF_TASK, "delete_task": OF_TASK | AS_READ},
    ("complete_task", "200"): {"get_task": OF_TASK, "complete_task": OF_TASK},
}


def document() -> dict[str, Any]:
    """The OpenAPI document: operation ids are function names, one tag a group."""
    routes = [
        route
        for group in (tasks, health, docs, smoke)
        for route in group.router.routes
        if isinstance(route, APIRoute)
    ]
    for route in routes:
        route.operation_id = route.name
        route.summary = route.description.removesuffix(".")
        if isinstance(route, CallersRoute):
            route.openapi_extra = {
                "security": [{"bearer": []}],
                "parameters": [USER_ID, *query_parameters(route.name)],
            }
    spec = get_openapi(
        title="Task API",
        version="1.0.0",
        description=DESCRIPTION,
        routes=routes,
        servers=[{"url": "/", "description": "This server"}],
        license_info={"name": "MIT", "identifier": "MIT"},
        tags=[
            {"name": "tasks", "description": "The tasks of one user"},
            {"name": "health", "description": "For load balancers and monitors"},
            {"name": "docs", "description": "This documentation"},
            {"name": "smoke", "description": "The scheduled test of the deployment itself"},
        ],
    )
    spec["components"]["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token of Better Auth, as `authClient.token()` gives it.",
        },
        "cron": {
            "type": "http",
            "scheme": "bearer",
            "description": "The deployment's CRON_SECRET, as the platform's scheduler sends it.",
        },
    }
    for methods in spec["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                add_headers_and_links(operation["operationId"], status, answer)
    # FastAPI declares its own form of a 422, which this API never answers.
    for unused in ("HTTPValidationError", "ValidationError"):
        spec["components"]["schemas"].pop(unused, None)
    return spec


def add_headers_and_links(operation: str, status: str, answer: dict[str, Any]) -> None:
    """What FastAPI cannot know of an answer, since the routes make it themselves."""
    certain = HEADERS.get((operation, status), {}) | EVERYWHERE.get(status, {})
    possible = OPTIONAL if (operation, status) == ("list_tasks", "200") else {}
    headers = {
        name: {"description": text, "required": name in certain, "schema": {"type": "string"}}
        for name, text in (certain | possible).items()
    }
    links = {
        name: {"operationId": name, "parameters": parameters}
        for name, parameters in LINKS.get((operation, status), {}).items()
    }
    answer |= {name: part for name, part in (("headers", headers), ("links", links)) if part}


def query_parameters(operation: str) -> list[dict[str, Any]]:
    """What the route reads by `read_query`, unseen by FastAPI."""
    if operation not in QUERIES:
        return []
    fields = QUERIES[operation].model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in fields.items()
    ]


def main() -> None:
    fresh = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    if "--check" in sys.argv:
        if not docs.DOCUMENT.exists() or docs.DOCUMENT.read_text() != fresh:
            sys.exit("The OpenAPI document is out of date: run make openapi and commit it.")
        return
    docs.DOCUMENT.write_text(fresh)


if __name__ == "__main__":
    main()
