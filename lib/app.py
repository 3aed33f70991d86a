"""What every function shares between the platform and its routes: request ids, CORS, errors,
headers; knows no route.
"""

import re
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib import log
from lib.errors import ApiError
from lib.settings import SettingsError, load_settings, require

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# On every answer that does not set them itself; as raw as ASGI wants them.
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"strict-transport-security", b"max-age=63072000"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
EXPOSED_HEADERS = (
    "ETag", "Link", "Location", "X-Total-Count", "X-Request-ID", "Retry-After"
)  # fmt: skip

_cold_start = True


def create_app(
    router: APIRouter,
    *,
    needs: Iterable[str] = (),
    at_exit: Callable[[], None] | None = None,
) -> FastAPI:
    """An ASGI application of one endpoint group.

    `needs` names the variables without which it refuses to start. Nothing is read or connected
    before the server starts up or the first request comes, so importing needs no environment.
    `at_exit` is called when the server shuts down.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        if at_exit:
            at_exit()

    app = Application(
        # Its log records of errors quote their texts; ours do not, and are enough.
        telemetry={"logs": False},
        routes=router.routes,
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={
            ApiError: answer_api_error,
            RequestValidationError: answer_invalid_input,
            HTTPException: answer_routing_error,
        },
    )
    app.state.needs, app.state.at_exit = tuple(needs), at_exit
    # From the inside out: an unexpected error becomes an answer inside CORS, or the browser
    # would hide it from the frontend.
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(_cors)
    app.add_middleware(RequestBoundary, needs=app.state.needs)
    return app


class Application(FastAPI):
    """FastAPI, which puts the query string, and so what users search for, into traces."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("query_string"):
            # RequestBoundary, which stands behind the tracing, puts it back.
            scope = dict(scope, query_string=b"", untraced_query=scope["query_string"])
        await super().__call__(scope, receive, send)


def json_error(
    status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    return JSONResponse({"detail": detail, **more}, status, headers)


async def answer_api_error(request: Request, error: ApiError) -> Response:
    if error.reason or error.__cause__:
        request.scope["reason"] = error.reason or _chain(error)
    more = {"errors": errors} if (errors := getattr(error, "errors", None)) else {}
    return json_error(error.status, error.detail, headers=error.headers, **more)


def _chain(error: BaseException) -> str:
    """The classes of an error and its causes: enough to tell why, and never a secret."""
    cause = error.__cause__
    sqlstate = getattr(error, "sqlstate", None)
    name = type(error).__name__ + (f"({sqlstate})" if sqlstate else "")
    return f"{name} <- {_chain(cause)}" if cause else name


async def answer_invalid_input(_: Request, error: RequestValidationError) -> Response:
    errors = [
        # Not the input and not its context: both may hold what cannot be written as JSON.
        {"loc": list(e["loc"]), "msg": e["msg"].removeprefix("Value error, "), "type": e["type"]}
        for e in error.errors()
    ]
    first = errors[0]
    return json_error(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", errors=errors)


async def answer_routing_error(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        return json_error(404, "There is nothing at this path.")
    if error.status_code != 405:
        return json_error(error.status_code, str(error.detail), headers=dict(error.headers or {}))
    # Starlette names the methods of the first route of the path only.
    methods = {"OPTIONS"}
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods
    allow = {"Allow": ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=allow)
    return json_error(405, "This path does not know this method.", headers=allow)


class UnexpectedErrors:
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
            await json_error(500, ApiError.detail)(scope, receive, send)


def _cors(app: ASGIApp) -> ASGIApp:
    # A function and not a class: the origins are read when the first request comes.
    try:
        settings = load_settings()
    except SettingsError:
        return app  # RequestBoundary answers, and says why
    return Cors(
        app,
        allow_origins=settings.CORS_ORIGINS,
        allow_origin_regex=settings.CORS_PREVIEW_ORIGIN,
        allow_credentials=settings.CORS_ALLOW_CREDENTIALS,
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization", "Content-Type", "Idempotency-Key",
            "If-Match", "If-None-Match", "X-Request-ID",
        ],
        expose_headers=EXPOSED_HEADERS,
        max_age=7200,
    )  # fmt: skip


class Cors(CORSMiddleware):
    """Starlette's, whose preflight answers are plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        plain = super().preflight_response(request_headers)
        headers = {
            name: value
            for name, value in plain.headers.items()
            if name not in ("content-length", "content-type")
        }
        if plain.status_code == 200:
            return Response(status_code=204, headers=headers)
        return json_error(plain.status_code, f"{bytes(plain.body).decode()}.", headers=headers)


class RequestBoundary:
    """The outermost layer: what is true of every request and every answer, and its log line."""

    def __init__(self, app: ASGIApp, needs: tuple[str, ...]) -> None:
        self.app = app
        self.fault: SettingsError | None = None
        try:
            require(load_settings(), *needs)
        except SettingsError as fault:
            self.fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if self.fault:
                raise self.fault  # a server that listens to lifespan does not start
            return await self.app(scope, receive, send)
        if self.fault:
            # Vercel sends requests all the same: they are told, and the log says what to do.
            log.log_notice("The settings cannot work.", faults=str(self.fault).splitlines())
            return await json_error(500, ApiError.detail)(scope, receive, send)
        began = time.perf_counter()
        request_id = _request_id(scope)
        log.begin_request(request_id)
        path, head = scope["path"], scope["method"] == "HEAD"
        scope = dict(scope, method="GET" if head else scope["method"])
        scope["query_string"] = scope.get("untraced_query", b"")
        scope["headers"] = _joined(scope["headers"])
        if len(path) > 1 and path.endswith("/"):
            # Served as if it were not there: a redirect would lose the Authorization header.
            scope["path"] = path[:-1]
            scope["raw_path"] = (scope.get("raw_path") or b"").removesuffix(b"/") or None
        status = 499  # unless an answer starts: the client went away before

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message["headers"])
                present = {name for name, _ in headers}
                headers += (header for header in SECURITY_HEADERS if header[0] not in present)
                headers.append((b"x-request-id", request_id.encode()))
                message = dict(message, headers=headers)
            elif head:
                message = dict(message, body=b"")
            await send(message)

        try:
            return await self.app(scope, receive, send_with_headers)
        finally:
            _log_request(scope, "HEAD" if head else scope["method"], status, began)


def _joined(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Repeated headers as one list each (RFC 9110, section 5.3): gateways join them before us."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return list(joined.items())


def _request_id(scope: Scope) -> str:
    headers = Headers(scope=scope)
    given = headers.get("x-request-id", "")
    if REQUEST_ID.fullmatch(given):
        return given
    event = scope.get("aws.event") or {}
    platform = (event.get("requestContext") or {}).get("requestId") or headers.get("x-vercel-id")
    # Vercel's hold colons, the emulator's and API Gateway's may hold an equals sign.
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "-", platform or "")[:128]
    return cleaned or uuid.uuid4().hex


def _log_request(scope: Scope, method: str, status: int, began: float) -> None:
    global _cold_start  # noqa: PLW0603
    route, caller = scope.get("route"), scope.get("caller")
    log.log_request(
        method=method,
        route=getattr(route, "path", None),
        status=status,
        milliseconds=round(1000 * (time.perf_counter() - began), 1),
        cold_start=_cold_start,
        user_id=caller.id if caller else None,
        **({"reason": scope["reason"]} if "reason" in scope else {}),
    )
    _cold_start = False
