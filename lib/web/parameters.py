"""The arguments of a route, read by the validators that FastAPI made for it; knows no route.

FastAPI looks at the annotation of every parameter anew for each request, and solves a dependency as
if it were a route: a fifth of the instructions of a warm request. Here that is done when the route
is made, for routes of the usual form; any other one, and any wrong input, is left to FastAPI.
"""

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, get_args

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

ABSENT = object()  # the document of an empty body: null is a document too
# What one text becomes. Of lists FastAPI knows more.
SINGLE = (int, str, int | None, str | None)

type Reader = Callable[[Request, Any], dict[str, Any] | None]
type Finder = Callable[[Request, Any], Any]

# How a parameter of each kind is found by its name, in a request and its JSON document.
FINDERS: dict[str, Callable[[str], Finder]] = {
    "path_params": lambda name: lambda request, _: request.path_params[name],
    "query_params": lambda _: lambda request, _: dict(request.query_params),
    "header_params": lambda name: lambda request, _: request.headers.get(name, ABSENT),
    "body_params": lambda _: lambda _, document: document,
}


def parameter_reader(route: APIRoute, in_scope: Mapping[Any, str]) -> Reader | None:
    """A function that gives the arguments of `route`, or None where one is missing or wrong.

    `in_scope` says what a dependency takes out of the ASGI scope. A route has no reader if it wants
    more than single values from path and headers, one model from the query, one from the body, the
    request and such dependencies, or if it answers with anything but a Response.
    """
    if not _is_usual(route, in_scope):
        return None
    wanted = route.dependant
    given = {str(needed.name): in_scope[needed.call] for needed in wanted.dependencies}
    fields = [
        (field.name, find(field.alias), field)
        for kind, find in FINDERS.items()
        for field in getattr(wanted, kind)
    ]

    def read(request: Request, document: Any) -> dict[str, Any] | None:
        arguments = {name: request.scope[key] for name, key in given.items()}
        if wanted.request_param_name:
            arguments[wanted.request_param_name] = request
        for name, find, field in fields:
            value = find(request, document)
            if value is not ABSENT:
                arguments[name], errors = field.validate(value)
                if errors:
                    return None
            elif field.field_info.is_required():
                return None
            else:
                arguments[name] = field.get_default()
        return arguments

    return read


def _is_usual(route: APIRoute, in_scope: Mapping[Any, str]) -> bool:
    wanted = route.dependant
    usual = Dependant(
        path_params=[field for field in wanted.path_params if _annotation(field) in SINGLE],
        header_params=[field for field in wanted.header_params if _annotation(field) in SINGLE],
        query_params=[field for field in wanted.query_params[:1] if _is_model(field)],
        body_params=[
            field for field in wanted.body_params if field is route.body_field and _is_model(field)
        ],
        dependencies=[needed for needed in wanted.dependencies if needed.call in in_scope],
        request_param_name=wanted.request_param_name,
        call=wanted.call,
        path=wanted.path,
        scope=wanted.scope,
    )
    answer = route.endpoint.__annotations__.get("return")
    answers_itself = isinstance(answer, type) and issubclass(answer, Response)
    return wanted == usual and answers_itself and iscoroutinefunction(route.endpoint)


def _annotation(field: Any) -> Any:
    return field.field_info.annotation


def _is_model(field: Any) -> bool:
    """Whether it is a model, or a model or null."""
    choices = set(get_args(_annotation(field)) or [_annotation(field)]) - {type(None)}
    return all(isinstance(choice, type) and issubclass(choice, BaseModel) for choice in choices)
