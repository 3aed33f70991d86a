"""Assistants use the real MCP endpoint with access tokens of the real Better Auth."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import jwt
import psycopg
import pytest
from psycopg.types.json import Jsonb

from dev.local_database import Urls
from dev.postgres import free_port
from tests.integrations.better_auth.fixtures import NewDatabase, NewLog
from tests.integrations.better_auth.oauth import OAuthClient, register, register_machine
from tests.integrations.better_auth.servers import BetterAuth, Person, api, better_auth

VERSION = "2026-07-28"
READ, WRITE = "tasks:read", "tasks:write"


@dataclass
class System:
    """Better Auth and the API, whose MCP endpoint is the resource of the access tokens."""

    auth: BetterAuth
    api: str
    settings: dict[str, str]
    database: Urls
    log: Path

    @property
    def resource(self) -> str:
        return f"{self.api}/api/mcp"

    @property
    def metadata_url(self) -> str:
        return f"{self.api}/.well-known/oauth-protected-resource/api/mcp"


@pytest.fixture(scope="module")
def system(migrated_database: NewDatabase, logs: NewLog) -> Iterator[System]:
    database, port = migrated_database(), free_port()
    resource = f"http://127.0.0.1:{port}/api/mcp"
    with ExitStack() as stack:
        auth = stack.enter_context(
            better_auth("eddsa-mcp", database.admin, logs("mcp"), {"MCP_RESOURCE": resource})
        )
        settings = {
            **auth.environment_of_api(),
            "MCP_RESOURCE": resource,
            "MCP_AUTHORIZATION_SERVER": auth.url,
            "PROVISION_USERS": "false",
        }
        log = logs("api")
        url = stack.enter_context(api(database.app, log, settings, port=port))
        yield System(auth, url, settings, database, log)


@pytest.fixture(scope="module")
def alice(system: System) -> Person:
    return system.auth.sign_up("alice@example.com")


@pytest.fixture(scope="module")
def client(system: System) -> OAuthClient:
    return register(system.auth)


def call(
    url: str, token: str | None, tool: str = "list_tasks", **arguments: Any
) -> httpx2.Response:
    """Call a tool at the MCP endpoint of this API."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "mcp-method": "tools/call",
        "mcp-name": tool,
        **({"authorization": f"Bearer {token}"} if token else {}),
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return httpx2.post(f"{url}/api/mcp", json=body, headers=headers, timeout=20)


def statuses_of(system: System, token: str) -> dict[str, int]:
    """The statuses of the MCP endpoint and of the other routes with this token."""
    headers = {"authorization": f"Bearer {token}"}
    listed = httpx2.get(f"{system.api}/api/tasks", headers=headers, timeout=20)
    return {"mcp": call(system.api, token).status_code, "tasks": listed.status_code}


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def test_a_client_finds_the_authorization_server(system: System) -> None:
    refused = call(system.api, None)
    assert refused.status_code == 401
    challenge = refused.headers["www-authenticate"]
    assert challenge == f'Bearer resource_metadata="{system.metadata_url}"'
    metadata = httpx2.get(system.metadata_url).json()
    assert metadata == {
        "resource": system.resource,
        "authorization_servers": [system.auth.url],
        "scopes_supported": [READ, WRITE],
        "bearer_methods_supported": ["header"],
    }
    found = httpx2.get(f"{system.auth.url}/.well-known/oauth-authorization-server").json()
    assert found["issuer"] == system.auth.url
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["registration_endpoint"].startswith(system.auth.url)
    assert {READ, WRITE} <= set(found["scopes_supported"])


def test_access_tokens_are_those_of_the_token_table(
    system: System, alice: Person, client: OAuthClient
) -> None:
    token = client.token(alice, resource=system.resource)["access_token"]
    header = jwt.get_unverified_header(token)
    assert header == {"typ": "at+jwt", "alg": "EdDSA", "kid": header["kid"]}
    claims = claims_of(token)
    assert set(claims) == {
        "sub", "aud", "client_id", "azp", "scope", "sid", "iss", "iat", "exp", "jti"
    }  # fmt: skip
    assert claims["sub"] == alice.id
    assert claims["aud"] == [system.resource, f"{system.auth.url}/api/auth/oauth2/userinfo"]
    assert claims["exp"] - claims["iat"] == 3600


