"""`make openapi`: writes the OpenAPI document of the whole API.

With `--check` it writes nothing, and fails if the document is out of date.
"""

import copy
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api import docs
from dev.app import GROUPS
from lib import errors
from lib.schemas import Task
from lib.web.exception_handlers import describe_error
from lib.web.list_parameters import other_spellings
from lib.web.routing import AuthenticatedRoute

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
DESCRIPTION = """The tasks of a to-do application. Task routes require a Better Auth token:
`Authorization: Bearer <JWT>`. The `{user_id}` in a path is the subject (`sub`) of the token. Every
task route also has a path without it, for the user of the token.

Errors have the form `{"detail": "<one sentence>"}`. A response with a single task has an `ETag`.
Send it as `If-Match` to change the task only if nobody else has changed it, or as `If-None-Match`
to read it only if it has changed. `POST`, `PUT` and `PATCH` accept an `Idempotency-Key`. A deleted
task is kept in the trash for 30 days, from where it can be restored."""
# In the order of the documentation page, which expands only the first.
TAGS = [
    {"name": "tasks", "description": "The tasks of one user"},
    {"name": "my tasks", "description": "The same, without the user in the path"},
    {"name": "docs", "description": "This documentation"},
    {"name": "operations", "description": "For operators: health checks and scheduled jobs"},
]

