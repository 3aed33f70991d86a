"""Reads the parameters of a route with the validators that FastAPI has created for it.

On each request, FastAPI inspects the annotation of every parameter and solves every dependency.
This module does both once, when the route is created. It saves 176,000 instructions of a warm list
and 426,000 of a toggle (bench/NOTES.md).

FastAPI still handles all invalid input, and routes of a form that this module does not support. The
API behaves the same without this module, which AuthenticatedRoute uses in one line.
"""

from collections.abc import Callable, Mapping
from inspect import (
    isasyncgenfunction,
    iscoroutinefunction,
    isfunction,
    isgeneratorfunction,
)
from typing import Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

ABSENT = object()  # the document of an empty body; None is the document `null`
# The types of a parameter with a single value. FastAPI has other rules for lists.
SINGLE = (int, str, int | None, str | None)

type Reader = Callable[[Request, Any], dict[str, Any] | None]
type Finder = Callable[[Request, Any], Any]


def _query_finder(field: Any) -> Finder:
    """Finds the last value of each field of the model, or all values of a list."""
    fields = {
        name: each for choice in _choices(field) for name, each in choice.model_fields.items()
    }
    lists = {name for name, each in fields.items() if get_origin(each.annotation) is list}

    def find(request: Request, _: Any) -> dict[str, Any]:
        if not request.scope["query_string"]:
            return {}  # without the 20,000 instructions of Starlette's parser
        items = request.query_params.multi_items()
        query: dict[str, Any] = dict(items)
        for name in lists & query.keys():
            query[name] = request.query_params.getlist(name)
        if len(query) < len(items):
            for name in query.keys() - fields.keys():  # FastAPI passes them on to the model
                values = request.query_params.getlist(name)
                query[name] = values if len(values) > 1 else values[0]
        return query

    return find


# For each kind of parameter: a function that takes a parameter and returns the function that finds
# its value in a request and the JSON document of its body.
FINDERS: dict[str, Callable[[Any], Finder]] = {
    "path_params": lambda field: lambda request, _: request.path_params[field.alias],
    "query_params": _query_finder,
    "header_params": lambda field: lambda request, _: request.headers.get(field.alias, ABSENT),
    "body_params": lambda _: lambda _, document: document,
}


def parameter_reader(route: APIRoute, scope_keys: Mapping[Any, str]) -> Reader | None:
    """Create the function that reads the arguments of `route`, or return None if unsupported.

    The function returns None if an argument is missing or invalid. `scope_keys` maps a dependency
    to the key of the ASGI scope that holds its result.

    A supported route returns a Response, and takes only: single values from the path and the
    headers, one model from the query, one model from the body, the request, dependencies in
    `scope_keys`, and dependencies that take only headers.
    """
    if not _is_supported(route, scope_keys):
        return None
    dependant = route.dependant
    from_scope, computed = {}, []
    for dependency in dependant.dependencies:
        if dependency.call in scope_keys:
            from_scope[str(dependency.name)] = scope_keys[dependency.call]
        else:
            computed.append((str(dependency.name), dependency.call, _fields(dependency)))
    fields = _fields(dependant)

    def read(request: Request, document: Any) -> dict[str, Any] | None:
        arguments = {name: request.scope[key] for name, key in from_scope.items()}
        if dependant.request_param_name:
            arguments[dependant.request_param_name] = request
        for name, compute, parameters in computed:
            values = _read(parameters, request, document)
            if values is None:
                return None
            arguments[name] = compute(**values)
        values = _read(fields, request, document)
        return None if values is None else arguments | values

    return read


def _fields(dependant: Dependant) -> list[tuple[str, Finder, Any]]:
    return [
        (field.name, find(field), field)
        for kind, find in FINDERS.items()
        for field in getattr(dependant, kind)
    ]


def _read(
    fields: list[tuple[str, Finder, Any]], request: Request, document: Any
) -> dict[str, Any] | None:
    values = {}
    for name, find, field in fields:
        value = find(request, document)
        if value is not ABSENT:
            values[name], errors = field.validate(value)
            if errors:
                return None
        elif field.field_info.is_required():
            return None
        else:
            values[name] = field.get_default()
    return values


def _is_supported(route: APIRoute, scope_keys: Mapping[Any, str]) -> bool:
    dependant = route.dependant
    supported = Dependant(
        path_params=[field for field in dependant.path_params if _annotation(field) in SINGLE],
        header_params=[field for field in dependant.header_params if _annotation(field) in SINGLE],
        query_params=[field for field in dependant.query_params[:1] if _is_model(field)],
        body_params=[
            field
            for field in dependant.body_params
            if field is route.body_field and _is_model(field)
        ],
        dependencies=[
            dependency
            for dependency in dependant.dependencies
            if dependency.call in scope_keys or _takes_only_headers(dependency)
        ],
        request_param_name=dependant.request_param_name,
        call=dependant.call,
        path=dependant.path,
        scope=dependant.scope,
    )
    result = route.endpoint.__annotations__.get("return")
    returns_response = isinstance(result, type) and issubclass(result, Response)
    return dependant == supported and returns_response and iscoroutinefunction(route.endpoint)


def _takes_only_headers(dependant: Dependant) -> bool:
    headers = [field for field in dependant.header_params if _annotation(field) in SINGLE]
    supported = Dependant(
        header_params=headers,
        name=dependant.name,
        call=dependant.call,
        path=dependant.path,
        own_oauth_scopes=dependant.own_oauth_scopes,
        parent_oauth_scopes=dependant.parent_oauth_scopes,
    )
    scopes = dependant.own_oauth_scopes or dependant.parent_oauth_scopes
    return dependant == supported and not scopes and _is_plain_function(dependant.call)


def _is_plain_function(call: Any) -> bool:
    is_async = iscoroutinefunction(call) or isasyncgenfunction(call)
    return isfunction(call) and not is_async and not isgeneratorfunction(call)


def _annotation(field: Any) -> Any:
    return field.field_info.annotation


def _is_model(field: Any) -> bool:
    """Whether the field is a model, with or without None."""
    choices = _choices(field)
    return all(isinstance(choice, type) and issubclass(choice, BaseModel) for choice in choices)


def _choices(field: Any) -> set[Any]:
    return set(get_args(_annotation(field)) or [_annotation(field)]) - {type(None)}
