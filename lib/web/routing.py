"""The route class for everything that belongs to a user.

FastAPI parses the body before it calls any dependency. This class checks a request in another
order: the token (401), the user in the path (403), the size of the body (413), its type (415), its
JSON (422). FastAPI's validation follows.
"""

import json
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import ClientDisconnect

from lib.auth.tokens import authenticate
from lib.errors import BodyTooLarge, Forbidden, InvalidInput, NotFound, UnsupportedMediaType
from lib.schemas import AuthenticatedUser, ErrorResponse, ValidationErrorResponse
from lib.settings import load_settings
from lib.web.parameters import ABSENT, parameter_reader

MAX_BODY_BYTES = 64 * 1024

# The error responses of these routes in the OpenAPI document, and those of routes with a body.
AUTH_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorResponse, "description": "The token is missing, expired or invalid"},
    403: {
        "model": ErrorResponse,
        "description": "The path names another user, or the user has no account",
    },
    422: {"model": ValidationErrorResponse, "description": "The input is invalid"},
    429: {
        "model": ErrorResponse,
        "description": "Too many concurrent requests: try again after `Retry-After` seconds",
    },
    500: {"model": ErrorResponse, "description": "Internal error"},
    503: {"model": ErrorResponse, "description": "Try again after `Retry-After` seconds"},
}
BODY_RESPONSES: dict[int | str, dict[str, Any]] = {
    413: {"model": ErrorResponse, "description": "The body is larger than 64 KiB"},
    415: {"model": ErrorResponse, "description": "The body is not declared as JSON"},
}


# Looks like the version of an API, which many clients put into the path.
_VERSION = re.compile(r"v\d+", re.ASCII)


class _OptionalUser(Convertor[str]):
    """`/{user_id}` or nothing: `/api{user_id:optional_user}/tasks` is also `/api/tasks`.

    It never matches the user id `tasks`: `/api/tasks/tasks` is a task with an invalid id.
    """

    regex = "(?:/(?!tasks/)[^/]+)?"

    def convert(self, value: str) -> str:
        return value[1:]

    def to_string(self, value: str) -> str:
        return f"/{value}" if value else ""


class _TaskId(Convertor[str]):
    """An id in a path of tasks, valid or not, but not the name of another route beside it."""

    regex = "(?!(?:stats|changes)(?:/|$))[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("optional_user", _OptionalUser())
register_url_convertor("task_id", _TaskId())


class AuthenticatedRoute(APIRoute):
    """A route under `/api/{user_id}`, for the user with this id only.

    Where the path may omit the user, it is the user of the token.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.options = options  # dev/openapi.py documents the route with all of them
        # FastAPI would build a Pydantic model for every declared response. The routes return a
        # Response, so only the document needs the models: 38 million instructions of a cold start.
        options = options | {"response_model": None, "responses": None}
        super().__init__(path, endpoint, **options)
        # For the log and the OpenAPI document: the slash belongs to the optional part.
        self.path_format = self.path_format.replace("/api{user_id}", "/api/{user_id}")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_body = self.body_field is not None
        # A body that has no meaning is refused for the same faults as any other.
        reads_body = takes_body or not set(self.methods or ()) <= {"GET", "HEAD"}
        # FastAPI calls this method when it creates the route, before it sets `self.app`, and again
        # for each router that includes the route. Such a router may add dependencies, which
        # `self.dependant` does not contain, so FastAPI reads the parameters of an included route.
        included = "app" in vars(self)
        read_parameters = None if included else parameter_reader(self, {get_current_user: "user"})

        async def handle_request(request: Request) -> Response:
            user = await authenticate(request.headers.get("authorization"), load_settings())
            if (owner := request.path_params["user_id"]) not in ("", user.id):
                if _VERSION.fullmatch(owner):
                    raise NotFound("The paths of this API contain no version. Use /api/tasks.")
                raise Forbidden
            request.scope["user"] = user
            document = ABSENT
            if reads_body:
                body = await read_body(request)
                document = parse_json(body) if body else ABSENT
                request = JsonRequest(request.scope, body, document)
            if read_parameters and (arguments := read_parameters(request, document)) is not None:
                return await self.endpoint(**arguments)
            return await handle(request)

        return handle_request


class JsonRequest(Request):
    """A request whose body has been read and parsed, so that FastAPI does neither."""

    def __init__(self, scope: Any, body: bytes, document: Any) -> None:
        super().__init__(scope)
        self._body, self._json = body, document


async def read_body(request: Request) -> bytes:
    """Read the body of a request. Raises BodyTooLarge or UnsupportedMediaType."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
        raise BodyTooLarge(more_body=True)
    body, more_body = bytearray(), True
    while more_body:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more_body = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(more_body=more_body)
    if body:
        content_type = request.headers.get("content-type", "application/json")
        media_type = content_type.partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "identity")
        if media_type != "application/json" or encoding.lower() != "identity":
            raise UnsupportedMediaType
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """Parse strict JSON (RFC 8259): UTF-8 without a byte order mark, no NaN, no duplicate names.

    Raises InvalidInput.
    """
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
        raise ValueError("an object has a duplicate name")
    return members


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


async def get_current_user(request: Request) -> AuthenticatedUser:
    if "user" not in request.scope:
        raise TypeError("CurrentUser needs a router with route_class=AuthenticatedRoute.")
    return request.scope["user"]


# `get_current_user` is async because FastAPI would run a plain function in a thread.
CurrentUser = Annotated[AuthenticatedUser, Depends(get_current_user)]
