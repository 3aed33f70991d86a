"""The official Python SDK as a client, of the stateless revision and of the older ones."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent

from tests.contract.conftest import NewUser
from tests.contract.mcp_client import STATELESS, TOOLS, WITH_HANDSHAKE
from tests.contract.users import User

type Session = Callable[[Client], Coroutine[Any, Any, None]]

MODES = {"auto": STATELESS, "legacy": WITH_HANDSHAKE[0], STATELESS: STATELESS}


def run(user: User, mode: str, session: Session, **headers: str) -> None:
    """Connect as this user, and run the session."""

    async def connect() -> None:
        sent = user.headers | headers
        async with httpx2.AsyncClient(headers=sent, timeout=30) as http:
            transport = streamable_http_client(f"{user.client.base_url}/api/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                await session(client)

    asyncio.run(connect())


@pytest.mark.parametrize("mode", MODES)
def test_a_session_of_the_sdk(new_user: NewUser, mode: str) -> None:
    user = new_user()

    async def session(client: Client) -> None:
        assert client.protocol_version == MODES[mode]
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == TOOLS
        added = await client.call_tool(
            "add_task", {"title": "Buy milk", "due_date": "2026-12-24", "tags": ["home"]}
        )
        assert not added.is_error
        task_id = added.structured_content["id"]
        listed = await client.call_tool("list_tasks", {"tag": ["home"]})
        assert listed.structured_content == {
            "tasks": [added.structured_content],
            "next_cursor": None,
        }
        for tool, arguments in (
            ("update_task", {"title": "Buy bread", "priority": "high"}),
            ("complete_task", {}),
            ("complete_task", {"completed": False}),
            ("delete_task", {}),
            ("restore_task", {}),
        ):
            # The client checks the result against the output schema.
            done = await client.call_tool(tool, {"id": task_id, **arguments})
            assert not done.is_error, done
            assert done.structured_content["id"] == task_id
        refused = await client.call_tool("delete_task", {"id": 2**53})
        assert refused.is_error
        [content] = refused.content
        assert isinstance(content, TextContent)
        assert content.text == "Task not found."

    run(user, mode, session)
    assert user.titles() == ["Buy bread"]


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_shows_the_sentence_of_an_unknown_tool(new_user: NewUser, mode: str) -> None:
    async def session(client: Client) -> None:
        with pytest.raises(MCPError, match=r"Unknown tool\. The tools are add_task, "):
            await client.call_tool("remove_task", {})

    run(new_user(), mode, session)


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_is_refused_without_a_valid_token(new_user: NewUser, mode: str) -> None:
    async def session(client: Client) -> None:
        await client.list_tools()

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - a group of exceptions
        run(new_user(), mode, session, Authorization="Bearer expired")
    assert caught.group_contains(MCPError) or isinstance(caught.value, MCPError)
