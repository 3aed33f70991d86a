"""Sentences for validation errors that the task routes do not cause."""

from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from lib.web.exception_handlers import _message, describe_error


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
