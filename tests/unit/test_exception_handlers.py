"""Sentences for validation errors: every kind that a route can cause, and some that none causes."""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from dev.app import GROUPS
from lib.web.exception_handlers import MESSAGES, _message, describe_error
from lib.web.routing import AuthenticatedRoute

# The types of errors of each kind of schema in pydantic-core. A constraint adds its own.
ERRORS = {
    "str": {"string_type", "string_unicode"},
    "int": {"int_type", "int_parsing", "int_parsing_size", "int_from_float"},
    "bool": {"bool_type"},
    "literal": {"literal_error"},
    "list": {"list_type"},
    "model": {"model_type", "model_attributes_type"},
    "model-field": {"missing"},
    # These validate by means of a function, which raises ValueError with its own message, or of
    # the schema that they contain.
    "function-before": set(),
    "function-after": set(),
    "model-fields": set(),
    "nullable": set(),
    "default": set(),
    "definitions": set(),
}
CONSTRAINTS = {
    ("str", "min_length"): "string_too_short",
    ("str", "max_length"): "string_too_long",
    ("list", "min_length"): "too_short",
    ("list", "max_length"): "too_long",
    ("int", "ge"): "greater_than_equal",
    ("int", "le"): "less_than_equal",
}


def schemas_in(part: Any) -> Iterator[dict[str, Any]]:
    """Every schema of pydantic-core inside of a schema."""
    if isinstance(part, dict):
        if isinstance(part.get("type"), str):
            yield part
        for name, value in part.items():
            if name not in ("function", "metadata", "serialization", "default", "expected"):
                yield from schemas_in(value)
    elif isinstance(part, list):
        for each in part:
            yield from schemas_in(each)


def validated_fields() -> list[Any]:
    """Every parameter and body of a route that requires a token."""
    found: list[Any] = []
    routes = [each for group in GROUPS for each in group.router.routes]
    for route in (each for each in routes if isinstance(each, AuthenticatedRoute)):
        for dependant in (route.dependant, *route.dependant.dependencies):
            for kind in ("path_params", "query_params", "header_params", "body_params"):
                found += getattr(dependant, kind)
    return found


def test_every_error_that_a_route_can_cause_has_a_message_for_people() -> None:
    fields = validated_fields()
    assert {field.name for field in fields} >= {"task_id", "query", "new_task", "changes"}
    kinds, errors = set(), set()
    for field in fields:
        for schema in schemas_in(field._type_adapter.core_schema):
            kinds.add(schema["type"])
            errors |= ERRORS[schema["type"]]
            for (kind, constraint), error in CONSTRAINTS.items():
                if schema["type"] == kind and constraint in schema:
                    errors.add(error)
    assert kinds >= {"str", "int", "bool", "literal", "list", "model"}
    assert errors - MESSAGES.keys() == set()


@pytest.mark.parametrize(
    ("location", "message", "kind", "sentence"),
    [
        (["body"], "is missing", "missing", "The request body is required."),
        (["body", "due_date"], "is missing", "missing", "Due date is required."),
        (["body", "tags", 3], "must be a string", "string_type", "Tags must be a string."),
        (["body", 0], "must be an object", "dict_type", "The request body must be an object."),
        (["header", "If-Match"], "must be x", "value_error", "If-Match must be x."),
        # Pydantic's own messages
        (
            ["query", "since"],
            "Input should be a valid date",
            "date_type",
            "Since should be a valid date.",
        ),
        (
            ["body", "tags"],
            "Extra inputs are not permitted",
            "extra_forbidden",
            "Tags: Extra inputs are not permitted.",
        ),
    ],
)
def test_an_error_is_described_in_one_sentence(
    location: list[str | int], message: str, kind: str, sentence: str
) -> None:
    assert describe_error({"loc": location, "msg": message, "type": kind}) == sentence


def test_a_long_list_has_a_message_with_its_limit() -> None:
    adapter = TypeAdapter(Annotated[list[str], Field(max_length=2)])
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(["a", "b", "c"])
    [error] = caught.value.errors()
    assert _message(error) == "must have 2 or fewer items"
