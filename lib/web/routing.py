"""The way into a route: the caller is known before the body is read, which is strict JSON."""

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from lib.auth.tokens import AuthenticatedUser, authenticate
from lib.errors import BodyTooLarge, Forbidden, InvalidInput, UnsupportedMediaType
from lib.schemas import ErrorResponse, ValidationErrorResponse
from lib.settings import load_settings
from lib.web.parameters import ABSENT, parameter_reader

MAX_BODY_BYTES = 64 * 1024  # bytes
# How much of a larger one is read and thrown away: who is still sending when the connection
# closes never sees the answer.
PATIENCE = 16 * MAX_BODY_BYTES


# What the OpenAPI document says of such routes, and of those that take a body.
AUTH_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorResponse, "description": "No token, or one that is expired or invalid"},
    403: {
        "model": ErrorResponse,
        "description": "The path is another user's, or the user has no account",
    },
    422: {"model": ValidationErrorResponse, "description": "The input is wrong"},
    500: {"model": ErrorResponse, "description": "A fault of this API"},
    503: {"model": ErrorResponse, "description": "Try again after `Retry-After` seconds"},
}
BODY_RESPONSES: dict[int | str, dict[str, Any]] = {
    413: {"model": ErrorResponse, "description": "The body is larger than 64 KiB"},
    415: {"model": ErrorResponse, "description": "The body is not declared as JSON"},
}


class AuthenticatedRoute(APIRoute):
    """A route under `/api/{user_id}` that only this user may enter.

    FastAPI reads and parses the body before any dependency runs. Here the order is: who calls,
    whose path it is, how large the body is, whether it is JSON; only then come FastAPI's checks.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_body = self.body_field is not None
        # Once it is there, the route is being included in a router that may want more.
        made = "app" in vars(self)
        read_arguments = None if made else parameter_reader(self, {_caller_of: "caller"})

        async def enter(request: Request) -> Response:
            caller = await authenticate(request.headers.get("authorization"), load_settings())
            if request.path_params["user_id"] != caller.id:
                raise Forbidden
            request.scope["caller"] = caller
            document = ABSENT
            if takes_body:
                body = await read_body(request)
                document = parse_json(body) if body else ABSENT
                request = JsonRequest(request.scope, body, document)
            if read_arguments and (arguments := read_arguments(request, document)) is not None:
                return await self.endpoint(**arguments)
            return await handle(request)

        return enter


class JsonRequest(Request):
    """A request whose body was read and checked, so that FastAPI takes it as it is."""

    def __init__(self, scope: Any, body: bytes, document: Any) -> None:
        super().__init__(scope)
        self._body, self._json = body, document


async def read_body(request: Request) -> bytes:
    """The body of a request. Raises BodyTooLarge, or UnsupportedMediaType for another type."""
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            body += chunk
        elif size > PATIENCE:
            break
    if size > MAX_BODY_BYTES:
        raise BodyTooLarge
    if body:
        content_type = request.headers.get("content-type", "application/json")
        media_type = content_type.partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "identity")
        if media_type != "application/json" or encoding.lower() != "identity":
            raise UnsupportedMediaType
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """Strict JSON (RFC 8259): UTF-8 without a mark, no NaN, no name twice. Raises InvalidInput."""
    try:
        return json.loads(
            body.decode(), object_pairs_hook=_object_of_distinct_names, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            "The request body is not valid JSON.", location=("body",), kind="json_invalid"
        ) from error


def _object_of_distinct_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return members


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


async def _caller_of(request: Request) -> AuthenticatedUser:
    return request.scope["caller"]


# Async although it waits for nothing: FastAPI would run a plain function in a thread.
CurrentUser = Annotated[AuthenticatedUser, Depends(_caller_of)]
