"""The Model Context Protocol at POST /api/mcp: versions, headers, methods and JSON-RPC errors."""

import base64
import json
from typing import Any

import pytest

from tests.contract.conftest import NewUser
from tests.contract.mcp_client import (
    META,
    STATELESS,
    TOOLS,
    VERSION_FIELD,
    WITH_HANDSHAKE,
    Assistant,
    error_of,
)
from tests.contract.responses import assert_error, tokens

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022


@pytest.fixture
def assistant(new_user: NewUser) -> Assistant:
    return Assistant(new_user())


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in META.items() if not key.endswith(name)}


def test_discovery_names_versions_capabilities_and_the_server(assistant: Assistant) -> None:
    response = assistant.send("server/discover")
    assert response.status_code == 200
    document = response.json()
    result = document["result"]
    assert (document["jsonrpc"], document["id"]) == ("2.0", 1)
    assert result["resultType"] == "complete"
    assert result["supportedVersions"] == [STATELESS, *WITH_HANDSHAKE]
    assert result["capabilities"] == {"tools": {"listChanged": False}}
    assert result["instructions"]
    assert result["ttlMs"] > 0
    assert result["cacheScope"] == "public"
    server = result["_meta"]["io.modelcontextprotocol/serverInfo"]
    assert server == {"name": "task-api", "title": "Task API", "version": "1"}


def test_the_list_of_tools_is_stable_and_may_be_cached(assistant: Assistant) -> None:
    responses = [assistant.send("tools/list") for _ in range(2)]
    first, second = (response.json()["result"] for response in responses)
    assert [tool["name"] for tool in first["tools"]] == TOOLS
    assert first == second
    assert first["resultType"] == "complete"
    assert first["ttlMs"] > 0
    assert first["cacheScope"] == "public"
    assert "nextCursor" not in first


def test_no_response_has_a_session(assistant: Assistant) -> None:
    responses = [
        assistant.send("server/discover", Mcp_Session_Id="given-by-the-client"),
        assistant.send_legacy("initialize", {"protocolVersion": WITH_HANDSHAKE[0]}),
    ]
    assert all(response.status_code == 200 for response in responses)
    assert all("mcp-session-id" not in response.headers for response in responses)


