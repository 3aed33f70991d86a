"""The official Python SDK signs in by itself: it knows only the URL of the MCP endpoint."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.integrations.better_auth.oauth import REDIRECT_URI, authorize, register
from tests.integrations.better_auth.servers import Person
from tests.integrations.better_auth.test_mcp import READ, WRITE, System, alice, call, system

__all__ = ["alice", "system"]


@dataclass
class Storage:
    """What the client keeps."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None
    authorization_urls: list[str] = field(default_factory=list)

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def provider(system: System, person: Person, storage: Storage) -> OAuthClientProvider:
    """The SDK's client, and a user who consents in the browser."""

    async def open_browser(url: str) -> None:
        storage.authorization_urls.append(url)

    async def wait_for_callback() -> AuthorizationCodeResult:
        url = storage.authorization_urls[-1]
        parameters = await asyncio.to_thread(authorize, person, url)
        return AuthorizationCodeResult(
            code=parameters["code"], state=parameters["state"], iss=parameters["iss"]
        )

    metadata = OAuthClientMetadata(
        client_name="The SDK",
        redirect_uris=[REDIRECT_URI],
        token_endpoint_auth_method="none",
        grant_types=["authorization_code", "refresh_token"],
    )
    return OAuthClientProvider(system.resource, metadata, storage, open_browser, wait_for_callback)


def add_task(system: System, person: Person, storage: Storage, mode: str, title: str) -> Any:
    """The result of a call of the SDK, with what it keeps in `storage`."""

    async def session() -> Any:
        auth = provider(system, person, storage)
        async with httpx2.AsyncClient(auth=auth, timeout=30) as http:
            transport = streamable_http_client(system.resource, http_client=http)
            async with Client(transport, mode=mode) as client:
                return await client.call_tool("add_task", {"title": title})

    return asyncio.run(session())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_sdk_discovers_registers_signs_in_and_calls(
    mode: str, system: System, alice: Person
) -> None:
    storage = Storage()
    title = f"From the SDK, {mode}"
    added = add_task(system, alice, storage, mode, title)
    assert not added.is_error
    assert added.structured_content["user_id"] == alice.id
    assert storage.tokens is not None
    assert storage.client is not None
    assert len(storage.authorization_urls) == 1
    assert "tasks%3Aread+tasks%3Awrite" in storage.authorization_urls[0]
    assert title in call(system.api, alice.token()).text


def test_the_sdk_asks_for_the_scope_that_the_challenge_names(system: System, alice: Person) -> None:
    registered = register(system.auth)
    issued = registered.token(alice, READ, resource=system.resource)
    storage = Storage(
        OAuthToken(access_token=issued["access_token"], scope=READ),
        OAuthClientInformationFull(
            client_id=registered.id,
            redirect_uris=[REDIRECT_URI],
            token_endpoint_auth_method="none",
            issuer=system.auth.url,
        ),
    )
    added = add_task(system, alice, storage, "auto", "After a second consent")
    assert not added.is_error
    assert len(storage.authorization_urls) == 1
    assert storage.tokens is not None
    assert WRITE in str(storage.tokens.scope).split()
