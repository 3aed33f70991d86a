"""The tools that AI assistants call: each does the same as a route of the API."""

import json
import uuid
from typing import Any

import pytest

from tests.contract.conftest import NewUser
from tests.contract.mcp_client import TOOLS, Assistant
from tests.contract.responses import FIELDS as TASK_FIELDS
from tests.contract.responses import READ_ONLY, assert_task
from tests.contract.users import in_parallel

FIELDS = {
    "title": "Buy milk",
    "description": "Two litres",
    "completed": False,
    "priority": "high",
    "due_date": "2026-12-24",
    "tags": ["home", "errands"],
}
WRITES = [name for name in TOOLS if name not in ("list_tasks", "delete_task")]


@pytest.fixture
def assistant(new_user: NewUser) -> Assistant:
    return Assistant(new_user())


@pytest.fixture(scope="module")
def tools(client: Any, secret: str) -> dict[str, dict[str, Any]]:
    from tests.contract.users import User, claims_of, mint

    user_id = f"contract-{uuid.uuid4().hex}"
    assistant = Assistant(User(client, user_id, mint(secret, **claims_of(user_id))))
    listed = assistant.send("tools/list").json()["result"]["tools"]
    return {tool["name"]: tool for tool in listed}


def test_the_arguments_of_the_tools(tools: dict[str, dict[str, Any]], client: Any) -> None:
    arguments = {name: set(tool["inputSchema"]["properties"]) for name, tool in tools.items()}
    given = TASK_FIELDS - READ_ONLY
    document = client.get("/api/openapi.json").json()
    listing = document["paths"]["/api/{user_id}/tasks"]["get"]["parameters"]
    assert arguments == {
        "add_task": {*given, "idempotency_key"},
        "list_tasks": {each["name"] for each in listing if each["in"] == "query"}
        - {"offset", "count"},
        "update_task": {"id", *given, "idempotency_key"},
        "complete_task": {"id", "completed", "idempotency_key"},
        "delete_task": {"id"},
        "restore_task": {"id", "idempotency_key"},
    }
    required = {name: tool["inputSchema"].get("required", []) for name, tool in tools.items()}
    assert required == {
        "add_task": ["title"],
        "list_tasks": [],
        **{name: ["id"] for name in TOOLS if name not in ("add_task", "list_tasks")},
    }


def test_the_schemas_are_strict_and_complete(tools: dict[str, dict[str, Any]]) -> None:
    for tool in tools.values():
        schema = tool["inputSchema"]
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert tool["outputSchema"]["type"] == "object"
        assert tool["title"]
        # For a model: short, with one example, whose arguments are valid.
        description, _, example = tool["description"].partition("Example: ")
        assert 40 < len(description) < 300
        assert set(json.loads(example)) <= set(schema["properties"])
        assert "user_id" not in schema["properties"]
    listing = tools["list_tasks"]["inputSchema"]["properties"]
    assert listing["limit"]["default"] == 20
    assert listing["limit"]["maximum"] == 100
    assert listing["status"]["enum"] == ["all", "pending", "completed", "deleted"]
    assert tools["complete_task"]["inputSchema"]["properties"]["completed"]["default"] is True


def test_the_annotations_say_what_a_tool_may_do(tools: dict[str, dict[str, Any]]) -> None:
    told = {
        name: {hint for hint, value in tool["annotations"].items() if value}
        for name, tool in tools.items()
    }
    assert told == {
        "add_task": set(),
        "list_tasks": {"readOnlyHint", "idempotentHint"},
        "update_task": {"destructiveHint", "idempotentHint"},
        "complete_task": {"idempotentHint"},
        "delete_task": {"destructiveHint", "idempotentHint"},
        "restore_task": {"idempotentHint"},
    }
    assert all(len(tool["annotations"]) == 4 for tool in tools.values())


def test_the_examples_of_the_descriptions_work(
    assistant: Assistant, tools: dict[str, dict[str, Any]]
) -> None:
    for name, tool in tools.items():
        example = json.loads(tool["description"].partition("Example: ")[2])
        if "id" in example:
            example["id"] = assistant.done("add_task", title="Example")["id"]
        assistant.done(name, **example)


def test_add_task_stores_every_field(assistant: Assistant) -> None:
    task = assistant.done("add_task", **FIELDS)
    assert_task(task)
    assert {name: task[name] for name in FIELDS} == FIELDS
    assert task["user_id"] == assistant.user.id
    assert assistant.user.read(task["id"]) == task
    assert assistant.done("add_task", title="Done", completed=True)["completed_at"]


