"""The API returns the errors and headers that the OpenAPI document shows."""

import json
import time
import uuid
from typing import Any

import httpx2
import pytest

from tests.conftest import bearer
from tests.integrations.better_auth.servers import ROOT

DOCUMENT = json.loads((ROOT / "lib" / "static" / "openapi.json").read_text())
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
OF_A_USER = [each for each in OPERATIONS if each.endswith("_task") and "_my_" not in each]
# (operation, status of the error, the part of the request that causes it); the rest is valid.
ERRORS: list[tuple[str, str, dict[str, Any]]] = [
    *((each, "401", {"headers": {"exp": 1}}) for each in OPERATIONS if each.endswith("_task")),
    *((each, "403", {"user": "somebody else"}) for each in OF_A_USER),
    *((each, "404", {"task_id": 2**40}) for each in ("get_task", "update_task", "delete_task")),
    *((each, "404", {"task_id": 2**40}) for each in ("patch_task", "patch_my_task", "get_my_task")),
    ("complete_task", "404", {"task_id": 2**40}),
    *((each, "412", {"headers": {"If-Match": '"2"'}}) for each in ("update_task", "delete_task")),
    ("complete_task", "412", {"headers": {"If-Match": '"2"'}}),
    *((each, "413", {"content": b" " * 70_000}) for each in ("create_task", "update_task")),
    *((each, "415", {"headers": {"Content-Type": "a/b"}}) for each in ("create_task",)),
    ("list_tasks", "422", {"params": {"limit": 101}}),
    ("create_task", "422", {"content": b"{}"}),
    ("update_task", "422", {"content": b'{"title": " "}'}),
    ("patch_task", "422", {"content": b'{"due_date": "2026-02-30"}'}),
    ("list_my_tasks", "422", {"params": {"limit": 101}}),
    *((each, "422", {"task_id": "x"}) for each in ("get_task", "delete_task", "complete_task")),
    ("get_smoke", "401", {}),
    ("get_retention", "401", {}),
]


def send(
    base_url: str,
    operation_id: str,
    *,
    user: str,
    headers: dict[str, Any] | None = None,
    task_id: object = 1,
    **more: Any,
) -> httpx2.Response:
    method, path, operation = OPERATIONS[operation_id]
    more_headers = {"Content-Type": "application/json"} | (headers or {})
    claims = {"exp": more_headers.pop("exp", int(time.time()) + 3600)}
    if "requestBody" in operation:
        more = {"content": b'{"title": "Milk", "completed": true}'} | more
    token = bearer(more.pop("token_of", user), **claims)
    return httpx2.request(
        method.upper(),
        base_url + path.format(user_id=user, task_id=task_id),
        headers=more_headers | token,
        timeout=60,
        **more,
    )


def check_headers(operation_id: str, status: str, response: httpx2.Response) -> None:
    documented = OPERATIONS[operation_id][2]["responses"][status].get("headers", {})
    assert set(map(str.lower, documented)) <= set(response.headers), response.headers


@pytest.mark.parametrize(
    ("operation_id", "status", "how"),
    ERRORS,
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_errors_equal_their_examples(
    base_url: str, operation_id: str, status: str, how: dict[str, Any]
) -> None:
    me = f"u-{uuid.uuid4().hex}"
    task_id = send(base_url, "create_task", user=me).json()["id"]
    request: dict[str, Any] = {"user": me, "token_of": me, "task_id": task_id, **how}
    response = send(base_url, operation_id, **request)
    content = OPERATIONS[operation_id][2]["responses"][status]["content"]["application/json"]
    assert str(response.status_code) == status
    assert response.json() == content["example"]
    check_headers(operation_id, status, response)


def test_successful_responses_have_the_documented_headers(base_url: str) -> None:
    me = f"u-{uuid.uuid4().hex}"
    created = send(base_url, "create_task", user=me)
    check_headers("create_task", "201", created)
    task_id = created.json()["id"]
    send(base_url, "create_task", user=me)
    for each in ("get_task", "update_task", "patch_task", "complete_task", "get_my_task"):
        response = send(base_url, each, user=me, task_id=task_id)
        assert response.status_code == 200
        check_headers(each, "200", response)
    etag = {"If-None-Match": response.headers["etag"]}
    unchanged = send(base_url, "get_task", user=me, task_id=task_id, headers=etag)
    assert unchanged.status_code == 304
    check_headers("get_task", "304", unchanged)
    page = send(base_url, "list_tasks", user=me, params={"limit": 1, "count": "true"})
    check_headers("list_tasks", "200", page)


def test_names_suit_a_generated_client() -> None:
    for operation_id, (method, _, operation) in OPERATIONS.items():
        verb = operation_id.partition("_")[0]
        assert verb in {
            *("list", "count", "create", "get", "update", "patch", "delete", "restore", "complete")
        }
        assert verb in ("list", "count", "get") or method != "get"
        assert operation["summary"]
        assert operation["summary"] != operation.get("description", "").removesuffix(".")
    parameters = [each for _, _, op in OPERATIONS.values() for each in op.get("parameters", [])]
    assert parameters
    for each in parameters:
        assert each["description"] if each["in"] == "header" else True
        # Clients omit parameters instead of sending null, and no parameter becomes a bigint.
        if each["name"] not in ("due_from", "due_to"):  # a date or a date-time
            assert "anyOf" not in each["schema"]


def test_example_of_a_task_has_every_field() -> None:
    task = DOCUMENT["components"]["schemas"]["Task"]
    assert [list(example) for example in task["examples"]] == [list(task["properties"])]
