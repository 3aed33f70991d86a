"""Writes the OpenAPI document of the whole API (`make openapi`); `--check` says whether it is
fresh.
"""

import json
import sys
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api import docs
from dev.app import GROUPS
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


def document() -> dict[str, Any]:
    """The OpenAPI document: operation ids are function names, one tag a group."""
    routes = [
        route for group in GROUPS for route in group.router.routes if isinstance(route, APIRoute)
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
    # FastAPI declares its own form of a 422, which this API never answers.
    for unused in ("HTTPValidationError", "ValidationError"):
        spec["components"]["schemas"].pop(unused, None)
    return spec


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