def test_update_task_changes_only_what_is_given(assistant: Assistant) -> None:
    task = assistant.done("add_task", **FIELDS)
    changed = assistant.done("update_task", id=task["id"], title="Buy bread", priority=None)
    assert changed | {"updated_at": task["updated_at"]} == task | {
        "title": "Buy bread",
        "priority": None,
    }
    cleared = assistant.done("update_task", id=task["id"], description=None, due_date=None, tags=[])
    assert (cleared["description"], cleared["due_date"], cleared["tags"]) == (None, None, [])
    assert assistant.done("update_task", id=task["id"]) == cleared
    assert assistant.user.read(task["id"]) == cleared


def test_complete_task_sets_and_never_toggles(assistant: Assistant) -> None:
    task = assistant.done("add_task", title="Call Ada")
    first = assistant.done("complete_task", id=task["id"])
    assert first["completed"] is True
    assert assistant.done("complete_task", id=task["id"]) == first
    assert assistant.done("complete_task", id=task["id"], completed=True) == first
    opened = assistant.done("complete_task", id=task["id"], completed=False)
    assert (opened["completed"], opened["completed_at"]) == (False, None)
    assert assistant.done("complete_task", id=task["id"], completed=False) == opened


def test_delete_task_moves_to_the_trash_and_restore_task_brings_back(assistant: Assistant) -> None:
    task = assistant.done("add_task", **FIELDS)
    deleted = assistant.done("delete_task", id=task["id"])
    assert_task(deleted)
    assert deleted["id"] == task["id"]
    assert assistant.done("list_tasks")["tasks"] == []
    trash = assistant.done("list_tasks", status="deleted")["tasks"]
    assert [each["id"] for each in trash] == [task["id"]]
    assert assistant.refused("delete_task", id=task["id"]) == "Task not found."
    restored = assistant.done("restore_task", id=task["id"])
    assert {name: restored[name] for name in FIELDS} == FIELDS
    assert assistant.done("restore_task", id=task["id"]) == restored
    assert assistant.done("list_tasks")["tasks"] == [restored]


def test_list_tasks_pages_through_everything(assistant: Assistant) -> None:
    added = [assistant.done("add_task", title=f"Task {number}")["id"] for number in range(25)]
    first = assistant.done("list_tasks")
    assert len(first["tasks"]) == 20
    second = assistant.done("list_tasks", cursor=first["next_cursor"])
    assert second["next_cursor"] is None
    listed = [task["id"] for page in (first, second) for task in page["tasks"]]
    assert listed == added[::-1]
    assert len(assistant.done("list_tasks", limit=100)["tasks"]) == 25


def test_a_cursor_belongs_to_its_list_and_user(assistant: Assistant, new_user: NewUser) -> None:
    for number in range(3):
        assistant.done("add_task", title=f"Task {number}")
    cursor = assistant.done("list_tasks", limit=1)["next_cursor"]
    sentence = "The cursor is not valid for this list. Start again without it."
    assert assistant.refused("list_tasks", limit=1, cursor=cursor, q="Task") == sentence
    assert assistant.refused("list_tasks", limit=1, cursor=f"{cursor}A") == sentence
    assert Assistant(new_user()).refused("list_tasks", limit=1, cursor=cursor) == sentence


def test_list_tasks_has_the_filters_and_orders_of_the_api(assistant: Assistant) -> None:
    user = assistant.user
    user.create("Alpha", priority="low", due_date="2026-12-01", tags=["home"])
    user.create("Beta", priority="urgent", due_date="2026-12-24T10:00:00Z", tags=["home", "x"])
    user.create("Gamma, 100 %", completed=True)
    for arguments in (
        {"status": "pending"},
        {"status": "completed"},
        {"priority": ["low", "none"]},
        {"tag": ["home", "x"]},
        {"due_from": "2026-12-02"},
        {"due_to": "2026-12-24"},
        {"q": "100 %"},
        {"sort": "title"},
        {"sort": "title", "order": "desc"},
        {"sort": "due_date"},
        {"sort": "priority"},
        {"sort": "updated", "order": "asc"},
        {"status": "pending", "tag": ["home"], "sort": "due_date", "limit": 1},
    ):
        listed = [task["title"] for task in assistant.done("list_tasks", **arguments)["tasks"]]
        assert listed == user.titles(**arguments), arguments


@pytest.mark.parametrize(
    "name",
    ["status", "priority", "tag", "due_from", "due_to", "q", "sort", "order", "limit", "cursor"],
)
def test_null_never_selects_tasks(assistant: Assistant, name: str) -> None:
    """Models send null for an argument that they do not need: it is refused, or has no effect."""
    assistant.done("add_task", **FIELDS)
    assistant.done("add_task", title="Only a title")
    result = assistant.call("list_tasks", **{name: None})
    everything = assistant.done("list_tasks")
    assert result["isError"] or result["structuredContent"] == everything


