"""How vercel.json routes requests: the function, the path and the query it receives."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.support.targets import vercel_runtime
from tests.support.targets.vercel_runtime import Deployment


def send(
    deployment: Deployment,
    target: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send `target` exactly as given; most clients normalize it."""
    connection = http.client.HTTPConnection(urlsplit(deployment.url).netloc, timeout=30)
    try:
        connection.putrequest(method, target)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/api/alice/tasks", "tasks"),
        ("/api/alice/tasks/", "tasks"),
        ("/api/alice/tasks/7", "tasks"),
        ("/api/alice/tasks/7/", "tasks"),
        ("/api/alice/tasks/7/complete", "tasks"),
        ("/api/alice%2Fbob/tasks/7", "tasks"),
        ("/api/%F0%9F%90%99/tasks", "tasks"),
        ("/api/health/tasks", "tasks"),
        ("/api/docs/tasks/7", "tasks"),
        ("/api/tasks", "tasks"),
        ("/api/tasks/", "tasks"),
        ("/api/tasks/7", "tasks"),
        ("/api/tasks/7/", "tasks"),
        ("/api/tasks/7/complete", "tasks"),
        ("/api/tasks/stats", "tasks"),
        ("/api/tasks/tasks", "tasks"),
        ("/api/mcp", "mcp"),
        ("/api/mcp/", "mcp"),
        ("/api/mcp/tasks/7", "tasks"),
        ("/.well-known/oauth-protected-resource", "mcp"),
        ("/.well-known/oauth-protected-resource/api/mcp", "mcp"),
        ("/.well-known/oauth-authorization-server", "health"),
        ("/api/health", "health"),
        ("/api/health/", "health"),
        ("/api/health/ready", "health"),
        ("/api/health/ready/", "health"),
        ("/api/docs", "docs"),
        ("/api/docs/", "docs"),
        ("/api/openapi.json", "docs"),
        ("/api/openapi.json/", "docs"),
        # Handled by the function that starts fastest, so that an unknown path gets JSON with CORS.
        ("/", "health"),
        ("/api", "health"),
        ("/api/", "health"),
        ("/api/nothing/here", "health"),
        ("/api/tasks.py", "health"),
        ("/lib/settings.py", "health"),
        ("/pyproject.toml", "health"),
    ],
)
def test_a_path_reaches_its_function_unchanged(echo: Deployment, path: str, function: str) -> None:
    response, body = send(echo, path)
    received = json.loads(body)
    assert response.status == 200
    assert (received["function"], received["raw_path"], received["root_path"]) == (
        f"api.{function}",
        path,
        "",
    )
    assert received["query"] == ""


def test_the_query_is_unchanged(echo: Deployment) -> None:
    query = "q=a%2Fb+c&q=%c3%a9&empty=&user_id=x&1=2&=&%"
    _, body = send(echo, f"/api/alice/tasks/7?{query}")
    assert json.loads(body)["query"] == query


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods_and_bodies_are_unchanged(echo: Deployment, method: str) -> None:
    sent = bytes(range(256)) * 400
    _, body = send(echo, "/api/alice/tasks", method, sent)
    received = json.loads(body)
    assert (received["method"], bytes.fromhex(received["body"])) == (method, sent)


def test_head_reaches_the_function_as_head_and_has_no_body(echo: Deployment) -> None:
    response, body = send(echo, "/api/alice/tasks", "HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.headers["content-length"]) > 0


def test_a_client_cannot_forge_headers_of_the_platform(echo: Deployment) -> None:
    forged = (
        ("x-vercel-internal-request-id", "7"),
        ("x-vercel-id", "forged"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-request-id", "mine"),
        ("x-twice", "1"),
        ("x-twice", "2"),
    )
    _, body = send(echo, "/api/alice/tasks", headers=forged)
    received = json.loads(body)["headers"]
    assert [value for name, value in received if name == "x-twice"] == ["1", "2"]
    headers = dict(received)
    assert headers["x-request-id"] == "mine"
    assert headers["x-vercel-id"].startswith("iad1::")
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert not [name for name in headers if name.startswith("x-vercel-internal-")]


def test_no_instance_outlives_its_deployment(echo: Deployment) -> None:
    with ThreadPoolExecutor(1) as one:
        with vercel_runtime.deploy({}, echo.built) as deployment:
            pending = one.submit(send, deployment, "/api/health")
            time.sleep(0.05)  # the instance is starting
        response, _ = pending.result()
    assert response.status in {200, 500}
    assert all(one.process.poll() is not None for one in deployment.instances.values())


def test_static_files_and_responses_have_the_security_headers(echo: Deployment) -> None:
    for path in ("/robots.txt", "/api/health", "/nothing"):
        response, _ = send(echo, path)
        assert response.status == 200
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["strict-transport-security"].startswith("max-age=")
    response, body = send(echo, "/robots.txt")
    assert body == b"User-agent: *\n"
