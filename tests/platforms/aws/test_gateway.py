"""The emulated gateway follows the AWS documentation: routes, events, results."""

import base64
import json
import re
from typing import Any
from urllib.parse import quote, unquote

import pytest

from lib.smoke.users import OTHER_USER, USER
from tests.platforms.aws.conftest import EVENTS, event_names
from tests.platforms.aws.gateway import (
    FunctionFailed,
    HttpRequest,
    Route,
    find_route,
    handle_request,
    make_event,
    read_result,
)
from tests.platforms.aws.stack import read_routes


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/api/tasks", "tasks"),
        ("/api/tasks/", "tasks"),
        ("/api/tasks/1", "tasks"),
        ("/api/tasks/1/complete", "tasks"),
        ("/api/tasks/tasks", "tasks"),
        ("/api/ada/tasks/stats", "tasks"),
        ("/api/ada/tasks", "tasks"),
        ("/api/ada/tasks/", "tasks"),
        ("/api/ada/tasks/1", "tasks"),
        ("/api/ada/tasks/1/complete", "tasks"),
        ("/api/mcp", "mcp"),
        ("/api/mcp/tasks", "tasks"),
        ("/api/mcp/tasks/1", "tasks"),
        ("/.well-known/oauth-protected-resource", "mcp"),
        ("/.well-known/oauth-protected-resource/api/mcp", "mcp"),
        ("/.well-known/oauth-authorization-server", "health"),
        ("/api/smoke", "smoke"),
        ("/api/smoke/tasks", "tasks"),
        ("/api/smoke/tasks/1", "tasks"),
        ("/api/retention", "retention"),
        ("/api/retention/tasks", "tasks"),
        ("/api/health", "health"),
        ("/api/health/", "health"),
        ("/api/health/ready", "health"),
        ("/api/docs", "docs"),
        ("/api/docs/start.js", "docs"),
        ("/api/openapi.json", "docs"),
        ("/api/openapi.json/", "docs"),
        ("/api/ada", "health"),
        ("/api//tasks", "health"),
        ("/", "health"),
        ("/wp-login.php", "health"),
    ],
)
def test_each_path_has_its_function(path: str, function: str) -> None:
    found = find_route(read_routes(), "GET", path)
    assert found
    assert found[0].function == function


def test_a_route_of_one_method_comes_before_any() -> None:
    routes = [Route("ANY /a", "any"), Route("GET /a", "get"), Route("$default", "rest")]
    assert find_route(routes, "GET", "/a") == (routes[1], {})
    assert find_route(routes, "PUT", "/a") == (routes[0], {})


@pytest.mark.parametrize(
    "name", [name for name in event_names() if not re.search("no_request|base64", name)]
)
def test_the_request_of_a_recorded_event_gives_the_same_event(name: str) -> None:
    recorded = json.loads((EVENTS / f"{name}.json").read_text())
    made = event_of(request_of(recorded), recorded["requestContext"]["requestId"])
    for event in (recorded, made):
        del event["headers"]["x-amzn-trace-id"]
        del event["requestContext"]["time"], event["requestContext"]["timeEpoch"]
    assert made == recorded


def request_of(event: dict[str, Any]) -> HttpRequest:
    http, headers = event["requestContext"]["http"], event["headers"]
    by_gateway = {"x-amzn-trace-id", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"}
    sent = [(name, value) for name, value in headers.items() if name not in by_gateway]
    if forwarded := headers["x-forwarded-for"].rpartition(", ")[0]:
        sent.append(("X-Forwarded-For", forwarded))
    if "cookies" in event:
        sent.append(("Cookie", "; ".join(event["cookies"])))
    query = f"?{event['rawQueryString']}" if event["rawQueryString"] else ""
    return HttpRequest(
        method=http["method"],
        target=quote(event["rawPath"]) + query,
        headers=sent,
        body=event.get("body", "").encode(),
        source_ip=http["sourceIp"],
    )


def event_of(request: HttpRequest, request_id: str = "id") -> dict[str, Any]:
    found = find_route(read_routes(), request.method, unquote(request.target.partition("?")[0]))
    assert found
    return make_event(request, *found, request_id)


def test_several_headers_of_one_name_are_joined() -> None:
    request = HttpRequest("GET", "/", [("If-Match", '"1"'), ("if-match", '"2"')])
    assert event_of(request)["headers"]["if-match"] == '"1","2"'


@pytest.mark.parametrize("kind", ["image/png", "application/x-www-form-urlencoded"])
def test_a_binary_body_is_base64(kind: str) -> None:
    event = event_of(HttpRequest("POST", "/", [("Content-Type", kind)], b"a\xff"))
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b"a\xff"


@pytest.mark.parametrize(
    ("result", "status", "headers", "body"),
    [
        ({"statusCode": 204}, 204, [], b""),
        (
            {"statusCode": 200, "headers": {"a": "1"}, "cookies": ["x=1", "y=2"], "body": "é"},
            200,
            [("a", "1"), ("set-cookie", "x=1"), ("set-cookie", "y=2")],
            "é".encode(),
        ),
        ({"statusCode": 200, "body": "AP8=", "isBase64Encoded": True}, 200, [], b"\x00\xff"),
        ({"a": 1}, 200, [("content-type", "application/json")], b'{"a": 1}'),
        ("text", 200, [("content-type", "application/json")], b'"text"'),
        ({"statusCode": "x"}, 500, None, b'{"message":"Internal Server Error"}'),
        ({"statusCode": 200, "body": {}}, 500, None, b'{"message":"Internal Server Error"}'),
    ],
)
def test_a_result_becomes_a_response(
    result: object, status: int, headers: list[tuple[str, str]] | None, body: bytes
) -> None:
    response = read_result(result)
    assert (response.status, response.body) == (status, body)
    if headers is not None:
        assert response.headers == headers


def test_a_failing_function_gives_the_500_of_the_gateway() -> None:
    def fail(_: dict[str, object]) -> object:
        raise FunctionFailed("Task timed out after 3.00 seconds")

    response = handle_request(HttpRequest("GET", "/", []), [Route("$default", "f")], {"f": fail})
    assert response.status == 500
    assert json.loads(response.body) == {"message": "Internal Server Error"}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HttpRequest("GET", "/" + "x" * 11_000, []), 431),
        (HttpRequest("POST", "/", [], b"x" * 10_000_001), 413),
        (HttpRequest("GET", "/nowhere", []), 404),
    ],
)
def test_a_request_refused_by_the_gateway_reaches_no_function(
    request_: HttpRequest, status: int
) -> None:
    assert handle_request(request_, [Route("GET /somewhere", "f")], {}).status == status


@pytest.mark.parametrize("user", ["ada", USER, OTHER_USER])
def test_only_one_greedy_route_matches_a_task(user: str) -> None:
    # AWS does not document which of two greedy routes it selects.
    path = f"/api/{user}/tasks/1"
    matching = [route for route in read_routes() if route.match("PUT", path) is not None]
    assert [route.function for route in matching if route.key != "$default"] == ["tasks"]