def test_a_key_makes_a_write_safe_to_repeat(assistant: Assistant) -> None:
    key = uuid.uuid4().hex
    task = assistant.done("add_task", title="Once", idempotency_key=key)
    assert assistant.done("add_task", title="Once", idempotency_key=key) == task
    assert assistant.user.titles() == ["Once"]
    reused = "This Idempotency-Key was used for another request. Use a new key."
    assert assistant.refused("add_task", title="Twice", idempotency_key=key) == reused
    for tool, arguments in (("update_task", {"title": "New"}), ("complete_task", {})):
        keyed = {"id": task["id"], "idempotency_key": uuid.uuid4().hex, **arguments}
        first = assistant.done(tool, **keyed)
        assistant.done("update_task", id=task["id"], title="Meanwhile")
        assert assistant.done(tool, **keyed) == first


def test_a_key_is_shared_with_the_routes(assistant: Assistant) -> None:
    """A request over one of them has one effect, no matter which of them repeats it."""
    key = uuid.uuid4().hex
    task = assistant.done("add_task", title="Once", idempotency_key=key)
    response = assistant.user.post({"title": "Once"}, headers={"Idempotency-Key": key})
    assert response.json() == task
    key = uuid.uuid4().hex
    changed = assistant.done("update_task", id=task["id"], title="New", idempotency_key=key)
    response = assistant.user.put(task, {"title": "New"}, headers={"Idempotency-Key": key})
    assert response.json() == changed


def test_writes_with_one_key_at_the_same_time_have_one_effect(assistant: Assistant) -> None:
    key = uuid.uuid4().hex
    added = in_parallel(4, lambda _: assistant.done("add_task", title="Once", idempotency_key=key))
    assert len({task["id"] for task in added}) == 1
    assert assistant.user.titles() == ["Once"]


@pytest.mark.parametrize("tool", WRITES)
def test_a_key_that_is_null_is_none(assistant: Assistant, tool: str) -> None:
    arguments = {} if tool == "add_task" else {"id": assistant.done("add_task", title="x")["id"]}
    if tool in ("add_task", "update_task"):
        arguments["title"] = "New"
    first, second = (assistant.done(tool, **arguments, idempotency_key=None) for _ in range(2))
    assert (first["id"] == second["id"]) == (tool != "add_task")


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "é", "a\nb"])
@pytest.mark.parametrize("tool", WRITES)
def test_a_malformed_key_is_refused(assistant: Assistant, tool: str, key: str) -> None:
    arguments = {"title": "x"} if tool == "add_task" else {"id": 1}
    sentence = assistant.refused(tool, **arguments, idempotency_key=key)
    assert sentence == "Idempotency key must have 1 to 255 visible ASCII characters."
    assert assistant.user.titles() == []


