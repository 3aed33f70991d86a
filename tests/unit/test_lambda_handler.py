"""Lambda events that Mangum alone does not handle as the contract requires."""

import asyncio
import json
from typing import Any

import pytest
from fastapi import APIRouter

from api import health
from lib.lambda_handler import create_lambda_handler
from lib.web.app import create_app
from tests.conftest import StartApi


def event(path: str = "/api/health", **headers: Any) -> dict[str, Any]:
    """An event of an HTTP API, payload format 2.0."""
    http = {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"}
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "api.example", "x-forwarded-port": "443", **headers},
        "requestContext": {"http": http, "requestId": "gateway-1", "stage": "$default"},
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "[::1]:3000"},
        {"host": "[::1"},
        {"host": ""},
        {"host": "api.example:http"},
        {"x-forwarded-port": "zzz"},
        {"x-forwarded-proto": ""},
    ],
    ids=repr,
)
def test_headers_that_mangum_cannot_parse_are_no_error(
    start_api: StartApi, headers: dict[str, str]
) -> None:
    start_api()
    result = health.lambda_handler(event(**headers, **{"x-request-id": "odd-1"}), None)
    assert result["statusCode"] == 200
    assert result["headers"]["x-request-id"] == "odd-1"


def test_an_event_without_headers_is_no_error(start_api: StartApi) -> None:
    start_api()
    assert health.lambda_handler(event() | {"headers": None}, None)["statusCode"] == 200


def test_a_function_with_invalid_settings_responds_with_every_header(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start_api(DATABASE_URL=None, AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001")
    handler = create_lambda_handler(create_app(APIRouter(), needs=["DATABASE_URL"]))
    for number in range(2):
        request_id = f"broken-{number}"
        sent = {"origin": "http://localhost:3000", "x-request-id": request_id}
        result = handler(event(**sent), None)
        assert result["statusCode"] == 500
        assert json.loads(result["body"]) == {"detail": "Internal server error."}
        assert result["headers"]["x-request-id"] == request_id
        assert result["headers"]["access-control-allow-origin"] == "http://localhost:3000"
        assert result["headers"]["x-content-type-options"] == "nosniff"
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (line["status"], line["reason"]) == (500, "DATABASE_URL is not set.")


def test_an_event_that_cannot_be_read_is_a_500_in_json(
    start_api: StartApi, capsys: pytest.CaptureFixture[str]
) -> None:
    start_api()
    result = health.lambda_handler(event() | {"body": "a", "isBase64Encoded": True}, None)
    assert result["statusCode"] == 500
    assert json.loads(result["body"]) == {"detail": "Internal server error."}
    [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["level"], line["message"]) == ("ERROR", "Event not readable.")


@pytest.mark.parametrize("ignored", [{}, [], "warm", None, {"requestContext": "x"}], ids=repr)
def test_another_event_is_ignored(start_api: StartApi, ignored: Any) -> None:
    start_api()
    assert health.lambda_handler(ignored, None) == {
        "handled": False,
        "reason": "The event is not an HTTP API request (payload format 2.0).",
    }


def test_the_handler_works_after_asyncio_run_in_its_thread(start_api: StartApi) -> None:
    start_api()
    asyncio.run(asyncio.sleep(0))
    assert health.lambda_handler(event(), None)["statusCode"] == 200
    assert health.lambda_handler(event(), None)["statusCode"] == 200