# FastAPI does not know this parameter, because AuthenticatedRoute reads it.
USER_ID = {
    "name": "user_id",
    "in": "path",
    "required": True,
    "description": "The user of the token: its `sub`.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}

# Links from a response to the operations on its task, with the sources of their parameters.
OF_TASK = {"user_id": "$response.body#/user_id", "task_id": "$response.body#/id"}
OF_FIRST = {"user_id": "$request.path.user_id", "task_id": "$response.body#/0/id"}
IF_MATCH = {"header.If-Match": "$response.header.ETag"}
LINKS: dict[tuple[str, str], dict[str, dict[str, str]]] = {
    ("list_tasks", "200"): {"get_task": OF_FIRST, "update_task": OF_FIRST},
    ("create_task", "201"): {
        "get_task": OF_TASK,
        "update_task": OF_TASK | IF_MATCH,
        "complete_task": OF_TASK,
        "delete_task": OF_TASK,
    },
    ("get_task", "200"): {
        "update_task": OF_TASK | IF_MATCH,
        "complete_task": OF_TASK | IF_MATCH,
        "delete_task": OF_TASK | IF_MATCH,
    },
    ("update_task", "200"): {"get_task": OF_TASK, "delete_task": OF_TASK | IF_MATCH},
    ("patch_task", "200"): {"get_task": OF_TASK, "delete_task": OF_TASK | IF_MATCH},
    ("complete_task", "200"): {"get_task": OF_TASK, "complete_task": OF_TASK},
    ("delete_task", "204"): {
        "restore_task": {
            "user_id": "$request.path.user_id",
            "task_id": "$request.path.task_id",
            **IF_MATCH,
        }
    },
    ("restore_task", "200"): {"get_task": OF_TASK, "delete_task": OF_TASK | IF_MATCH},
    ("list_task_changes", "200"): {
        "list_task_changes": {
            "user_id": "$request.path.user_id",
            "since": "$response.body#/next",
        }
    },
}


def invalid(source: str, name: str, message: str, kind: str) -> dict[str, Any]:
    """The body of a 422 for one invalid value."""
    error = {"loc": [source, name], "msg": message, "type": kind}
    return {"detail": describe_error(error), "errors": [error]}


ETAG = {"ETag": "The version of the task. Send it as `If-Match`."}
HEADERS = {
    ("list_tasks", "200"): {
        "Link": '`<...>; rel="next"` while there are more pages.',
        "X-Total-Count": "The number of tasks. On pages only with `count=true`.",
    },
    ("create_task", "201"): {**ETAG, "Location": "The path of the new task."},
    ("get_task", "200"): ETAG,
    ("get_task", "304"): ETAG,
    ("update_task", "200"): ETAG,
    ("patch_task", "200"): ETAG,
    ("complete_task", "200"): ETAG,
    ("restore_task", "200"): ETAG,
    ("delete_task", "204"): {
        "ETag": "The version in the trash. Send it as `If-Match` to restore that version."
    },
    ("*", "401"): {
        "WWW-Authenticate": '`Bearer`, with `error="invalid_token"` if a token was sent.'
    },
    ("*", "500"): {"X-Request-ID": "The id of the request, for reports of the error."},
    **{
        ("*", status): {"Retry-After": "The number of seconds to wait before a retry."}
        for status in ("429", "503")
    },
}
OPTIONAL_HEADERS = {("list_tasks", "Link"), ("list_tasks", "X-Total-Count")}
OPTIONAL_HEADERS |= {("delete_task", "ETag")}  # not of a permanent deletion
PARAMETER_EXAMPLES: dict[str, Any] = {
    "status": "pending",
    "priority": ["high", "urgent"],
    "tag": ["home"],
    "due_from": "2026-12-01",
    "due_to": "2026-12-24",
    "q": "milk",
    "sort": "due_date",
    "order": "asc",
    "limit": 20,
    "offset": 40,
}
# FastAPI drops nulls from examples, and with them fields of the task.
TASK_EXAMPLES: Any = Task.model_config["json_schema_extra"]["examples"]  # ty: ignore[not-subscriptable]
EXAMPLES = {
    ("count_tasks", "200"): {
        "total": 12,
        "pending": 5,
        "completed": 7,
        "overdue": 1,
        "by_priority": {"urgent": 0, "high": 2, "medium": 1, "low": 0, "none": 2},
        "by_tag": {"home": 3, "errands": 1},
    },
    ("list_task_changes", "200"): {
        "tasks": TASK_EXAMPLES,
        "deleted": [7],
        "next": "q1Sx9WcJp2Yh8uR5tL0aZ1siNGY0YWQ5OGYi",
        "more": False,
    },
    ("*", "401"): {"detail": "The token has expired."},
    ("get_smoke", "401"): {"detail": "The cron secret is required."},
    ("get_retention", "401"): {"detail": "The cron secret is required."},
    ("*", "403"): {"detail": errors.Forbidden.detail},
    ("get_docs", "404"): {"detail": errors.NotFound.detail},
    ("get_openapi", "404"): {"detail": errors.NotFound.detail},
    ("*", "404"): {"detail": errors.TaskNotFound.detail},
    ("*", "410"): {"detail": errors.ChangesExpired.detail},
    ("*", "412"): {"detail": errors.TaskChanged.detail},
    ("*", "413"): {"detail": errors.BodyTooLarge.detail},
    ("*", "415"): {"detail": errors.UnsupportedMediaType.detail},
    ("create_task", "422"): invalid("body", "title", "is missing", "missing"),
    ("update_task", "422"): invalid(
        "body", "title", "must have 1 or more characters", "string_too_short"
    ),
    ("patch_task", "422"): invalid(
        "body",
        "due_date",
        "must exist in the calendar, within the years 1 to 9999 in UTC",
        "value_error",
    ),
    ("list_task_changes", "422"): invalid(
        "query", "limit", "must be 500 or less", "less_than_equal"
    ),
    ("list_tasks", "422"): invalid("query", "limit", "must be 100 or less", "less_than_equal"),
    ("*", "422"): invalid("path", "task_id", "must be a positive integer", "value_error"),
    ("*", "500"): {"detail": errors.ApiError.detail},
    ("*", "503"): {"detail": str(errors.DatabaseUnavailable(outcome_unknown=False))},
}


def document() -> dict[str, Any]:
    """Build the OpenAPI document. Operation ids are function names."""
    routes = []
    for served in [route for group in GROUPS for route in group.router.routes]:
        if isinstance(served, AuthenticatedRoute):
            # Each method is an operation.
            methods = sorted(served.methods or ())
            routes += [documented_route(served, method) for method in methods]
        elif isinstance(served, APIRoute):
            served.operation_id = served.name
            routes.append(served)
    for route in routes:
        summary, _, route.description = route.description.partition("\n\n")
        route.summary = " ".join(summary.split()).removesuffix(".")
    spec = get_openapi(
        title="Task API",
        version=tomllib.loads(PYPROJECT.read_text())["project"]["version"],
        description=DESCRIPTION,
        routes=routes,
        servers=[{"url": "/", "description": "This server"}],
        license_info={"name": "MIT", "identifier": "MIT"},
        tags=TAGS,
    )
    spec["components"]["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A Better Auth token, as returned by `authClient.token()`. "
            "For the local server, `make token USER=demo` prints one.",
        },
        "cron": {
            "type": "http",
            "scheme": "bearer",
            "description": "For operators: the CRON_SECRET that the platform's scheduler sends.",
        },
    }
    # FastAPI's own schemas of a 422, which this API does not use.
    for unused in ("HTTPValidationError", "ValidationError"):
        spec["components"]["schemas"].pop(unused, None)
    spec["components"]["schemas"]["Task"]["examples"] = TASK_EXAMPLES
    for methods in spec["paths"].values():
        for operation in methods.values():
            tidy(operation)
    spec["paths"] |= paths_without_user(spec["paths"])
    return without_titles(spec)


def documented_route(served: AuthenticatedRoute, method: str) -> APIRoute:
    """The route for one method, with the response models, which it does not use while serving."""
    options: dict[str, Any] = served.options | {"methods": [method]}
    route = APIRoute(served.path, served.endpoint, **options)
    route.path_format = served.path_format
    also_put = served.methods == {"PUT", "PATCH"} and method == "PATCH"
    route.operation_id = f"patch_{route.name.partition('_')[2]}" if also_put else route.name
    route.openapi_extra = {"security": [{"bearer": []}], "parameters": [USER_ID]}
    return route


