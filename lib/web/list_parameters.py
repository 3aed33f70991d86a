"""Reads the parameters of a query, which frontends spell in many ways.

The declarations below say which other names and values mean the same. The OpenAPI document lists
them too.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

from fastapi import Query
from pydantic import BaseModel, BeforeValidator

from lib.errors import InvalidInput
from lib.schemas import MAX_OFFSET, ChangesQuery, DeleteQuery, TaskQuery

# Other names of a parameter. They are used if its own name is absent or empty.
NAMES: dict[str, tuple[str, ...]] = {
    "q": ("search",),
    "sort": ("sort_by", "sortBy"),
    "order": ("sort_order", "sortOrder"),
    "limit": ("page_size", "per_page"),
    "offset": ("skip",),
}
# Other values of a parameter. Values of these parameters are compared without case.
VALUES: dict[str, dict[str, str]] = {
    "status": {
        "active": "pending",
        "incomplete": "pending",
        "open": "pending",
        "done": "completed",
    },
    "sort": {
        "created_at": "created",
        "createdAt": "created",
        "updated_at": "updated",
        "updatedAt": "updated",
        "due": "due_date",
        "dueDate": "due_date",
    },
    "order": {},
    "count": {},
    "permanent": {},
}
LISTS = ("priority", "tag")
_LOWER = {
    name: {other.lower(): value for other, value in values.items()}
    for name, values in VALUES.items()
}

type Values = dict[str, str | list[str]]


class Form(NamedTuple):
    """Another parameter with the same meaning, such as `page` for `offset`."""

    parameter: str
    example: str
    read: Callable[[str, Values], str | list[str]]


def _read_completed(value: str, _: Values) -> str:
    if value.lower() not in ("true", "false"):
        raise _invalid("completed", "Completed must be true or false.")
    return "completed" if value.lower() == "true" else "pending"


def _read_tags(value: str, _: Values) -> list[str]:
    return [tag for tag in value.split(",") if tag.strip()]


def _read_page(value: str, values: Values) -> str:
    limit = str(values.get("limit", ""))
    if not limit:
        raise InvalidInput("A page requires a limit.", location=("query", "limit"), kind="missing")
    size = int(limit) if _is_number(limit) else 0
    if not 1 <= size <= 100:
        return "0"  # the limit is refused
    last = MAX_OFFSET // size + 1
    number = int(value) if _is_number(value) else 0
    if not 1 <= number <= last:
        raise _invalid("page", f"Page must be a whole number from 1 to {last}.")
    return str((number - 1) * size)


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) < 10


def _invalid(name: str, sentence: str) -> InvalidInput:
    return InvalidInput(sentence, location=("query", name), kind="value_error")


FORMS = {
    "completed": Form("status", "`completed=true` or `false`", _read_completed),
    "tags": Form("tag", "`tags=a,b`, split at commas", _read_tags),
    "page": Form("offset", "`page`, from 1", _read_page),
}
# The parameters that say where a page starts.
PAGE_START = {"cursor", "offset", *NAMES["offset"], "page"}


def read_list_parameters(given: Mapping[str, str | list[str]]) -> Values:
    """Return the parameters under their own names, without those that are empty."""
    if not given:
        return {}
    values = _read_names(TaskQuery, given)
    for spelled, form in FORMS.items():
        if form.parameter not in values and (value := _value(given.get(spelled, ""))):
            values[form.parameter] = form.read(str(value), values)
    return _read_values(values)


def _read_names(model: type[BaseModel], given: Mapping[str, str | list[str]]) -> Values:
    values: Values = {}
    for name in model.model_fields:
        for spelled in (name, *NAMES.get(name, ())):
            if spelled in given and (value := _value(given[spelled], several=name in LISTS)):
                values[name] = value
                break
    return values


def _read_values(values: Values) -> Values:
    for name in VALUES.keys() & values.keys():
        value = str(values[name]).lower()
        if name == "sort" and value.startswith("-"):
            values.setdefault("order", "desc")
            value = value[1:]
        values[name] = _LOWER[name].get(value, value)
    return values


def _value(given: str | list[str], *, several: bool = False) -> str | list[str]:
    """Return all values of a repeated parameter that are not empty, or the last value."""
    values = given if isinstance(given, list) else [given]
    return [value for value in values if value] if several else values[-1]


# A validator instead of a subclass, whose fields Pydantic would collect and compile again.
TaskListQuery = Annotated[TaskQuery, BeforeValidator(read_list_parameters), Query()]
TaskChangesQuery = Annotated[
    ChangesQuery, BeforeValidator(lambda given: _read_names(ChangesQuery, given)), Query()
]
TaskDeleteQuery = Annotated[
    DeleteQuery,
    BeforeValidator(lambda given: _read_values(_read_names(DeleteQuery, given))),
    Query(),
]


def other_spellings(name: str) -> str:
    """Describe the other names and values of a parameter for its documentation."""
    values: dict[str, list[str]] = {}
    for other, value in VALUES.get(name, {}).items():
        values.setdefault(value, []).append(f"`{other}`")
    spellings = [
        *(f"`{other}`" for other in NAMES.get(name, ())),
        *(form.example for form in FORMS.values() if form.parameter == name),
    ]
    sentences = [f"Also as {' or '.join(spellings)}."] if spellings else []
    if name == "sort":
        sentences.append("A leading `-` means `order=desc`.")
    for value, others in values.items():
        verb = "mean" if len(others) > 1 else "means"
        *first, last = others
        listed = f"{', '.join(first)} and {last}" if first else last
        sentences.append(f"{listed} {verb} `{value}`.")
    return " ".join(sentences)
