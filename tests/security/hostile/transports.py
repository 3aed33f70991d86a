"""The two ways into the API, inside the test: as ASGI, and as Lambda events; knows no request."""

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
DOORS: tuple[Transport, ...] = ("asgi", "lambda")
FUNCTIONS = {"smoke": smoke.lambda_handler}


@dataclass(frozen=True)
class Answered:
    """Headers with names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str


type Knock = Callable[[str, str, Mapping[str, str], bytes], Answered]


def open_door(
    door: Transport, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Knock:
    """Start the API anew with these variables; gives what sends it a request."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if door == "lambda":
        monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    # As in a deployment: in local use the messages of unexpected errors are printed.
    monkeypatch.setattr(log, "_is_local", lambda: False)
    forget_settings()
    for group in GROUPS:
        group.app.middleware_stack = None
    return by_event if door == "lambda" else by_asgi


def by_asgi(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answered:
    # Not as a context manager: settings that cannot work would stop the start, not be answered.
    client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
    answer = client.request(method, target, headers=dict(headers), content=body or None)
    client.close()
    return Answered(answer.status_code, dict(answer.headers), answer.text)


def by_event(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answered:
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
    answer = handler(event, None)
    return Answered(
        answer["statusCode"],
        answer.get("headers") or {},
        str(answer.get("body") or json.dumps(None)),
    )