@pytest.mark.parametrize("requested", WITH_HANDSHAKE)
def test_older_clients_initialize_with_their_version(assistant: Assistant, requested: str) -> None:
    params = {
        "protocolVersion": requested,
        "capabilities": {},
        "clientInfo": {"name": "old", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": params}
    response = assistant.post(json.dumps(message))
    assert response.status_code == 200
    result = response.json()["result"]
    assert result["protocolVersion"] == requested
    assert result["capabilities"] == {"tools": {"listChanged": False}}
    assert result["serverInfo"]["name"] == "task-api"
    assert "resultType" not in result
    listed = assistant.send_legacy("tools/list", version=requested).json()["result"]
    assert [tool["name"] for tool in listed["tools"]] == TOOLS
    called = assistant.send_legacy(
        "tools/call", {"name": "add_task", "arguments": {"title": "Old"}}, version=requested
    )
    assert called.json()["result"]["structuredContent"]["title"] == "Old"


@pytest.mark.parametrize("requested", ["2024-11-05", "2025-03-26", STATELESS, "1", None, 7])
def test_other_versions_are_offered_the_newest_with_a_handshake(
    assistant: Assistant, requested: object
) -> None:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": requested, "capabilities": {}},
    }
    result = assistant.post(json.dumps(message)).json()["result"]
    assert result["protocolVersion"] == WITH_HANDSHAKE[0]


def test_ping_is_an_empty_object_for_older_clients_only(assistant: Assistant) -> None:
    assert assistant.send_legacy("ping").json() == {"jsonrpc": "2.0", "id": 1, "result": {}}
    error_of(assistant.send("ping"), 404, METHOD_NOT_FOUND)


@pytest.mark.parametrize(
    "method",
    [
        "initialize",
        "logging/setLevel",
        "resources/list",
        "prompts/list",
        "tools/List",
        "",
        "x" * 99,
    ],
)
def test_an_unknown_method_is_404(assistant: Assistant, method: str) -> None:
    error_of(assistant.send(method), 404, METHOD_NOT_FOUND)


def test_older_clients_get_errors_of_methods_with_status_200(assistant: Assistant) -> None:
    """They take 404 for the end of a session."""
    error_of(assistant.send_legacy("prompts/list"), 200, METHOD_NOT_FOUND)
    error_of(assistant.send_legacy("server/discover"), 200, METHOD_NOT_FOUND)
    error_of(assistant.send_legacy("tools/call", {"name": "nothing"}), 200, INVALID_PARAMS)


@pytest.mark.parametrize(
    "meta",
    [None, [], "x", {}, without("protocolVersion"), without("clientCapabilities")],
    ids=["null", "list", "string", "empty", "no version", "no capabilities"],
)
def test_a_request_without_its_metadata_is_400(assistant: Assistant, meta: object) -> None:
    document = error_of(assistant.send("tools/list", {"_meta": meta}), 400, INVALID_PARAMS)
    assert document["id"] == 1


def test_the_name_of_the_client_is_optional(assistant: Assistant) -> None:
    response = assistant.send("tools/list", {"_meta": without("clientInfo")})
    assert response.status_code == 200


@pytest.mark.parametrize("version", ["2027-01-01", "2025-03-26", "v999.0.0", "-", "2026-07-28 x"])
def test_an_unknown_version_is_400_with_the_known_ones(assistant: Assistant, version: str) -> None:
    meta = META | {VERSION_FIELD: version}
    document = error_of(
        assistant.send("tools/list", {"_meta": meta}, MCP_Protocol_Version=version),
        400,
        UNSUPPORTED_VERSION,
    )
    assert document["error"]["data"] == {
        "supported": [STATELESS, *WITH_HANDSHAKE],
        "requested": version,
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    error_of(
        assistant.post(json.dumps(message), MCP_Protocol_Version=version), 400, UNSUPPORTED_VERSION
    )


@pytest.mark.parametrize(
    ("named", "header"),
    [
        (STATELESS, None),
        (STATELESS, "2025-11-25"),
        ("2025-11-25", STATELESS),
        ("v999.0.0", STATELESS),
        (STATELESS, "v999.0.0"),
        (20260728, STATELESS),
        ([STATELESS], STATELESS),
        (STATELESS, f"{STATELESS}, {STATELESS}"),
    ],
)
def test_header_and_message_must_name_one_version(
    assistant: Assistant, named: object, header: str | None
) -> None:
    meta = META | {VERSION_FIELD: named}
    response = assistant.send("tools/list", {"_meta": meta}, MCP_Protocol_Version=header)
    error_of(response, 400, HEADER_MISMATCH)


def test_a_request_that_names_no_version_is_400(assistant: Assistant) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    error_of(assistant.post(json.dumps(message)), 400, HEADER_MISMATCH)


@pytest.mark.parametrize(
    "method", [None, "", "tools/call", "TOOLS/LIST", "tools/list, tools/list", "=?base64?dA==?="]
)
def test_the_header_mcp_method_must_be_the_method(assistant: Assistant, method: str | None) -> None:
    response = assistant.send("tools/list", Mcp_Method=method)
    assert error_of(response, 400, HEADER_MISMATCH)["id"] == 1


@pytest.mark.parametrize("version", WITH_HANDSHAKE)
def test_older_revisions_have_no_headers_for_proxies(assistant: Assistant, version: str) -> None:
    call = {"name": "add_task", "arguments": {"title": "Old"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    response = assistant.post(
        json.dumps(message),
        MCP_Protocol_Version=version,
        Mcp_Method="tools/list",
        Mcp_Name="list_tasks",
    )
    assert response.json()["result"]["structuredContent"]["title"] == "Old"


def in_base64(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        "delete_task",
        "LIST_TASKS",
        "list_tasks, list_tasks",
        in_base64("delete_task"),
        in_base64(in_base64("list_tasks")),
        in_base64("list_tasks").rstrip("?="),
        in_base64("list_tasks").upper(),
        "=?base64?bGlzdF90YXNrcw?=",  # without the padding
        "=?base64?bGlzdF90YXNrct==?=",  # not the canonical encoding
        "=?base64?bGlz dF90YXNrcw==?=",
        "=?base64?!!!!?=",
        "=?base64?/////w==?=",  # not UTF-8
        "=?base64??=",
        "=?base64?=",
    ],
)
def test_the_header_mcp_name_must_be_the_tool(assistant: Assistant, name: str | None) -> None:
    added = assistant.done("add_task", title="Kept")
    call = {"name": "list_tasks", "arguments": {}}
    error_of(assistant.send("tools/call", call, Mcp_Name=name), 400, HEADER_MISMATCH)
    deletion = {"name": "delete_task", "arguments": {"id": added["id"]}}
    response = assistant.send("tools/call", deletion, Mcp_Name="list_tasks")
    error_of(response, 400, HEADER_MISMATCH)
    assert assistant.user.read(added["id"])["title"] == "Kept"


@pytest.mark.parametrize("name", ["list_tasks", in_base64("list_tasks")])
def test_the_header_mcp_name_may_be_encoded(assistant: Assistant, name: str) -> None:
    response = assistant.send("tools/call", {"name": "list_tasks"}, Mcp_Name=name)
    assert response.status_code == 200
    assert response.json()["result"]["structuredContent"] == {"tasks": [], "next_cursor": None}


@pytest.mark.parametrize("name", ["nothing", "", "ADD_TASK", "add_task ", "añadir"])
def test_an_unknown_tool_is_a_protocol_error_that_names_the_tools(
    assistant: Assistant, name: str
) -> None:
    response = assistant.send("tools/call", {"name": name}, Mcp_Name=in_base64(name))
    message = error_of(response, 400, INVALID_PARAMS)["error"]["message"]
    assert all(tool in message for tool in TOOLS)


@pytest.mark.parametrize("params", [{}, {"name": None}, {"name": 7}, {"name": ["add_task"]}])
def test_a_call_without_a_tool_is_invalid(assistant: Assistant, params: dict[str, Any]) -> None:
    error_of(assistant.send("tools/call", params, Mcp_Name=None), 400, INVALID_PARAMS)


@pytest.mark.parametrize("arguments", [[], "x", 1, True, [{"title": "x"}]])
def test_arguments_must_be_an_object(assistant: Assistant, arguments: object) -> None:
    params = {"name": "add_task", "arguments": arguments}
    error_of(assistant.send("tools/call", params), 400, INVALID_PARAMS)


def test_the_list_of_tools_has_no_second_page(assistant: Assistant) -> None:
    error_of(assistant.send("tools/list", {"cursor": "2"}), 400, INVALID_PARAMS)


@pytest.mark.parametrize("method", ["notifications/initialized", "notifications/anything"])
@pytest.mark.parametrize("version", [None, STATELESS, *WITH_HANDSHAKE])
def test_a_notification_is_accepted(assistant: Assistant, method: str, version: str | None) -> None:
    message = {"jsonrpc": "2.0", "method": method}
    response = assistant.post(json.dumps(message), MCP_Protocol_Version=version)
    assert response.status_code == 202
    assert response.content == b""


def test_a_notification_of_an_unknown_version_is_400(assistant: Assistant) -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    response = assistant.post(json.dumps(message), MCP_Protocol_Version="2020-01-01")
    assert "id" not in error_of(response, 400, UNSUPPORTED_VERSION)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH"])
def test_other_methods_are_405(assistant: Assistant, method: str) -> None:
    for headers in ({}, assistant.user.headers):
        response = assistant.user.client.request(method, "/api/mcp", headers=headers)
        assert_error(response, 405)
        assert tokens(response.headers["Allow"]) == {"post", "options"}


def test_without_a_token_it_is_401(assistant: Assistant) -> None:
    response = assistant.send("tools/list", Authorization=None)
    assert_error(response, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert_error(assistant.send("tools/list", Authorization="Bearer x.y.z"), 401)
    assert_error(assistant.post("not JSON", Authorization=None), 401)


def test_without_an_authorization_server_there_is_no_metadata(assistant: Assistant) -> None:
    for path in ("", "/api/mcp"):
        url = f"/.well-known/oauth-protected-resource{path}"
        assert_error(assistant.user.client.get(url), 404)


def test_a_foreign_origin_is_403(assistant: Assistant) -> None:
    for origin in ("https://evil.example", "null", "http://localhost:3000.evil.example", ""):
        response = assistant.send("tools/list", Origin=origin)
        assert_error(response, 403)
    response = assistant.send("tools/list", Origin="http://localhost:3000")
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json-rpc", "text/event-stream"]
)
def test_another_content_type_is_415(assistant: Assistant, content_type: str) -> None:
    assert_error(assistant.send("tools/list", Content_Type=content_type), 415)


def test_a_body_over_64_kib_is_413(assistant: Assistant) -> None:
    params = {"name": "add_task", "arguments": {"title": "x", "description": "x" * 65536}}
    assert_error(assistant.send("tools/call", params), 413)
    assert assistant.user.titles() == []
