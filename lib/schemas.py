"""The shapes of requests and responses."""

import re
from datetime import UTC, date, datetime
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import WithJsonSchema

from lib.errors import ApiError, InvalidInput, TaskNotFound

BIGINT_MAX = 2**63 - 1


# The characters that JavaScript's String.prototype.trim removes, so that a frontend can predict
# the result.
_TRIMMED = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
# Invisible characters: white space (with U+0085, which JavaScript keeps), the code points
# with the Unicode property Default_Ignorable_Code_Point, and the blank pattern of Braille. Not
# Python's \s, which has the control characters U+001C to U+001F too. Like the patterns of dates, it
# is compiled when it is first needed, because most functions start for other requests.
_INVISIBLE = (
    rf"[{_TRIMMED}\u0085"
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)


def has_surrogate(text: str) -> bool:
    """Whether the text has half of a surrogate pair, which UTF-8 cannot encode."""
    return not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text)


def _check_storable(value: object) -> object:
    # PostgreSQL can store neither.
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("must not contain the NUL character")
        if has_surrogate(value):
            raise ValueError("must not contain half of a surrogate pair")
    return value


def _trim(value: object) -> object:
    """Remove white space at both ends. A text of invisible characters alone becomes empty."""
    if not isinstance(_check_storable(value), str):
        return value
    text = str(value).strip(_TRIMMED)
    return "" if re.fullmatch(_INVISIBLE, text) else text


def parse_id(not_found: type[ApiError], value: object) -> object:
    """Read the id in a path. Raises `not_found` for a number beyond bigint, which no row has."""
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


def _parse_whole_number(value: object) -> object:
    # Pydantic alone would read "+5", " 5" and "5.0" as five.
    if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
        raise ValueError("must be a whole number")
    return value


# From the least urgent: their order in lists, and the numbers that are stored, from 1.
PRIORITIES = ("low", "medium", "high", "urgent")


def _parse_priority(value: object) -> object:
    return value.lower() or None if isinstance(value, str) else value


def _parse_priorities(value: object) -> object:
    """Several priorities, separated by commas or as several parameters."""
    values = value if isinstance(value, list) else [value]
    # An argument of a tool may be null, which must not become "none".
    if not all(isinstance(each, str) for each in values):
        return values
    return [name for each in values for name in each.lower().split(",") if name]


def _parse_tag_filter(value: object) -> object:
    values = value if isinstance(value, list) else [value]
    return [tag for tag in values if tag != ""]


_DATE = r"\d{4}-\d\d-\d\d"
_DATE_TIME = r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?(?P<offset>[Zz]|[+-]\d\d:?\d\d)?"


def _parse_date(value: object) -> str | None:
    """A date as it is, or a date-time in UTC: "2026-12-24T13:30:00.000000Z"."""
    if value is None or value == "":
        return None
    is_date = isinstance(value, str) and re.fullmatch(_DATE, value, re.ASCII)
    date_time = isinstance(value, str) and re.fullmatch(_DATE_TIME, value, re.ASCII)
    if not isinstance(value, str) or not (is_date or date_time):
        raise ValueError(
            "must be a date such as 2026-12-24, or a date-time such as 2026-12-24T18:30:00Z"
        )
    if date_time and not date_time["offset"]:
        raise ValueError(
            "must have an offset if it has a time: 2026-12-24T18:30:00Z or ...T18:30:00+05:00"
        )
    try:
        if is_date:
            return date.fromisoformat(value).isoformat()
        return _in_utc(datetime.fromisoformat(value.upper()))
    except (ValueError, OverflowError):
        raise ValueError("must exist in the calendar, within the years 1 to 9999 in UTC") from None


def _in_utc(instant: datetime) -> str:
    # As PostgreSQL writes the other timestamps: strftime would not pad the year.
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _parse_start(value: object) -> str | None:
    """The first instant of a date, or a date-time in UTC."""
    parsed = _parse_date(value)
    return f"{parsed}T00:00:00.000000Z" if parsed and len(parsed) == len("2026-12-24") else parsed


def _parse_end(value: object) -> str | None:
    """The last instant of a date, or a date-time in UTC."""
    parsed = _parse_date(value)
    return f"{parsed}T23:59:59.999999Z" if parsed and len(parsed) == len("2026-12-24") else parsed


MAX_TAGS, MAX_TAG_LENGTH = 20, 50


def _parse_tags(value: object) -> list[str]:
    """The tags, trimmed, each once."""
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise ValueError("must be a list of texts")
    tags = list(dict.fromkeys(str(_trim(tag)) for tag in value))
    if not all(0 < len(tag) <= MAX_TAG_LENGTH for tag in tags):
        raise ValueError(f"must have 1 to {MAX_TAG_LENGTH} characters each")
    if len(tags) > MAX_TAGS:
        raise ValueError(f"must have {MAX_TAGS} or fewer items")
    return tags


