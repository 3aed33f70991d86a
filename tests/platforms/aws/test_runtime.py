"""The built zip in AWS's runtime client handles events as AWS documents them."""

import base64
import gzip
import json
import re
import uuid
from typing import Any

import pytest

from tests.platforms.aws.conftest import Event, ReadEvent, StartEcho, event_names
from tests.platforms.aws.sandbox import FunctionError, Sandbox

REQUEST_ID = "UcJ0fjC5liAEPvA="
LOGGED_REQUEST_ID = "UcJ0fjC5liAEPvA-"


def invoke(sandbox: Sandbox, event: object) -> dict[str, Any]:
    result = sandbox.invoke(event)
    assert isinstance(result, dict)
    return result


def log_lines(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return the function's own lines, without those of the emulator."""
    own = re.compile(r"(START|END|REPORT) RequestId|\d\d \w{3} \d{4} ")
    lines = [line for line in sandbox.output().splitlines() if line and not own.match(line)]
    return [json.loads(line) for line in lines]


def get(path: str, read_event: ReadEvent, **changes: Any) -> Event:
    event: Event = {**read_event("health"), "rawPath": path, "routeKey": "$default", **changes}
    event["requestContext"]["http"]["path"] = path
    return event


# Every route


def test_a_task_is_created_read_changed_and_deleted(
    deployed: dict[str, Sandbox], read_event: ReadEvent
) -> None:
    tasks, user = deployed["tasks"], f"user-{uuid.uuid4().hex}"  # other tests leave tasks
    created = invoke(tasks, read_event("create_task", user))
    assert created["statusCode"] == 201
    task = json.loads(created["body"])
    assert task["title"] == "Buy milk 🥛"
    assert created["headers"]["location"] == f"/api/{user}/tasks/{task['id']}"

    about = {"user": user, "task": task["id"]}
    got = invoke(tasks, read_event("get_task", **about))
    assert (got["statusCode"], got["body"]) == (200, created["body"])
    updated = invoke(tasks, read_event("update_task", **about))
    assert json.loads(updated["body"])["title"] == "Buy bread"
    completed = invoke(tasks, read_event("complete_task", **about))
    assert json.loads(completed["body"])["completed"] is True
    # The list event requests pending tasks only.
    assert invoke(tasks, read_event("list_tasks", user))["body"] == "[]"
    assert invoke(tasks, read_event("delete_task", **about))["statusCode"] == 204
    assert invoke(tasks, read_event("get_task", **about))["statusCode"] == 404


def test_a_tool_adds_a_task(deployed: dict[str, Sandbox], read_event: ReadEvent) -> None:
    called = invoke(deployed["mcp"], read_event("call_tool", "ada"))
    assert called["statusCode"] == 200
    result = json.loads(called["body"])["result"]
    assert result["isError"] is False
    assert result["structuredContent"]["title"] == "Buy milk 🥛"
    task = {"user": "ada", "task": result["structuredContent"]["id"]}
    got = invoke(deployed["tasks"], read_event("get_task", **task))
    assert json.loads(got["body"]) == result["structuredContent"]
    assert invoke(deployed["tasks"], read_event("delete_task", **task))["statusCode"] == 204


@pytest.mark.parametrize(
    ("function", "name", "status", "kind"),
    [
        ("tasks", "list_tasks", 200, "application/json"),
        ("tasks", "trailing_slash", 200, "application/json"),
        ("tasks", "path_that_was_percent_encoded", 200, "application/json"),
        ("health", "health", 200, "application/json"),
        ("health", "ready", 200, "application/json"),
        ("health", "unknown_path", 404, "application/json"),
        ("docs", "docs", 200, "text/html; charset=utf-8"),
        ("docs", "docs_script", 200, "text/javascript; charset=utf-8"),
        ("docs", "openapi", 200, "application/json"),
    ],
)
def test_every_route_responds(
    deployed: dict[str, Sandbox],
    read_event: ReadEvent,
    function: str,
    name: str,
    status: int,
    kind: str,
) -> None:
    user = "zoë and co@example.com" if "percent" in name else "ada"
    result = invoke(deployed[function], read_event(name, user))
    assert result["statusCode"] == status
    assert result["headers"]["content-type"] == kind
    # Lambda passes bytes on in base64, as those of the compressed documentation.
    compressed = result["headers"].get("content-encoding") == "gzip"
    assert compressed is (function == "docs")
    assert result["isBase64Encoded"] is compressed
    if compressed:
        assert gzip.decompress(base64.b64decode(result["body"]))
    assert result["headers"]["x-request-id"] == LOGGED_REQUEST_ID


def test_a_body_in_base64_is_the_same_body(
    deployed: dict[str, Sandbox], read_event: ReadEvent
) -> None:
    result = invoke(deployed["tasks"], read_event("create_task_in_base64", "ada"))
    assert result["statusCode"] == 201
    assert json.loads(result["body"])["title"] == "Buy milk 🥛"


def test_a_preflight_request_allows_only_the_configured_origin(
    deployed: dict[str, Sandbox], read_event: ReadEvent, environment: dict[str, str]
) -> None:
    event = read_event("preflight", "ada", 1)
    origin = environment["CORS_ORIGINS"]
    event["headers"]["origin"] = origin
    allowed = invoke(deployed["tasks"], event)
    assert allowed["statusCode"] == 204
    assert allowed["headers"]["access-control-allow-origin"] == origin
    event["headers"]["origin"] = "https://evil.example"
    assert "access-control-allow-origin" not in invoke(deployed["tasks"], event)["headers"]


def test_cookies_and_several_proxies_are_accepted(
    deployed: dict[str, Sandbox], read_event: ReadEvent
) -> None:
    result = invoke(deployed["tasks"], read_event("list_tasks_with_cookies", "ada"))
    assert result["statusCode"] == 200
    assert "cookies" not in result or not result["cookies"]


# Events that are not requests


@pytest.mark.parametrize("name", event_names("no_request_*"))
def test_another_event_is_reported_as_not_handled(
    deployed: dict[str, Sandbox], read_event: ReadEvent, name: str
) -> None:
    result = invoke(deployed["health"], read_event(name))
    assert result["handled"] is False
    assert "HTTP API" in result["reason"]


@pytest.mark.parametrize(
    "event",
    [{}, [], "warm", "", 1, None, True, {"requestContext": None}, {"requestContext": "x"}],
    ids=repr,
)
def test_an_invalid_event_does_not_end_the_process(
    echo: Sandbox, read_event: ReadEvent, event: object
) -> None:
    before = json.loads(invoke(echo, get("/echo/x", read_event))["body"])["process"]
    assert invoke(echo, event)["handled"] is False
    assert json.loads(invoke(echo, get("/echo/x", read_event))["body"])["process"] == before


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-port": "zzz"},
        {"host": "[::1"},
        {"host": ""},
        {"x-forwarded-proto": ""},
        {"x-forwarded-for": ","},
        {"content-length": "-1"},
        None,
    ],
    ids=repr,
)
def test_unusual_headers_do_not_end_the_process(
    echo: Sandbox, read_event: ReadEvent, headers: dict[str, str] | None
) -> None:
    before = json.loads(invoke(echo, get("/echo/x", read_event))["body"])["process"]
    event = get("/echo/odd", read_event)
    event["headers"] = headers if headers is None else event["headers"] | headers
    assert invoke(echo, event)["statusCode"] == 200
    assert json.loads(invoke(echo, get("/echo/x", read_event))["body"])["process"] == before


