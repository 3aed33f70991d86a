"""What the middleware adds to responses and to the log, also if no route matches."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.testclient import TestClient

from api import health
from lib.settings import forget_settings
from lib.web.middleware import _joined, _request_id
from tests.conftest import SECRET, RequestLines, StartApi, bearer

ROOT = Path(__file__).parents[2]
ORIGIN = "http://localhost:3000"
UNUSED = "postgresql://u@127.0.0.1:1/app"
OF_GATEWAY = {"requestContext": {"requestId": "JKJaXmPLvHcESHA="}}
NEW_ID = re.compile("[0-9a-f]{32}")


@pytest.mark.parametrize(
    ("headers", "event", "expected"),
    [
        ([(b"x-request-id", b"mine-1")], OF_GATEWAY, "mine-1"),
        ([(b"x-request-id", b"no good")], OF_GATEWAY, "JKJaXmPLvHcESHA-"),
        ([(b"x-request-id", b"\xe4")], OF_GATEWAY, "JKJaXmPLvHcESHA-"),
        # Gateways join repeated headers into one value, which is not well-formed.
        ([(b"x-request-id", b"one"), (b"x-request-id", b"two")], OF_GATEWAY, "JKJaXmPLvHcESHA-"),
        ([(b"x-vercel-id", b"fra1::iad1::abc-1")], None, "fra1--iad1--abc-1"),
        ([(b"x-request-id", b"mine"), (b"x-vercel-id", b"fra1::abc")], None, "mine"),
        ([(b"x-vercel-id", b"a" * 200)], {}, "a" * 128),
        ([], {"requestContext": None}, NEW_ID),
        ([(b"x-request-id", b"")], None, NEW_ID),
    ],
)
def test_request_id_is_the_clients_then_the_platforms_then_a_new_one(
    headers: list[tuple[bytes, bytes]],
    event: dict[str, Any] | None,
    expected: str | re.Pattern[str],
) -> None:
    request_id = _request_id(_joined(headers), event)
    if isinstance(expected, re.Pattern):
        assert expected.fullmatch(request_id)
    else:
        assert request_id == expected


# Invalid settings and errors that no handler expects

type StartBroken = Callable[..., TestClient]


@pytest.fixture
def start_broken(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> StartBroken:
    """Start the health function with invalid settings, as a platform without lifespan events."""

    def start(**variables: str) -> TestClient:
        start_api()
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        forget_settings()
        monkeypatch.setattr(health.app, "middleware_stack", None)
        return TestClient(health.app)

    return start


def assert_500_of_the_contract(response: httpx2.Response) -> None:
    """A 500 with every header that the contract names."""
    assert response.status_code == 500
    assert response.json() == {"detail": "Internal server error."}
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == "broken-1"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["strict-transport-security"]
    assert response.headers["content-security-policy"]
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "X-Request-ID" in response.headers["access-control-expose-headers"]


SENT = {"Origin": ORIGIN, "X-Request-ID": "broken-1"}


def test_a_500_of_invalid_settings_has_every_header_and_a_log_line(
    start_broken: StartBroken, request_lines: RequestLines
) -> None:
    client = start_broken(LOG_LEVEL="LOUD", CORS_ORIGINS=f"https://app.example,{ORIGIN}")
    assert_500_of_the_contract(client.get("/api/health", headers=SENT))
    [line] = request_lines()
    assert (line["status"], line["request_id"], line["method"]) == (500, "broken-1", "GET")
    assert line["reason"].startswith("LOG_LEVEL: ")
    foreign = client.get("/api/health", headers=SENT | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.parametrize("group", ["tasks", "mcp", "health", "smoke"])
def test_a_server_does_not_start_with_invalid_settings(group: str) -> None:
    """With the command that everybody uses; its lifespan mode is "auto"."""
    environment = {"PATH": os.defpath, "BETTER_AUTH_SECRET": '"hunter2"', "DATABASE_URL": UNUSED}
    command = [sys.executable, "-m", "uvicorn", f"api.{group}:app", "--port", "0"]
    server = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert server.returncode == 3
    output = server.stdout + server.stderr
    assert "BETTER_AUTH_SECRET begins or ends with a quotation mark" in output
    assert "Traceback" not in output
    assert "hunter2" not in output


@pytest.mark.parametrize("missing", ["DATABASE_URL", "BETTER_AUTH_SECRET"])
@pytest.mark.parametrize("app", ["api.tasks:app", "dev.app:app"])
def test_a_server_does_not_start_without_a_required_setting(app: str, missing: str) -> None:
    settings = {"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": UNUSED}
    del settings[missing]
    server = subprocess.run(
        [sys.executable, "-m", "uvicorn", app, "--port", "0"],
        cwd=ROOT, env={"PATH": os.defpath, **settings},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert server.returncode == 3
    assert f"{missing} is not set." in server.stderr
    assert "Traceback" not in server.stderr


def test_a_setting_that_only_some_requests_need_is_reported_as_an_invalid_one(
    start_broken: StartBroken, request_lines: RequestLines
) -> None:
    client = start_broken(DATABASE_URL="", CORS_ORIGINS=ORIGIN)
    assert client.get("/api/health").status_code == 200
    assert_500_of_the_contract(client.get("/api/health/ready", headers=SENT))
    assert request_lines()[-1]["reason"] == "DATABASE_URL is not set."


def test_vercels_runtime_responds_with_500_to_every_request(
    start_broken: StartBroken, request_lines: RequestLines
) -> None:
    """It runs lifespan events, and exits if the application reports a failed start."""
    start_broken(LOG_LEVEL="LOUD", VERCEL="1", CORS_ORIGINS=ORIGIN)
    config = uvicorn.Config(health.app, lifespan="auto", log_config=None)

    async def start() -> bool:
        config.load()
        lifespan = config.lifespan_class(config)
        await lifespan.startup()
        return lifespan.should_exit

    assert not asyncio.run(start())
    assert_500_of_the_contract(TestClient(health.app).get("/api/health", headers=SENT))
    assert request_lines()[0]["reason"].startswith("LOG_LEVEL: ")


def test_a_preflight_passes_with_invalid_settings(start_broken: StartBroken) -> None:
    client = start_broken(LOG_LEVEL="LOUD", CORS_ORIGINS=ORIGIN)
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    response = client.options("/api/health", headers=headers)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("postgresql://app@127.0.0.1/tasks", ORIGIN),
        ("postgresql://app@db.example/tasks", None),
        ("postgresql://app@[/tasks", None),
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URL_UNPOOLED"])
def test_a_deployment_with_invalid_settings_does_not_allow_the_origin_of_local_use(
    start_broken: StartBroken, monkeypatch: pytest.MonkeyPatch, name: str, url: str, allowed: str
) -> None:
    client = start_broken(LOG_LEVEL="LOUD", **{name: url})
    monkeypatch.delenv("CORS_ORIGINS")
    response = client.get("/api/health", headers=SENT)
    assert response.headers.get("access-control-allow-origin") == allowed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://app@[/tasks"),
        ("DATABASE_TRANSPORT", "https"),
        ("DATABASE_HTTP_URL", "api.example.com"),
        ("DATABASE_POOL_SIZE", "many"),
    ],
)
def test_explicit_origins_are_allowed_while_a_setting_of_the_database_is_invalid(
    start_broken: StartBroken, name: str, value: str
) -> None:
    client = start_broken(**{name: value}, CORS_ORIGINS=ORIGIN)
    assert_500_of_the_contract(client.get("/api/health", headers=SENT))


def test_valid_settings_are_used_by_the_next_request(
    start_broken: StartBroken, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start_broken(LOG_LEVEL="LOUD")
    assert client.get("/api/health").status_code == 500
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    assert client.get("/api/health").status_code == 200


def test_no_origin_is_allowed_if_the_cors_settings_are_invalid(
    start_broken: StartBroken, request_lines: RequestLines
) -> None:
    response = start_broken(CORS_ORIGINS="*").get("/api/health", headers=SENT)
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "broken-1"
    assert "access-control-allow-origin" not in response.headers
    assert request_lines()[0]["reason"].startswith("CORS_ORIGINS: ")


@pytest.mark.parametrize("error", [RuntimeError("x"), MemoryError(), SystemExit(3)], ids=repr)
def test_a_500_of_an_unexpected_error_has_every_header_and_a_log_line(
    error: BaseException,
    start_api: StartApi,
    request_lines: RequestLines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> None:
        raise error

    api = start_api()
    monkeypatch.setattr("api.tasks._task_headers", fail)
    sent = SENT | bearer("eve")
    assert_500_of_the_contract(api.post("/api/eve/tasks", json={"title": "x"}, headers=sent))
    [line] = request_lines()
    assert (line["status"], line["reason"]) == (500, type(error).__name__)


# Reasons in the log

PREFLIGHTS: dict[str, tuple[dict[str, str], str]] = {
    "origin": (
        {"Origin": "https://evil.example"},
        "https://evil.example is not among CORS_ORIGINS",
    ),
    "method": (
        {"Access-Control-Request-Method": "PROPFIND"},
        "CORS does not allow the method PROPFIND",
    ),
    "headers": (
        {"Access-Control-Request-Headers": "X-Evil, authorization,x-worse"},
        "CORS does not allow the headers x-evil, x-worse",
    ),
    "all": (
        {
            "Origin": "null",
            "Access-Control-Request-Method": "LOCK",
            "Access-Control-Request-Headers": "x-evil",
        },
        "null is not among CORS_ORIGINS; CORS does not allow the method LOCK;"
        " CORS does not allow the headers x-evil",
    ),
    "private network": (
        {"Access-Control-Request-Private-Network": "true"},
        "malformed preflight, or one for a private network",
    ),
}


@pytest.mark.parametrize("case", PREFLIGHTS)
def test_a_refused_preflight_gives_its_reason_in_the_log(
    case: str, start_api: StartApi, request_lines: RequestLines
) -> None:
    changes, reason = PREFLIGHTS[case]
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"} | changes
    assert start_api().options("/api/alice/tasks", headers=headers).status_code == 400
    [line] = request_lines()
    assert line["reason"] == reason


def test_the_reason_of_a_refused_preflight_is_bounded(
    start_api: StartApi, request_lines: RequestLines
) -> None:
    headers = {
        "Origin": f"https://{'a' * 5000}.example",
        "Access-Control-Request-Method": "B" * 500,
    }
    headers["Access-Control-Request-Headers"] = ",".join(f"x-{number}" for number in range(1000))
    assert start_api().options("/api/alice/tasks", headers=headers).status_code == 400
    assert len(request_lines()[0]["reason"]) < 500


# The suite may take longer than a token of bearer() lives.
ADA = bearer("ada", exp=4_000_000_000)
REFUSALS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "unknown path": ("GET", "/api/v2/todos?q=secret", {}, "no route for /api/v2/todos"),
    "root": ("GET", "/", {}, "no route for /"),
    "controls": ("GET", "/api/%0A%22%F0%9F%99%82", {}, 'no route for /api/\n"🙂'),
    "long path": ("GET", f"/{'a' * 5000}", {}, f"no route for /{'a' * 199}"),
    "wrong method": ("DELETE", "/api/health", {}, "Method Not Allowed"),
    "another user": ("GET", "/api/eve/tasks", {"headers": ADA}, "Forbidden"),
    "no task": ("GET", "/api/ada/tasks/999999", {"headers": ADA}, "TaskNotFound"),
    "bad fields": (
        "POST",
        "/api/ada/tasks",
        {"headers": ADA, "json": {"title": "", "completed": "secret"}},
        "body.title: string_too_short, body.completed: bool_type",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_gives_its_reason_in_the_log(
    case: str, start_api: StartApi, request_lines: RequestLines
) -> None:
    method, url, request, reason = REFUSALS[case]
    response = start_api().request(method, url, **request)
    assert 400 <= response.status_code < 500
    [line] = request_lines()
    assert line["reason"] == reason
    assert "secret" not in str(line)