@pytest.mark.parametrize("tool", TOOLS)
def test_unknown_arguments_are_refused_by_name(assistant: Assistant, tool: str) -> None:
    arguments: dict[str, Any] = {"title": "x"} if tool in ("add_task", "update_task") else {}
    arguments |= {} if tool in ("add_task", "list_tasks") else {"id": 1}
    sentence = assistant.refused(tool, **arguments, user_id="somebody", dueDate="2026-12-24")
    assert sentence.startswith("Unknown argument: user_id, dueDate. The arguments are ")
    assert assistant.user.titles() == []


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ("delete_task", "permanent"),
        ("delete_task", "idempotency_key"),
        ("list_tasks", "offset"),
        ("list_tasks", "count"),
        ("list_tasks", "search"),
        ("list_tasks", "user_id"),
        ("add_task", "id"),
        ("update_task", "created_at"),
        ("restore_task", "completed"),
        ("add_task", "_meta"),
    ],
)
def test_what_is_not_an_argument_is_refused(assistant: Assistant, tool: str, name: str) -> None:
    assert assistant.refused(tool, **{name: "1"}).startswith(f"Unknown argument: {name}. ")


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("add_task", {}, "Title is required."),
        ("add_task", {"title": " "}, "Title must have 1 or more characters."),
        ("add_task", {"title": None}, "Title must be a string."),
        ("add_task", {"title": 7}, "Title must be a string."),
        ("add_task", {"title": "x" * 201}, "Title must have 200 or fewer characters."),
        ("add_task", {"title": "a\0b"}, "Title must not contain the NUL character."),
        ("add_task", {"title": "\ud800"}, "Title must not contain half of a surrogate pair."),
        (
            "add_task",
            {"title": "x", "description": "x" * 1001},
            "Description must have 1000 or fewer characters.",
        ),
        ("add_task", {"title": "x", "completed": "yes"}, "Completed must be true or false."),
        ("add_task", {"title": "x", "completed": 1}, "Completed must be true or false."),
        (
            "add_task",
            {"title": "x", "priority": "top"},
            "Priority must be 'low', 'medium', 'high' or 'urgent'.",
        ),
        (
            "add_task",
            {"title": "x", "due_date": "2026-02-30"},
            "Due date must exist in the calendar, within the years 1 to 9999 in UTC.",
        ),
        ("add_task", {"title": "x", "tags": "home"}, "Tags must be a list of texts."),
        ("add_task", {"title": "x", "tags": None}, "Tags must be a list of texts."),
        (
            "add_task",
            {"title": "", "completed": None},
            "Title must have 1 or more characters. Completed must be true or false.",
        ),
        ("update_task", {"title": "x"}, "Id is required."),
        ("update_task", {"id": "7", "title": "x"}, "Id must be a whole number."),
        ("update_task", {"id": 7.0, "title": "x"}, "Id must be a whole number."),
        ("update_task", {"id": True, "title": "x"}, "Id must be a whole number."),
        ("update_task", {"id": [7], "title": "x"}, "Id must be a whole number."),
        ("delete_task", {"id": 0}, "Id must be a positive integer."),
        ("delete_task", {"id": -1}, "Id must be a positive integer."),
        ("delete_task", {"id": 2**63}, "Task not found."),
        ("delete_task", {"id": 10**4000}, "Task not found."),
        ("delete_task", {"id": 2**63 - 1}, "Task not found."),
        ("update_task", {"id": 2**63 - 1, "title": "x"}, "Task not found."),
        ("complete_task", {"id": 2**63 - 1}, "Task not found."),
        ("complete_task", {"id": 1, "completed": None}, "Completed must be true or false."),
        ("restore_task", {"id": 2**63 - 1}, "Task not found."),
        ("list_tasks", {"limit": 0}, "Limit must be 1 or more."),
        ("list_tasks", {"limit": 101}, "Limit must be 100 or less."),
        ("list_tasks", {"limit": None}, "Limit must be a whole number."),
        ("list_tasks", {"limit": True}, "Limit must be a whole number."),
        ("list_tasks", {"limit": 2.5}, "Limit must be a whole number."),
        (
            "list_tasks",
            {"status": "open"},
            "Status must be 'all', 'pending', 'completed' or 'deleted'.",
        ),
        *(
            (
                "list_tasks",
                {"priority": priority},
                "Priority must be 'low', 'medium', 'high', 'urgent' or 'none'.",
            )
            for priority in (None, [None], ["high", None], False, [0], [{}], [["high"]])
        ),
        ("list_tasks", {"tag": None}, "Tag must be a string."),
        ("list_tasks", {"tag": [None]}, "Tag must be a string."),
        ("list_tasks", {"q": "x" * 201}, "The search text must have 200 or fewer characters."),
        (
            "list_tasks",
            {"cursor": "forged"},
            "The cursor is not valid for this list. Start again without it.",
        ),
    ],
)
def test_invalid_arguments_are_results_in_the_words_of_the_api(
    assistant: Assistant, tool: str, arguments: dict[str, Any], sentence: str
) -> None:
    assert assistant.refused(tool, **arguments) == sentence


def test_the_sentences_are_those_of_the_routes(assistant: Assistant) -> None:
    for body in ({"title": "x" * 201}, {"title": "x", "due_date": "2026-12-24T10:00"}, {}):
        detail = assistant.user.post(body).json()["detail"]
        assert assistant.refused("add_task", **body) == detail


def test_a_task_of_somebody_else_is_not_found(assistant: Assistant, new_user: NewUser) -> None:
    other = new_user()
    task = other.create("Private")
    trashed = other.create("Trashed")
    other.delete(trashed)
    for tool in ("update_task", "complete_task", "delete_task", "restore_task"):
        changes = {"title": "Mine"} if tool == "update_task" else {}
        for target in (task, trashed):
            refusal = assistant.refused(tool, id=target["id"], **changes)
            assert refusal == "Task not found."
    for status in ("all", "deleted"):
        assert assistant.done("list_tasks", status=status, q="")["tasks"] == []
    assert other.read(task) == task
    assert [each["id"] for each in other.list(status="deleted").json()] == [trashed["id"]]