def test_an_assistant_adds_a_task_that_its_user_sees(
    system: System, alice: Person, client: OAuthClient
) -> None:
    token = client.token(alice, resource=system.resource)["access_token"]
    added = call(system.api, token, "add_task", title="Buy milk")
    assert added.status_code == 200, added.text
    task = added.json()["result"]["structuredContent"]
    assert task["user_id"] == alice.id
    headers = {"authorization": f"Bearer {alice.token()}"}
    seen = httpx2.get(f"{system.api}/api/{alice.id}/tasks/{task['id']}", headers=headers)
    assert seen.json() == task


def test_signing_in_continues_the_authorization(
    system: System, alice: Person, client: OAuthClient
) -> None:
    signed_out = replace(alice, browser=system.auth.browser())
    token = client.token(signed_out, resource=system.resource)["access_token"]
    assert claims_of(token)["sub"] == alice.id
    assert call(system.api, token).status_code == 200


def test_an_assistant_of_another_user_does_not_see_it(
    system: System, alice: Person, client: OAuthClient
) -> None:
    token = client.token(alice, resource=system.resource)["access_token"]
    task = call(system.api, token, "add_task", title="Secret").json()["result"]
    bob = system.auth.sign_up("bob@example.com")
    other = client.token(bob, resource=system.resource)["access_token"]
    assert "Secret" not in call(system.api, other).text
    changed = call(system.api, other, "complete_task", id=task["structuredContent"]["id"])
    assert changed.json()["result"]["isError"] is True


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(READ, None), (f"openid {READ}", None), (f"{READ} {WRITE}", READ)],
    ids=["asked for", "with openid", "granted by the user"],
)
def test_a_narrow_scope_allows_reading_only(
    asked: str, granted: str | None, system: System, alice: Person
) -> None:
    client = register(system.auth)  # which has no earlier consent
    response = client.token(alice, asked, resource=system.resource, granted=granted)
    token = response["access_token"]
    assert call(system.api, token).status_code == 200
    refused = call(system.api, token, "add_task", title="Not allowed")
    assert refused.status_code == 403
    assert refused.json() == {
        "detail": "This operation needs the scope tasks:write. Connect again and grant it."
    }
    challenge = refused.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="insufficient_scope", ')
    assert f'scope="{WRITE}", resource_metadata="{system.metadata_url}"' in challenge
    assert "Not allowed" not in call(system.api, token).text


def test_writing_alone_does_not_allow_reading(
    system: System, alice: Person, client: OAuthClient
) -> None:
    token = client.token(alice, WRITE, resource=system.resource)["access_token"]
    assert call(system.api, token, "add_task", title="Written").status_code == 200
    refused = call(system.api, token)
    assert refused.status_code == 403
    assert f'scope="{READ}"' in refused.headers["www-authenticate"]


def test_identity_scopes_allow_nothing(system: System, alice: Person, client: OAuthClient) -> None:
    token = client.token(alice, "openid profile email", resource=system.resource)["access_token"]
    assert statuses_of(system, token) == {"mcp": 403, "tasks": 401}