def paths_without_user(paths: dict[str, Any]) -> dict[str, Any]:
    """The operations on tasks without the user in the path, which the same routes serve."""
    added = {}
    for path, methods in paths.items():
        if not path.startswith("/api/{user_id}/tasks"):
            continue
        added[path.replace("/{user_id}", "")] = shorter = copy.deepcopy(methods)
        for operation in shorter.values():
            operation["tags"] = ["my tasks"]
            operation["operationId"] = without_user(operation["operationId"])
            operation["parameters"].remove(USER_ID)
            # These paths name no other user, so a 403 means only that the user has no account.
            refused = operation["responses"].pop("403")
            if operation["operationId"] == "create_my_task":
                operation["responses"] |= {"403": refused}
                refused["description"] = "The user has no account"
                example = {"detail": errors.UserNotProvisioned.detail}
                refused["content"]["application/json"]["example"] = example
            for response in operation["responses"].values():
                if "links" in response:
                    response["links"] = links_without_user(response["links"])
    return added


def without_user(operation_id: str) -> str:
    return operation_id.replace("_task", "_my_task")


def links_without_user(links: dict[str, Any]) -> dict[str, Any]:
    shorter = {}
    for name, link in links.items():
        parameters = {key: value for key, value in link["parameters"].items() if key != "user_id"}
        operation_id = without_user(link["operationId"])
        shorter[without_user(name)] = {"operationId": operation_id, "parameters": parameters}
    return shorter


def tidy(operation: dict[str, Any]) -> None:
    """Add headers, links and examples to an operation, and sort its parameters and responses."""
    if "parameters" in operation:
        parameters = [plain_parameter(parameter) for parameter in operation["parameters"]]
        operation["parameters"] = sorted(parameters, key=parameter_order)
    for status, response in sorted(operation["responses"].items()):
        if headers := HEADERS.get((operation["operationId"], status)) or HEADERS.get(("*", status)):
            response["headers"] = {
                name: header(
                    text, required=(operation["operationId"], name) not in OPTIONAL_HEADERS
                )
                for name, text in headers.items()
            }
        if links := LINKS.get((operation["operationId"], status)):
            response["links"] = {
                name: {"operationId": name, "parameters": parameters}
                for name, parameters in links.items()
            }
        json_content = response.get("content", {}).get("application/json")
        example = EXAMPLES.get((operation["operationId"], status)) or EXAMPLES.get(("*", status))
        documented = ("ErrorResponse", "TaskStatistics", "TaskChanges")
        if json_content and example and any(name in str(json_content) for name in documented):
            json_content["example"] = example
        operation["responses"][status] = operation["responses"].pop(status)


def parameter_order(parameter: dict[str, Any]) -> tuple[int, bool]:
    return ["path", "query", "header"].index(parameter["in"]), parameter["name"] != "user_id"


def plain_parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter as clients send it: they may omit it, but cannot send null."""
    schema = dict(parameter["schema"])
    title, choices = schema.pop("title", ""), schema.pop("anyOf", None)
    if choices:
        choices = [choice for choice in choices if choice != {"type": "null"}]
        schema |= choices[0] if len(choices) == 1 else {"anyOf": choices}
    if schema.get("enum") == ["true", "false"]:
        schema = {"type": "boolean", "default": False, "description": schema["description"]}
    description = schema.pop("description", parameter.get("description"))
    if parameter["in"] == "query" and (spellings := other_spellings(parameter["name"])):
        description = f"{description} {spellings}" if description else spellings
    # FastAPI writes header names in lower case. Their titles have the usual case.
    name = title if parameter["in"] == "header" else parameter["name"]
    described = {"description": description} if description else {}
    if parameter["in"] == "query" and name in PARAMETER_EXAMPLES:
        described["example"] = PARAMETER_EXAMPLES[name]
    return {**parameter, "name": name, **described, "schema": schema}


def header(description: str, *, required: bool) -> dict[str, Any]:
    kind = "integer" if description.startswith("The number") else "string"
    return {"description": description, "required": required, "schema": {"type": kind}}


def without_titles(part: Any) -> Any:
    """Return the document without the titles that Pydantic derives from names."""
    if isinstance(part, dict):
        return {
            name: value if name in ("example", "examples") else without_titles(value)
            for name, value in part.items()
            if not (name == "title" and isinstance(value, str) and "version" not in part)
        }
    return [without_titles(each) for each in part] if isinstance(part, list) else part


def main() -> None:
    current = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    if "--check" in sys.argv:
        if not docs.DOCUMENT.exists() or docs.DOCUMENT.read_text() != current:
            sys.exit("The OpenAPI document is out of date: run make openapi and commit it.")
        return
    docs.DOCUMENT.write_text(current)


if __name__ == "__main__":
    main()
