"""The session of docs/mcp.md, sent to the API."""

import json
import re
from pathlib import Path

import pytest

from lib.mcp.tools import TOOLS
from tests.conftest import StartApi, bearer
from tests.integrations.client.documents import matches
from tests.support.databases import Database

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text()
CALL = re.compile(
    r"calls `(?P<tool>\w+)`:\n\n```json\n(?P<arguments>.*?)```\n\n```(?:json)?\n(?P<result>.*?)```",
    re.DOTALL,
)


def test_the_session_has_these_results(start_api: StartApi, fresh_database: Database) -> None:
    api = start_api(DATABASE_URL=fresh_database.app_url)
    calls = list(CALL.finditer(PAGE))
    assert {call["tool"] for call in calls} == TOOLS.keys() - {"restore_task"}
    for call in calls:
        params = {"name": call["tool"], "arguments": json.loads(call["arguments"])}
        response = api.post(
            "/api/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
            headers=bearer("ada") | {"MCP-Protocol-Version": "2025-11-25"},
        )
        text = response.json()["result"]["content"][0]["text"]
        assert matches(call["result"], text), f"{call['tool']}: {text}"


@pytest.mark.parametrize("name", TOOLS)
def test_the_page_names_the_scope_of_every_tool(name: str) -> None:
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert f"| `{TOOLS[name].scope}` |" in row
