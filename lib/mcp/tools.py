"""The tools that AI assistants call: the operations on the tasks of one user.

The arguments of a tool are the fields of the shapes that its function takes after the user, and its
description is the docstring.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from inspect import cleandoc
from types import FunctionType
from typing import Annotated, Any, NamedTuple, get_type_hints

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, ValidationError

from lib.auth.mcp_access import Scope
from lib.db import tasks
from lib.db.tasks import StoredTask
from lib.errors import InvalidInput, TaskNotFound
from lib.schemas import (
    ID,
    NO_NUL,
    NO_NUL_NOR_BLANK,
    AuthenticatedUser,
    Task,
    TaskComplete,
    TaskCreate,
    TaskQuery,
    TaskUpdate,
    parse_id,
)
from lib.web.exception_handlers import describe_error, readable_errors
from lib.web.pagination import make_cursor, read_cursor
from lib.web.preconditions import IdempotencyKey

MAX_REPORTED_ERRORS = 5
MAX_REPORTED_NAME = 50  # characters of an unknown argument


def _parse_id(value: object) -> object:
    if type(value) is not int:
        raise ValueError("must be a whole number")
    return parse_id(TaskNotFound, str(value))


# Only one or two tools are called in a process that has just started, so Pydantic compiles these
# shapes at first use.


class TaskReference(BaseModel, defer_build=True):
    """Which task."""

    id: Annotated[int, BeforeValidator(_parse_id), ID, Field(description="The id of the task.")]


class Completion(BaseModel, defer_build=True):
    """Whether the task is completed."""

    completed: StrictBool = Field(default=True, description="`false` opens the task again.")


class TaskPageQuery(TaskQuery, defer_build=True):
    """Which tasks to list, in which order, and how many."""

    # Never None, which would be the whole list.
    limit: Annotated[int, Field(ge=1, le=100)] = Field(  # ty: ignore[incompatible-mutable-override]
        default=20, description="The maximum number of tasks in the result."
    )
    cursor: str | None = Field(
        default=None, max_length=2048, description="The `next_cursor` of the previous result."
    )


class Repetition(BaseModel, defer_build=True):
    """What makes a change safe to repeat."""

    idempotency_key: IdempotencyKey = None


class Tool(NamedTuple):
    """An operation that assistants may call.

    `shapes` are the models of its arguments, `hidden` the fields that are not arguments, and
    `output` returns the JSON Schema of the result.
    """

    name: str
    title: str
    description: str
    scope: Scope
    hints: dict[str, bool]
    function: FunctionType
    shapes: list[type[BaseModel]]
    hidden: frozenset[str]
    output: Callable[[], dict[str, Any]]

    @property
    def arguments(self) -> list[str]:
        names = [name for shape in self.shapes for name in shape.model_fields]
        return [name for name in names if name not in self.hidden]

    async def call(self, user: AuthenticatedUser, arguments: dict[str, Any]) -> str:
        """Return the result as JSON. Raises ApiError."""
        return await self.function(user, *self._read(arguments))

    def _read(self, arguments: dict[str, Any]) -> list[BaseModel]:
        known = self.arguments
        errors, values = [], []
        if unknown := [name[:MAX_REPORTED_NAME] for name in arguments if name not in known]:
            names = ", ".join(unknown[:MAX_REPORTED_ERRORS])
            errors.append(f"Unknown argument: {names}. The arguments are {', '.join(known)}.")
        for shape in self.shapes:
            given = {name: arguments[name] for name in shape.model_fields if name in arguments}
            try:
                values.append(shape.model_validate(given, strict=True))
            except ValidationError as error:
                located = ({**each, "loc": ("arguments", *each["loc"])} for each in error.errors())
                errors += [describe_error(each) for each in readable_errors(located)]
        if errors:
            detail = " ".join(errors[:MAX_REPORTED_ERRORS])
            raise InvalidInput(detail, location=("arguments",), kind="invalid_arguments")
        return values

    def describe(self) -> dict[str, Any]:
        """The tool as clients list it."""
        inputs = _merge(self.shapes, self.hidden)
        annotations = {f"{name}Hint": value for name, value in self.hints.items()}
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": inputs,
            "outputSchema": self.output(),
            "annotations": annotations | {"openWorldHint": False},
        }


def _task_schema() -> dict[str, Any]:
    return _tidy(Task.model_json_schema(mode="serialization"))


def _page_schema() -> dict[str, Any]:
    cursor = {
        "type": ["string", "null"],
        "description": "Send it as `cursor` for the tasks that follow. Null: there are no more.",
    }
    properties = {"tasks": {"type": "array", "items": _task_schema()}, "next_cursor": cursor}
    return {"type": "object", "properties": properties, "required": ["tasks", "next_cursor"]}


TOOLS: dict[str, Tool] = {}


def _parameter_types(function: FunctionType) -> list[Any]:
    return [type_ for name, type_ in get_type_hints(function).items() if name != "return"]


def tool(
    title: str,
    *,
    scope: Scope = "tasks:write",
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = True,
    hidden: frozenset[str] = frozenset(),
    output: Callable[[], dict[str, Any]] = _task_schema,
) -> Callable[[FunctionType], FunctionType]:
    """Add the function to the tools. They are listed in the order of their definition."""
    hints = {"readOnly": read_only, "destructive": destructive, "idempotent": idempotent}

    def add(function: FunctionType) -> FunctionType:
        name, (_, *shapes) = function.__name__, _parameter_types(function)
        # Each paragraph on one line.
        description = re.sub(r"(?<!\n)\n(?!\n)", " ", cleandoc(str(function.__doc__)))
        TOOLS[name] = Tool(name, title, description, scope, hints, function, shapes, hidden, output)
        return function

    return add


@tool("Add a task", idempotent=False)
async def add_task(user: AuthenticatedUser, new_task: TaskCreate, repetition: Repetition) -> str:
    """Add a task for the user. Only the title is required.

    Example: {"title": "Buy milk", "priority": "high", "due_date": "2026-12-24", "tags": ["home"]}
    """
    return _json(await tasks.create_task(user, new_task, repetition.idempotency_key))


@tool(
    "List tasks",
    scope="tasks:read",
    read_only=True,
    hidden=frozenset({"offset", "count"}),
    output=_page_schema,
)
async def list_tasks(user: AuthenticatedUser, query: TaskPageQuery) -> str:
    """List or search the user's tasks, newest first unless `sort` says otherwise.

    While `next_cursor` is not null there are more: repeat the call with it as `cursor` and the
    other arguments unchanged.

    Example: {"status": "pending", "due_to": "2026-12-24", "sort": "due_date", "limit": 10}
    """
    page = await tasks.list_tasks(user, query, read_cursor(user, query))
    cursor = make_cursor(user, query, page.last) if page.last else None
    return f'{{"tasks":{page.body.decode()},"next_cursor":{json.dumps(cursor)}}}'


@tool("Change a task", destructive=True)
async def update_task(
    user: AuthenticatedUser, task: TaskReference, changes: TaskUpdate, repetition: Repetition
) -> str:
    """Change fields of a task. Fields that are left out stay as they are.

    Null clears description, priority or due_date; an empty list clears tags.

    Example: {"id": 7, "due_date": "2026-12-24", "priority": null}
    """
    key = repetition.idempotency_key
    return _json(await tasks.update_task(user, task.id, changes, idempotency_key=key))


@tool("Complete a task")
async def complete_task(
    user: AuthenticatedUser, task: TaskReference, completion: Completion, repetition: Repetition
) -> str:
    """Mark a task as completed, or as open again. Harmless to repeat.

    Example: {"id": 7}
    """
    set_to = TaskComplete(completed=completion.completed)
    key = repetition.idempotency_key
    return _json(await tasks.complete_task(user, task.id, set_to, idempotency_key=key))


@tool("Delete a task", destructive=True)
async def delete_task(user: AuthenticatedUser, task: TaskReference) -> str:
    """Move a task to the trash. restore_task brings it back within 30 days.

    Example: {"id": 7}
    """
    return _json(await tasks.delete_task(user, task.id))


@tool("Restore a task")
async def restore_task(user: AuthenticatedUser, task: TaskReference, repetition: Repetition) -> str:
    """Bring a deleted task back. `list_tasks` with `"status": "deleted"` finds its id.

    Example: {"id": 7}
    """
    key = repetition.idempotency_key
    return _json(await tasks.restore_task(user, task.id, idempotency_key=key))


def _json(task: StoredTask) -> str:
    return task.body.decode()


@cache
def list_of_tools() -> str:
    """The tools as JSON. It is built at first use, because most requests call a tool."""
    return json.dumps([each.describe() for each in TOOLS.values()], ensure_ascii=False)


def _merge(shapes: list[type[BaseModel]], hidden: frozenset[str]) -> dict[str, Any]:
    """The JSON Schema of an object with the fields of all shapes."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for shape in shapes:
        schema = _tidy(shape.model_json_schema())
        properties |= schema["properties"]
        required += schema.get("required", [])
    properties = {name: value for name, value in properties.items() if name not in hidden}
    needed = {"required": required} if required else {}
    return {"type": "object", "properties": properties, **needed, "additionalProperties": False}


# They are long, and the descriptions of the fields say enough.
_OMITTED_PATTERNS = (NO_NUL["pattern"], NO_NUL_NOR_BLANK["pattern"])


def _tidy(part: Any) -> Any:
    """Remove what a model does not need: titles made of names, examples, absent defaults."""
    if isinstance(part, list):
        return [_tidy(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        name: _tidy(value)
        for name, value in part.items()
        if not (name == "title" and isinstance(value, str))
        and name != "examples"
        and not (name == "pattern" and value in _OMITTED_PATTERNS)
        and (name, value) != ("default", None)
    }
