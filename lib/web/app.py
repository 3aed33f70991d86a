"""What a function is made of around its routes: errors as answers, CORS, the boundary; knows no
route.
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cached_property

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.errors import ApiError
from lib.settings import SettingsError, load_settings
from lib.web.exception_handlers import (
    UnexpectedErrorMiddleware,
    error_response,
    handle_api_error,
    handle_http_exception,
    handle_validation_error,
)
from lib.web.middleware import RequestContextMiddleware

EXPOSED_HEADERS = (
    "ETag", "Link", "Location", "X-Total-Count", "X-Request-ID", "Retry-After"
)  # fmt: skip


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
            ApiError: handle_api_error,
            RequestValidationError: handle_validation_error,
            HTTPException: handle_http_exception,
        },
    )
    app.state.needs, app.state.at_exit = tuple(needs), at_exit
    # From the inside out: an unexpected error becomes an answer inside CORS, or the browser
    # would hide it from the frontend.
    app.add_middleware(UnexpectedErrorMiddleware)
    app.add_middleware(_cors)
    app.add_middleware(RequestContextMiddleware, needs=app.state.needs)
    return app


class Application(FastAPI):
    """FastAPI, which puts the query string, and so what users search for, into traces."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("query_string"):
            # RequestContextMiddleware, which stands behind the tracing, puts it back.
            scope = dict(scope, query_string=b"", untraced_query=scope["query_string"])
        await super().__call__(scope, receive, send)


def _cors(app: ASGIApp) -> ASGIApp:
    # A function and not a class: the origins are read when the first request comes.
    try:
        settings = load_settings()
    except SettingsError:
        return app  # RequestContextMiddleware answers, and says why
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
    """Starlette's, whose preflight answers are plain text, and give the log no reason."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            origin = Headers(scope=scope).get("origin", "")
            if origin and not self.is_allowed_origin(origin):
                scope["reason"] = f"{origin[:100]} is not among CORS_ORIGINS"
        await super().__call__(scope, receive, send)

    @cached_property
    def _answer_headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (name.lower().encode(), text.encode()) for name, text in self.simple_headers.items()
        ]

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """As Starlette does, which looks through all headers anew for each that it adds."""
        if message["type"] == "http.response.start":
            added = [(b"vary", b"Origin")]
            origin = request_headers.get("origin")
            if origin is not None and self.is_allowed_origin(origin):
                allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
                added += [*self._answer_headers, allowed]
            message = dict(message, headers=[*message["headers"], *added])
        await send(message)

    def preflight_response(self, request_headers: Headers) -> Response:
        plain = super().preflight_response(request_headers)
        headers = {
            name: value
            for name, value in plain.headers.items()
            if name not in ("content-length", "content-type")
        }
        if plain.status_code == 200:
            return Response(status_code=204, headers=headers)
        return error_response(plain.status_code, f"{bytes(plain.body).decode()}.", headers=headers)
