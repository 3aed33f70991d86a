"""Generated calls of the tools: none fails inside, and every result has one of the two forms."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.mcp.tools import TOOLS
from tests.conftest import StartApi, bearer

# What is valid for some argument, and what has caused failures in programs before.
TEXTS = st.sampled_from(
    [
        *("", "x", "\0", "\ud800", "\ufeff", "é" * 300, "x" * 3000, "%_\\", "__proto__"),
        *("2026-12-24", "2026-02-30", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00+14:00"),
        *("low", "none", "pending", "deleted", "title", "due_date", "asc"),
    ]
)
NUMBERS = st.sampled_from([0, 1, -1, 100, 101, 2**63 - 1, 2**63, 10**300, 0.5, 3.0, 1e308])
SIMPLE = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = SIMPLE | st.lists(SIMPLE, max_size=2) | st.dictionaries(TEXTS, SIMPLE, max_size=1)


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(list(TOOLS)))
    names = st.sampled_from([*TOOLS[name].arguments, "user_id"])
    return {"name": name, "arguments": draw(st.dictionaries(names, VALUES, max_size=4))}


def test_generated_calls(start_api: StartApi) -> None:
    api, headers = start_api(), bearer("generated") | {"MCP-Protocol-Version": "2025-11-25"}

    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(params=calls(), message_id=SIMPLE)
    def check(params: dict[str, Any], message_id: object) -> None:
        message = {"jsonrpc": "2.0", "id": message_id, "method": "tools/call", "params": params}
        response = api.post("/api/mcp", content=json.dumps(message), headers=headers)
        if type(message_id) not in (str, int):
            assert response.status_code == 400
            return
        assert response.status_code == 200, response.text
        document = response.json()
        assert document["id"] == message_id
        result = document["result"]
        [content] = result["content"]
        if result["isError"]:
            assert 0 < len(content["text"]) < 1000
            assert content["text"].endswith(".")
        else:
            assert json.loads(content["text"]) == result["structuredContent"]

    check()