# What the adapter passes on


def test_the_application_receives_a_decoded_path(echo: Sandbox, read_event: ReadEvent) -> None:
    received = json.loads(invoke(echo, get("/echo/zoë and/co", read_event))["body"])
    assert received["path"] == "/echo/zoë and/co"


def test_the_application_receives_the_query_unchanged(echo: Sandbox, read_event: ReadEvent) -> None:
    query = "a=1&a=2&b=%2Fx+y&c"
    received = json.loads(invoke(echo, get("/echo/x", read_event, rawQueryString=query))["body"])
    assert received["query"] == query


def test_the_application_receives_cookies_as_one_header(
    echo: Sandbox, read_event: ReadEvent
) -> None:
    cookies = ["theme=dark", "session=abc.def%3D"]
    received = json.loads(invoke(echo, get("/echo/x", read_event, cookies=cookies))["body"])
    assert ["cookie", "; ".join(cookies)] in received["headers"]


def test_the_application_receives_a_binary_body(echo: Sandbox, read_event: ReadEvent) -> None:
    body = base64.b64encode(bytes(range(256))).decode()
    event = get("/echo/x", read_event, body=body, isBase64Encoded=True)
    event["requestContext"]["http"]["method"] = "POST"
    assert json.loads(invoke(echo, event)["body"])["body"] == list(range(256))


