"""Turns exceptions into JSON responses with a one-sentence `detail`."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from lib.errors import ApiError, BodyTooLarge, NotFound
from lib.log import log_warning
from lib.settings import SettingsError

# Pydantic's own messages are written for developers. These are for the users of a frontend.
MESSAGES = {
    "missing": "is missing",
    "string_type": "must be a string",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have {max_length} or fewer characters",
    "bool_type": "must be true or false",
    "string_unicode": "must be valid Unicode",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "list_type": "must be a list",
    "too_long": "must have {max_length} or fewer items",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
# Names that mean nothing to the users of a frontend.
LABELS = {"q": "The search text"}
MAX_LOGGED_ERRORS = 5
MAX_LOGGED_PATH = 200  # characters
# Limits for reading the rest of a body that is too large, after the response.
MAX_DISCARDED_BYTES = 1024 * 1024
MAX_DISCARD_SECONDS = 1.0


def error_response(
    status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    return JSONResponse({"detail": detail, **more}, status, headers)


async def handle_api_error(request: Request, error: ApiError) -> Response:
    request.scope["reason"] = error.reason or class_names(error)
    more = {"errors": errors} if (errors := getattr(error, "errors", None)) else {}
    return error_response(error.status, error.detail, headers=error.headers, **more)


async def handle_settings_error(request: Request, error: SettingsError) -> Response:
    faults = str(error).splitlines()
    log_warning("The settings are invalid.", faults=faults)
    request.scope["reason"] = " ".join(faults)
    return error_response(500, ApiError.detail)


class DiscardingResponse(JSONResponse):
    """A response that is sent at once, and then reads and discards the rest of the request.

    A client that is still sending when the connection is closed may never see the response. So the
    last, empty part of the response is delayed until the request is complete or a limit is reached.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_end(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = dict(message, more_body=True)
            await send(message)

        await super().__call__(scope, receive, send_without_end)
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DISCARD_SECONDS):
                await _discard(receive)
        await send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive) -> None:
    discarded, more_body = 0, True
    while more_body and discarded <= MAX_DISCARDED_BYTES:
        message = await receive()  # a disconnect has no more_body
        discarded += len(message.get("body", b""))
        more_body = message.get("more_body", False)


async def handle_body_too_large(request: Request, error: BodyTooLarge) -> Response:
    response = await handle_api_error(request, error)
    if not error.more_body:
        return response
    return DiscardingResponse({"detail": error.detail}, error.status)


def class_names(error: BaseException) -> str:
    """The classes of an error and its causes, without their messages, which may hold secrets."""
    cause = error.__cause__
    sqlstate = getattr(error, "sqlstate", None)
    name = type(error).__name__ + (f"({sqlstate})" if sqlstate else "")
    return f"{name} <- {class_names(cause)}" if cause else name


async def handle_validation_error(request: Request, error: RequestValidationError) -> Response:
    errors = readable_errors(error.errors())
    request.scope["reason"] = ", ".join(
        f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in errors[:MAX_LOGGED_ERRORS]
    )
    return error_response(422, describe_error(errors[0]), errors=errors)


def readable_errors(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return Pydantic's errors for clients.

    Without `input` and `ctx`, which may not be serializable as JSON.
    """
    return [{"loc": _location(e["loc"]), "msg": _message(e), "type": e["type"]} for e in errors]


def describe_error(error: Mapping[str, Any]) -> str:
    """Describe an item of `errors` in one sentence: "Title must have 1 or more characters."."""
    source, *path = error["loc"]
    names = [name for name in path if isinstance(name, str)]
    if not names:
        label = "The request body"
    elif source == "header":
        label = names[-1]
    else:
        label = LABELS.get(names[-1]) or names[-1].replace("_", " ").capitalize()
    message = error["msg"]
    if error["type"] == "missing":
        return f"{label} is required."
    if message.startswith("Input should "):  # one of Pydantic's own messages
        return f"{label} {message.removeprefix('Input ')}."
    return f"{label} {message}." if message[:1].islower() else f"{label}: {message}."


def _location(loc: Sequence[str | int]) -> list[str | int]:
    source, *path = loc
    return [source, *(str(name).title() if source == "header" else name for name in path)]


def _message(error: Mapping[str, Any]) -> str:
    if message := MESSAGES.get(error["type"]):
        return message.format_map(error.get("ctx", {}))
    return error["msg"].removeprefix("Value error, ")


async def handle_http_exception(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        # The path without the query string, which may hold search texts.
        path = request.scope["path"][:MAX_LOGGED_PATH]
        request.scope["reason"] = f"no route for {path}"
        return error_response(404, NotFound.detail)
    request.scope["reason"] = str(error.detail)
    if error.status_code != 405:
        return error_response(
            error.status_code, str(error.detail), headers=dict(error.headers or {})
        )
    # Starlette lists the methods of the first route with this path only.
    methods = {"OPTIONS"}
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods
    allow = {"Allow": ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=allow)
    return error_response(405, "Method not allowed.", headers=allow)