# The patterns of the OpenAPI document: the part of the rules above that a regular expression can
# express.
NO_NUL: dict[str, Any] = {"pattern": r"^[^\u0000]*$"}
NO_NUL_NOR_BLANK: dict[str, Any] = {
    "pattern": (
        r"^[^\u0000]*[^\s\u0000\u0085\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
        r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
        r"\ufff0-\ufff8][^\u0000]*$"
    )
}

ID = WithJsonSchema({"type": "integer", "format": "int64", "minimum": 1, "maximum": BIGINT_MAX})
TaskId = Annotated[int, BeforeValidator(partial(parse_id, TaskNotFound)), ID]
Title = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    BeforeValidator(_trim),
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
Priority = Annotated[
    Literal["low", "medium", "high", "urgent"] | None,
    BeforeValidator(_parse_priority),
    Field(description="Upper and lower case are equal.", examples=["high"]),
]
DATE_OR_DATE_TIME: dict[str, Any] = {
    "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]
}
DueDate = Annotated[
    Annotated[str, WithJsonSchema(DATE_OR_DATE_TIME)] | None,
    BeforeValidator(_parse_date),
    Field(
        description="A date, which is the same day in every time zone, or a date-time with offset.",
        examples=["2026-12-24"],
    ),
]
Tag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_TAG_LENGTH),
    BeforeValidator(_trim),
    Field(json_schema_extra=NO_NUL_NOR_BLANK),
]
TAG: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TAG_LENGTH,
    **NO_NUL_NOR_BLANK,
}
Tags = Annotated[
    list[str],
    BeforeValidator(_parse_tags),
    WithJsonSchema({"type": "array", "items": TAG, "maxItems": MAX_TAGS}),
    Field(description="Trimmed; each is kept once.", examples=[["home", "errands"]]),
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
    priority: Priority = None
    due_date: DueDate = None
    tags: Tags = []


def _absent() -> Any:
    """Return the value of a field that is absent but must not be null.

    It is a factory, because a plain default of None would appear in the OpenAPI document.
    """
    return None


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class TaskUpdate(TaskCreate):
    """Changes to a task. Absent fields stay as they are."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    title: Title = Field(default_factory=_absent)


class TaskComplete(BaseModel):
    """Whether the task is completed. Without a body, the request toggles it."""

    completed: StrictBool = Field(default_factory=_absent)

    @model_validator(mode="before")
    @classmethod
    def _check_given(cls, value: Any) -> Any:
        # Such a body means to set the completion. A toggle would often do the opposite.
        if isinstance(value, dict) and value and "completed" not in value:
            raise InvalidInput(
                "Completed is required.", location=("body", "completed"), kind="missing"
            )
        return value


class Task(BaseModel, defer_build=True):
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
                    "priority": "high",
                    "due_date": "2026-12-24",
                    "tags": ["home", "errands"],
                    "completed_at": None,
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
    priority: Literal["low", "medium", "high", "urgent"] | None
    due_date: Annotated[str, WithJsonSchema(DATE_OR_DATE_TIME)] | None
    tags: list[str]
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime


SORT_KEYS = {"created": "created_at", "updated": "updated_at"}
MAX_OFFSET = 10_000
WholeNumber = BeforeValidator(_parse_whole_number)
Filter = Annotated[str | None, WithJsonSchema(DATE_OR_DATE_TIME)]


class TaskQuery(BaseModel):
    """Which tasks to list, in which order, and how many."""

    status: Literal["all", "pending", "completed", "deleted"] = Field(
        default="all", description="`deleted` lists the trash, which `all` leaves out."
    )
    priority: Annotated[
        list[Literal["low", "medium", "high", "urgent", "none"]],
        BeforeValidator(_parse_priorities),
    ] = Field(default_factory=list, description="Tasks of one of these priorities.")
    tag: Annotated[list[Tag], BeforeValidator(_parse_tag_filter)] = Field(
        default_factory=list, description="Tasks that have all of these tags."
    )
    due_from: Annotated[Filter, BeforeValidator(_parse_start)] = Field(
        default=None, description="Tasks due at this date or date-time, or later."
    )
    due_to: Annotated[Filter, BeforeValidator(_parse_end)] = Field(
        default=None,
        description="Tasks due at this date-time or earlier, or by the end of this date.",
    )
    q: SearchText = Field(default="", description="Part of the title or description, case ignored.")
    sort: Literal[
        "created", "updated", "title", "due_date", "priority", "created_at", "updated_at"
    ] = "created"
    order: Literal["asc", "desc"] | None = Field(
        default=None, description="Default: desc; asc when sorted by title or due date."
    )
    limit: Annotated[int, Field(ge=1, le=100), WholeNumber] | None = Field(
        default=None,
        description="The maximum number of tasks per page. Without it, all tasks are returned.",
    )
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET), WholeNumber] | None = Field(
        default=None, description="The number of tasks to skip. Requires a limit."
    )
    cursor: str | None = Field(
        default=None,
        max_length=2048,
        description="The start of the page, from the `next` link.",
    )
    count: Literal["true", "false"] = Field(
        default="false", description="Whether a page carries X-Total-Count."
    )

    @property
    def sort_key(self) -> str:
        return SORT_KEYS.get(self.sort, self.sort)

    @property
    def direction(self) -> str:
        return self.order or ("asc" if self.sort_key in ("title", "due_date") else "desc")

    def list_identity(self) -> dict[str, Any]:
        """The filters and the order. They are equal for two queries of the same list.

        Filters are included by default, so a new filter needs no change here.
        """
        filters = self.model_dump(exclude={"sort", "order", "limit", "offset", "cursor", "count"})
        several = {name: sorted(set(filters[name])) for name in ("priority", "tag")}
        return filters | several | {"sort": self.sort_key, "order": self.direction}


class DeleteQuery(BaseModel):
    """How to delete a task."""

    permanent: Literal["true", "false"] = Field(
        default="false",
        description="Whether to erase the task at once, in or out of the trash.",
    )


class ChangesQuery(BaseModel):
    """Which changes to list, and how many."""

    since: str | None = Field(
        default=None,
        max_length=4096,
        description="The `next` of the last response. Without it, all tasks are returned.",
    )
    limit: Annotated[int, Field(ge=1, le=500), WholeNumber] = Field(
        default=500, description="The maximum number of changes."
    )


class TaskChanges(BaseModel, defer_build=True):
    """What has changed: the tasks as they are now, and the ids of deleted tasks."""

    tasks: list[Task]
    deleted: list[int]
    next: str = Field(description="Where to continue: the next `since`.")
    more: bool = Field(description="Whether to continue at once. If false, you have everything.")


class TaskStatistics(BaseModel, defer_build=True):
    """How many tasks there are. `by_priority` and `by_tag` count open tasks."""

    total: int
    pending: int
    completed: int
    overdue: int = Field(
        description="Open tasks whose date has ended in UTC, or whose date-time has passed."
    )
    by_priority: dict[Literal["urgent", "high", "medium", "low", "none"], int]
    by_tag: dict[str, int] = Field(description="The 100 most frequent tags.")


class FieldError(BaseModel, defer_build=True):
    """One error in the input. It never repeats the input itself."""

    loc: list[str | int]
    msg: str
    type: str


class ErrorResponse(BaseModel, defer_build=True):
    """The body of every error response."""

    detail: str = Field(examples=["Task not found."])


class ValidationErrorResponse(ErrorResponse):
    """The body of a 422 response."""

    errors: list[FieldError]


class Health(BaseModel, defer_build=True):
    """The state of the service."""

    status: Literal["ok"] = "ok"


# These two are named tuples: each takes 2.6 M instructions less at import than a dataclass.


class AuthenticatedUser(NamedTuple):
    """The user of a request, from the claims of the token."""

    id: str
    name: str
    email: str | None
    email_verified: bool


class Precondition(NamedTuple):
    """The condition for a change.

    The ETag of the task must be in `etags`, or must not be if `must_match` is false. With
    `etags=None` there is no condition. `any_etag` marks `If-Match: *`, which every task meets.
    """

    etags: list[str] | None
    must_match: bool = True
    any_etag: bool = False

    def is_met_by(self, etag: str) -> bool:
        return self.etags is None or (etag in self.etags) == self.must_match


ALWAYS = Precondition(None)


class Snapshot(NamedTuple):
    """Which transactions were visible (PostgreSQL's pg_snapshot as text), and when, in seconds.

    Transactions after the user's last change at that time are left out.
    """

    text: str
    taken_at: int


class FeedPosition(NamedTuple):
    """How far a client has followed the changes.

    It knows every change that is visible in the snapshot `known`. Between the pages of a round,
    `reached` is the snapshot of the first page, and `after` is the last change: the id of its
    transaction, and the id of the task. `history` names the history of the database.
    """

    history: str
    known: Snapshot | None
    reached: Snapshot | None = None
    after: tuple[str, int] | None = None