def test_repeated_response_headers_are_kept(echo: Sandbox, read_event: ReadEvent) -> None:
    result = invoke(echo, get("/cookies", read_event))
    assert [cookie.split(";")[0] for cookie in result["cookies"]] == ["first=1", "second=2"]
    assert result["headers"]["link"] == "</1>,</2>"


def test_a_binary_response_is_base64(echo: Sandbox, read_event: ReadEvent) -> None:
    result = invoke(echo, get("/bytes", read_event))
    assert result["isBase64Encoded"] is True
    assert base64.b64decode(result["body"]) == bytes(range(256))


# Failures


def test_an_unexpected_error_is_a_500_and_logged_with_its_request_id(
    echo: Sandbox, read_event: ReadEvent
) -> None:
    result = invoke(echo, get("/fail", read_event))
    assert result["statusCode"] == 500
    assert list(json.loads(result["body"])) == ["detail"]
    [line] = [line for line in log_lines(echo) if line["message"] == "Unexpected error."]
    assert line["request_id"] == LOGGED_REQUEST_ID
    assert line["causes"][0]["error"] == "RuntimeError"
    assert "a secret text" not in echo.output()


def test_systemexit_does_not_end_the_process(echo: Sandbox, read_event: ReadEvent) -> None:
    before = json.loads(invoke(echo, get("/echo/x", read_event))["body"])["process"]
    result = invoke(echo, get("/stop", read_event))
    assert result["statusCode"] == 500
    assert json.loads(result["body"]) == {"detail": "Internal server error."}
    assert result["headers"]["x-request-id"] == LOGGED_REQUEST_ID
    assert json.loads(invoke(echo, get("/echo/x", read_event))["body"])["process"] == before


def test_the_event_loop_survives_another_asyncio_run(echo: Sandbox, read_event: ReadEvent) -> None:
    assert invoke(echo, get("/lose-loop", read_event))["statusCode"] == 200
    assert invoke(echo, get("/echo/x", read_event))["statusCode"] == 200


def test_the_request_after_a_crash_succeeds(start_echo: StartEcho, read_event: ReadEvent) -> None:
    sandbox = start_echo()
    with pytest.raises(FunctionError, match=r"Runtime.ExitError"):
        sandbox.invoke(get("/die", read_event))
    assert invoke(sandbox, get("/echo/x", read_event))["statusCode"] == 200


def test_the_request_after_a_timeout_succeeds(start_echo: StartEcho, read_event: ReadEvent) -> None:
    sandbox = start_echo(timeout=5)
    assert invoke(sandbox, get("/echo/x", read_event))["statusCode"] == 200
    with pytest.raises(FunctionError, match=r"timed out after 5"):
        sandbox.invoke(get("/hang", read_event))
    assert invoke(sandbox, get("/echo/x", read_event))["statusCode"] == 200


# Logs


def test_every_line_is_one_json_object_and_a_request_has_exactly_one(
    deployed: dict[str, Sandbox], read_event: ReadEvent
) -> None:
    sandbox = deployed["tasks"]
    event = read_event("create_task", "ada")
    invoke(sandbox, event)  # the first request of a sandbox is a cold start
    before = len(log_lines(sandbox))
    invoke(sandbox, event)
    [line] = log_lines(sandbox)[before:]
    assert line["level"] == "INFO"
    assert line["request_id"] == LOGGED_REQUEST_ID
    assert line["status"] == 201
    assert line["route"] == "/api/{user_id}/tasks"
    assert line["milliseconds"] > 0
    assert line["cold_start"] is False


def test_no_line_contains_a_token_a_title_or_a_secret(
    deployed: dict[str, Sandbox], read_event: ReadEvent, environment: dict[str, str]
) -> None:
    event = read_event("create_task", "ada")
    invoke(deployed["tasks"], event)
    printed = deployed["tasks"].output()
    assert "Buy milk" not in printed
    assert event["headers"]["authorization"].split()[1] not in printed
    assert environment["BETTER_AUTH_SECRET"] not in printed
    assert environment["DATABASE_URL"] not in printed


def test_only_the_first_request_of_a_process_is_a_cold_start(
    start_echo: StartEcho, read_event: ReadEvent
) -> None:
    sandbox = start_echo()
    for _ in range(3):
        invoke(sandbox, get("/echo/x", read_event))
    assert [line["cold_start"] for line in log_lines(sandbox)] == [True, False, False]