def test_an_expired_token_is_refused_and_a_refreshed_one_accepted(
    system: System, alice: Person, client: OAuthClient
) -> None:
    system.auth.set_clock(-3700)
    try:
        issued = client.token(alice, resource=system.resource)
    finally:
        system.auth.set_clock(0)
    refused = call(system.api, issued["access_token"])
    assert refused.status_code == 401
    assert 'error_description="The token has expired."' in refused.headers["www-authenticate"]
    assert f'resource_metadata="{system.metadata_url}"' in refused.headers["www-authenticate"]
    refreshed = client.refresh(issued["refresh_token"], system.resource)["access_token"]
    assert statuses_of(system, refreshed) == {"mcp": 200, "tasks": 401}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MCP_RESOURCE", "http://127.0.0.1:1/api/mcp"),
        ("MCP_AUTHORIZATION_SERVER", "http://127.0.0.1:1"),
    ],
)
def test_a_token_for_another_resource_or_of_another_server_is_refused(
    name: str, value: str, system: System, alice: Person, client: OAuthClient, logs: NewLog
) -> None:
    token = client.token(alice, resource=system.resource)["access_token"]
    assert call(system.api, token).status_code == 200
    with api(system.database.app, logs("other"), system.settings | {name: value}) as other:
        refused = call(other, token)
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        assert call(other, alice.token()).status_code == 200


def test_without_an_authorization_server_only_session_tokens_are_accepted(
    system: System, alice: Person, client: OAuthClient, logs: NewLog
) -> None:
    token = client.token(alice, resource=system.resource)["access_token"]
    names = ("MCP_RESOURCE", "MCP_AUTHORIZATION_SERVER")
    settings = {name: each for name, each in system.settings.items() if name not in names}
    with api(system.database.app, logs("without"), settings) as url:
        refused = call(url, token)
        assert refused.status_code == 401
        assert "resource_metadata" not in refused.headers["www-authenticate"]
        assert httpx2.get(f"{url}/.well-known/oauth-protected-resource/api/mcp").status_code == 404
        assert call(url, alice.token()).status_code == 200


def test_other_tokens_of_the_token_endpoint_are_refused(
    system: System, alice: Person, client: OAuthClient
) -> None:
    issued = client.token(alice, resource=system.resource)
    assert statuses_of(system, issued["access_token"]) == {"mcp": 200, "tasks": 401}
    for name in ("id_token", "refresh_token"):
        assert statuses_of(system, issued[name]) == {"mcp": 401, "tasks": 401}, name


def test_a_token_without_a_resource_is_refused(
    system: System, alice: Person, client: OAuthClient
) -> None:
    """Better Auth issues an opaque token to a client that names no resource."""
    token = client.token(alice)["access_token"]
    assert "." not in token
    assert statuses_of(system, token) == {"mcp": 401, "tasks": 401}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize(("application_type", "status"), [("native", 201), (None, 400)])
def test_programs_on_the_users_machine_register_as_native_applications(
    host: str, application_type: str | None, status: int, system: System
) -> None:
    metadata = {
        "client_name": "An editor",
        "redirect_uris": [f"http://{host}:33418/callback"],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        **({"application_type": application_type} if application_type else {}),
    }
    response = httpx2.post(f"{system.auth.url}/api/auth/oauth2/register", json=metadata)
    assert response.status_code == status, response.text


def test_a_client_that_acts_for_itself_is_no_user(system: System, alice: Person) -> None:
    machine = register_machine(alice, system.auth)
    with psycopg.connect(system.database.admin) as connection:  # as an administrator would
        connection.execute(
            'UPDATE "oauthClient" SET "clientCredentialsScopes" = %s WHERE "clientId" = %s',
            (Jsonb([READ, WRITE]), machine.id),
        )
    issued = machine.post(
        grant_type="client_credentials", scope=f"{READ} {WRITE}", resource=system.resource
    )
    claims = claims_of(issued["access_token"])
    assert claims["sub"] == machine.id
    assert claims["aud"] == system.resource
    assert statuses_of(system, issued["access_token"]) == {"mcp": 401, "tasks": 401}


def test_a_session_token_passes_everywhere(system: System, alice: Person) -> None:
    token = alice.token()
    assert statuses_of(system, token) == {"mcp": 200, "tasks": 200}
    assert call(system.api, token, "add_task", title="From the page").status_code == 200


def test_no_token_is_logged(system: System, alice: Person, client: OAuthClient) -> None:
    issued = client.token(alice, resource=system.resource)
    for token in (issued["access_token"], issued["refresh_token"]):
        statuses_of(system, token)
        assert token not in system.log.read_text()
