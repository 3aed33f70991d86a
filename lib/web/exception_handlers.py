"""Errors as answers: one sentence of JSON each, whatever rose; knows no route and no platform."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib import log
from lib.errors import ApiError

# Pydantic's words are for whoever wrote the model; these are for whoever fills it.
SENTENCES = {
    "missing": "is missing",
    "string_type": "must be a string",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have {max_length} or fewer characters",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "model_attributes_type": "must be an object",
}


def error_response(
    status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    return JSONResponse({"detail": detail, **more}, status, headers)


async def handle_api_error(request: Request, error: ApiError) -> Response:
    if error.reason or error.__cause__:
        request.scope["reason"] = error.reason or _chain(error)
    more = {"errors": errors} if (errors := getattr(error, "errors", None)) else {}
    return error_response(error.status, error.detail, headers=error.headers, **more)


def _chain(error: BaseException) -> str:
    """The classes of an error and its causes: enough to tell why, and never a secret."""
    cause = error.__cause__
    sqlstate = getattr(error, "sqlstate", None)
    name = type(error).__name__ + (f"({sqlstate})" if sqlstate else "")
    return f"{name} <- {_chain(cause)}" if cause else name


async def handle_validation_error(_: Request, error: RequestValidationError) -> Response:
    errors = [
        # Not the input and not its context: both may hold what cannot be written as JSON.
        {"loc": _location(e["loc"]), "msg": _sentence(e), "type": e["type"]}
        for e in error.errors()
    ]
    first = errors[0]
    return error_response(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", errors=errors)


def _location(loc: Sequence[str | int]) -> list[str | int]:
    place, *names = loc
    return [place, *(str(n).title() if place == "header" else n for n in names)]


def _sentence(fault: Mapping[str, Any]) -> str:
    if sentence := SENTENCES.get(fault["type"]):
        return sentence.format_map(fault.get("ctx", {}))
    return fault["msg"].removeprefix("Value error, ")


async def handle_http_exception(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        return error_response(404, "Not found.")
    if error.status_code != 405:
        return error_response(
            error.status_code, str(error.detail), headers=dict(error.headers or {})
        )
    # Starlette names the methods of the first route of the path only.
    methods = {"OPTIONS"}
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods
    allow = {"Allow": ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=allow)
    return error_response(405, "Method not allowed.", headers=allow)


class UnexpectedErrorMiddleware:
    """Answers what no handler expected: 500, and nothing of the inside."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except ClientDisconnect:
            pass  # nobody is left to be answered, and nothing is wrong here
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            log.log_failure("unexpected error", error)
            await error_response(500, ApiError.detail)(scope, receive, send)
