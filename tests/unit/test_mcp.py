"""What a tool answers when it cannot do its work, what is logged, and which scope a tool needs."""

import json
import time
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from starlette.testclient import TestClient

from lib.db import pool, tasks
from lib.mcp.tools import TOOLS
from tests.conftest import RequestLines, StartApi, bearer
from tests.support.databases import Database

VERSION = {"MCP-Protocol-Version": "2025-11-25"}
SERVER_URL, RESOURCE = "http://localhost:3000/api/auth", "http://localhost:8000/api/mcp"


def call(api: TestClient, headers: dict[str, str], tool: str, **arguments: Any) -> httpx2.Response:
    params = {"name": tool, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return api.post("/api/mcp", json=message, headers=headers | VERSION)


def refusal(response: httpx2.Response) -> str:
    assert response.status_code == 200
    result = response.json()["result"]
    assert result["isError"] is True
    return result["content"][0]["text"]


def test_an_unavailable_database_is_a_result_that_the_model_reads(
    start_api: StartApi, database: Database, request_lines: RequestLines
) -> None:
    """Clients replace the body of an HTTP error by a text of their own."""
    api = start_api(DATABASE_URL=database.app_url.replace(":local@", ":wrong@"))
    response = call(api, bearer("ada"), "add_task", title="x")
    assert refusal(response) == "The database is unavailable. Nothing was changed. Try again."
    assert response.headers["Retry-After"] == "2"
    [line] = request_lines()
    assert (line["status"], line["route"], line["user_id"]) == (200, "/api/mcp", "ada")
    assert line["reason"].startswith("no connection: ")


def test_too_many_requests_are_a_result(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MAX_REQUESTS_PER_USER", 0)
    response = call(start_api(), bearer("busy"), "list_tasks")
    assert refusal(response) == "Too many requests at once. Try again."
    assert response.headers["Retry-After"] == "1"


def test_a_user_without_an_account_is_a_result(start_api: StartApi) -> None:
    response = call(start_api(PROVISION_USERS="0"), bearer("nobody"), "add_task", title="x")
    assert refusal(response) == "This user has no account. Sign up first."


def test_an_unexpected_error_reveals_nothing(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, request_lines: RequestLines
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret-5d41402a")

    monkeypatch.setattr(tasks, "list_tasks", fail)
    response = call(start_api(), bearer("ada"), "list_tasks")
    assert response.status_code == 500
    assert response.json() == {"detail": "Internal server error."}
    [line] = request_lines()
    assert (line["status"], line["reason"]) == (500, "RuntimeError")


def test_the_log_says_why_a_message_was_refused(
    start_api: StartApi, request_lines: RequestLines
) -> None:
    api = start_api()
    call(api, bearer("ada"), "delete_task", id=1)
    call(api, bearer("ada"), "nothing")
    api.post("/api/mcp", content="[]", headers=bearer("ada"))
    api.post("/api/mcp", content="{}", headers=bearer("ada") | {"Origin": "https://evil.example"})
    lines = [(line["status"], line["reason"]) for line in request_lines()]
    assert lines == [
        (200, "TaskNotFound"),
        (200, "JSON-RPC error -32602"),
        (400, "JSON-RPC error -32600"),
        (403, "the Origin is not among CORS_ORIGINS"),
    ]


def test_no_text_of_a_task_is_logged(
    start_api: StartApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api, text = start_api(), "canary-7d793037"
    call(api, bearer("ada"), "add_task", title=text, description=text, tags=[text])
    call(api, bearer("ada"), "list_tasks", q=text)
    call(api, bearer("ada"), "add_task", title=text, priority=text)
    call(api, bearer("ada"), text)
    assert text not in capsys.readouterr().out


@pytest.fixture
def oauth(start_api: StartApi) -> Any:
    """The API with an authorization server, and a function that makes its access tokens."""
    key = Ed25519PrivateKey.generate()
    public = json.loads(OKPAlgorithm.to_jwk(key.public_key()))
    api = start_api(
        JWT_ALGORITHM="EdDSA",
        JWKS=json.dumps({"keys": [public | {"kid": "1", "alg": "EdDSA"}]}),
        MCP_RESOURCE=RESOURCE,
        MCP_AUTHORIZATION_SERVER=SERVER_URL,
    )

    def token(scope: str) -> dict[str, str]:
        now = int(time.time())
        claims = {"sub": "ada", "iss": SERVER_URL, "aud": RESOURCE, "iat": now, "exp": now + 60}
        headers = {"typ": "at+jwt", "kid": "1"}
        encoded = jwt.encode(claims | {"scope": scope, "azp": "c"}, key, "EdDSA", headers)
        return {"Authorization": f"Bearer {encoded}"}

    return api, token


def test_reading_and_writing_need_their_own_scope(oauth: Any) -> None:
    api, token = oauth
    for name, tool in TOOLS.items():
        needed = "tasks:read" if name == "list_tasks" else "tasks:write"
        other = "tasks:write" if name == "list_tasks" else "tasks:read"
        assert tool.scope == needed
        response = call(api, token(f"openid {other}"), name)
        assert response.status_code == 403
        challenge = response.headers["WWW-Authenticate"]
        assert 'error="insufficient_scope"' in challenge
        assert f'scope="{needed}"' in challenge
        assert call(api, token(needed), name).status_code == 200


def test_the_scope_is_checked_before_the_arguments(oauth: Any) -> None:
    api, token = oauth
    assert call(api, token("tasks:read"), "add_task", nothing=1).status_code == 403
    # But every token may learn which tools there are.
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    listed = api.post("/api/mcp", json=message, headers=token("openid") | VERSION)
    assert listed.status_code == 200


def test_a_change_returns_the_task_whatever_the_scope(oauth: Any) -> None:
    """docs/mcp.md says that tasks:write does not hide tasks."""
    api, token = oauth
    added = call(api, token("tasks:read tasks:write"), "add_task", title="Seen")
    task = added.json()["result"]["structuredContent"]
    for tool in ("update_task", "restore_task"):
        response = call(api, token("tasks:write"), tool, id=task["id"])
        assert response.json()["result"]["structuredContent"] == task
    assert call(api, token("tasks:write"), "list_tasks").status_code == 403


def test_clients_find_the_authorization_server(oauth: Any) -> None:
    api, _ = oauth
    challenge = api.post("/api/mcp").headers["WWW-Authenticate"]
    url = "http://localhost:8000/.well-known/oauth-protected-resource/api/mcp"
    assert challenge == f'Bearer resource_metadata="{url}"'
    for path in ("/api/mcp", ""):
        response = api.get(f"/.well-known/oauth-protected-resource{path}")
        assert response.json() == {
            "resource": RESOURCE,
            "authorization_servers": [SERVER_URL],
            "scopes_supported": ["tasks:read", "tasks:write"],
            "bearer_methods_supported": ["header"],
        }


def test_a_shared_secret_offers_no_authorization_server(start_api: StartApi) -> None:
    api = start_api(MCP_RESOURCE=RESOURCE, MCP_AUTHORIZATION_SERVER=SERVER_URL)
    assert api.get("/.well-known/oauth-protected-resource/api/mcp").status_code == 404
    assert api.post("/api/mcp").headers["WWW-Authenticate"] == "Bearer"
