"""The shapes that go in and out of the API; knows nothing of storage (see tables.py)."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints
from pydantic.json_schema import WithJsonSchema

from lib.errors import ApiError, TaskNotFound

BIGINT_MAX = 2**63 - 1


def _storable(text: str) -> str:
    # PostgreSQL stores any text but NUL, and nothing encodes a lone surrogate.
    if "\0" in text:
        raise ValueError("must not contain the NUL character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not contain half of a surrogate pair")
    return text


def _check_storable(value: object) -> object:
    return _storable(value) if isinstance(value, str) else value


def parse_id(not_found: type[ApiError], value: object) -> object:
    """The id in a path. Raises `not_found` for one that no row can have."""
    if (
        not isinstance(value, str)
        or not value.isascii()
        or not value.isdecimal()
        or value[0] == "0"
    ):
        raise ValueError("must be a positive integer")
    if len(value) > 19 or int(value) > BIGINT_MAX:
        raise not_found
    return int(value)


def _parse_limit(value: object) -> object:
    # Pydantic alone would read "+5", " 5" and "5.0" as five.
    if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
        raise ValueError("must be a whole number")
    return value


# What _storable and the trimming refuse, as far as a regular expression can say it.
NO_NUL: dict[str, Any] = {"pattern": r"^[^\u0000]*$"}
NO_NUL_NOR_BLANK: dict[str, Any] = {"pattern": r"^[^\u0000]*[^\s\u0000\u0085][^\u0000]*$"}

ID = WithJsonSchema({"type": "integer", "format": "int64", "minimum": 1, "maximum": BIGINT_MAX})
TaskId = Annotated[int, BeforeValidator(partial(parse_id, TaskNotFound)), ID]
Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    BeforeValidator(_check_storable),
    Field(
        description="Trimmed; 1 to 200 characters.",
        examples=["Buy milk"],
        json_schema_extra=NO_NUL_NOR_BLANK,
    ),
]
Description = Annotated[
    str,
    StringConstraints(max_length=1000),
    BeforeValidator(_check_storable),
    Field(
        description="At most 1000 characters.",
        examples=["Two litres, semi-skimmed"],
        json_schema_extra=NO_NUL,
    ),
]
SearchText = Annotated[
    str,
    StringConstraints(max_length=200),
    BeforeValidator(_check_storable),
    Field(json_schema_extra=NO_NUL),
]


class TaskCreate(BaseModel):
    """A new task."""

    title: Title
    description: Description | None = None
    completed: StrictBool = False


def _absent() -> Any:
    """The value of an absent field that must not be null: a factory keeps it out of schemas."""
    return None


class TaskUpdate(BaseModel):
    """Changes to a task: absent fields stay as they are."""

    title: Title = Field(default_factory=_absent)
    description: Description | None = Field(default_factory=_absent)
    completed: StrictBool = Field(default_factory=_absent)


class TaskComplete(BaseModel):
    """The completion to set; without a body the completion is toggled."""

    completed: StrictBool = Field(default_factory=_absent)


class Task(BaseModel):
    """A task as it is stored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "user_id": "Yx3kLm9QwErTyUiOpAsDfGhJkLzXcVbN",
                    "title": "Buy milk",
                    "description": None,
                    "completed": False,
                    "created_at": "2026-11-22T20:10:42.008858Z",
                    "updated_at": "2026-11-22T20:10:42.008858Z",
                }
            ]
        }
    )

    id: int
    user_id: str
    title: str
    description: str | None
    completed: bool
    created_at: datetime
    updated_at: datetime


class TaskQuery(BaseModel):
    """Which tasks to list, in which order, and how many."""

    status: Literal["all", "pending", "completed"] = "all"
    sort: Literal["created", "updated", "title", "created_at", "updated_at"] = "created"
    order: Literal["asc", "desc"] | None = Field(
        default=None, description="Default: desc; asc when sorted by title."
    )
    q: SearchText = Field(default="", description="Part of the title or description, in any case.")
    limit: Annotated[int, Field(ge=1, le=100), BeforeValidator(_parse_limit)] | None = Field(
        default=None, description="Tasks a page; without it the whole list comes."
    )
    cursor: str | None = Field(
        default=None, max_length=2048, description="Where the page starts: from a next link."
    )
    count: Literal["true", "false"] = Field(
        default="false", description="Whether a page carries X-Total-Count."
    )


class FieldError(BaseModel):
    """One thing wrong with the input; the input itself is never repeated."""

    loc: list[str | int]
    msg: str
    type: str


class ErrorResponse(BaseModel):
    """What every error answers."""

    detail: str = Field(examples=["Task not found."])


class ValidationErrorResponse(ErrorResponse):
    """What a 422 answers."""

    errors: list[FieldError]


class Health(BaseModel):
    """Whether the service works."""

    status: Literal["ok"] = "ok"
