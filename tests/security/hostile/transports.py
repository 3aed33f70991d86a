"""Sends requests to the API inside the test process: as ASGI messages, or as Lambda events."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import pytest
from starlette.testclient import TestClient

from api import smoke, tasks
from dev.app import GROUPS, app
from lib import log
from lib.settings import forget_settings

type Transport = Literal["asgi", "lambda"]
TRANSPORTS: tuple[Transport, ...] = ("asgi", "lambda")
FUNCTIONS = {"smoke": smoke.lambda_handler}


@dataclass(frozen=True)
class Response:
    """A response. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str


type Send = Callable[[str, str, Mapping[str, str], bytes], Response]


def start(
    transport: Transport, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Send:
    """Restart the API with these variables. Returns a function that sends a request."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if transport == "lambda":
        monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    # As in a deployment: in local use the messages of unexpected errors are printed.
    monkeypatch.setattr(log, "_is_local", lambda: False)
    forget_settings()
    for group in GROUPS:
        group.app.middleware_stack = None
    return send_event if transport == "lambda" else send_asgi


def send_asgi(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Response:
    # Not as a context manager: with settings that cannot work, the API would not start.
    client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
    response = client.request(method, target, headers=dict(headers), content=body or None)
    client.close()
    return Response(response.status_code, dict(response.headers), response.text)


def send_event(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Response:
    path, _, query = target.partition("?")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": unquote(path),
        "rawQueryString": query,
        "headers": {
            "host": "api.example",
            "x-forwarded-proto": "https",
            "x-forwarded-port": "443",
            **{name.lower(): value for name, value in headers.items()},
        },
        "requestContext": {
            "http": {
                "method": method,
                "path": unquote(path),
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
            },
            "requestId": "gateway-1",
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
    }
    handler = FUNCTIONS.get(path.split("/")[2], tasks.lambda_handler)
    response = handler(event, None)
    return Response(
        response["statusCode"],
        response.get("headers") or {},
        str(response.get("body") or json.dumps(None)),
    )
