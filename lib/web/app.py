"""Builds the ASGI application of an endpoint group."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.errors import ApiError, BodyTooLarge
from lib.settings import (
    SettingsError,
    load_cors_settings,
    load_settings,
    require,
    runs_on_vercel,
)
from lib.web.exception_handlers import (
    handle_api_error,
    handle_body_too_large,
    handle_http_exception,
    handle_settings_error,
    handle_validation_error,
)
from lib.web.middleware import (
    JsonCorsMiddleware,
    RequestContextMiddleware,
    UnexpectedErrorMiddleware,
)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = (
    "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID",
    # Set by jQuery and by many users of axios.
    "X-Requested-With",
    # Tracing in browsers: W3C Trace Context and Baggage, Sentry, B3 (Zipkin), Jaeger, Datadog, New
    # Relic, Elastic APM, AWS X-Ray, Google Cloud Trace, Azure Application Insights. The API ignores
    # these headers, but a refused preflight would block the request.
    "traceparent", "tracestate", "baggage", "sentry-trace",
    "b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled", "X-B3-Flags",
    "uber-trace-id", "x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-origin",
    "x-datadog-sampling-priority", "x-datadog-tags", "newrelic", "elastic-apm-traceparent",
    "X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "Request-Id", "Request-Context",
    # The Model Context Protocol over HTTP.
    "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Session-Id", "Last-Event-ID",
)  # fmt: skip
EXPOSED_HEADERS = ("ETag", "Link", "Location", "X-Total-Count", "X-Request-ID", "Retry-After")
PREFLIGHT_MAX_AGE = 7200  # seconds


def create_app(
    router: APIRouter,
    *,
    needs: Iterable[str] = (),
    at_exit: Callable[[], None] | None = None,
) -> FastAPI:
    """Build the ASGI application of one endpoint group.

    `needs` names the required settings: without them a server does not start, and a function
    responds with 500. Settings are read when a server starts or the first request arrives, not when
    the module is imported. `at_exit` is called when the server shuts down.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        if at_exit:
            at_exit()

    app = Application(
        # FastAPI's log records of errors include their messages. lib/log.py logs errors.
        telemetry={"logs": False},
        routes=router.routes,
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={
            ApiError: handle_api_error,
            SettingsError: handle_settings_error,
            BodyTooLarge: handle_body_too_large,
            RequestValidationError: handle_validation_error,
            HTTPException: handle_http_exception,
        },
    )
    app.state.needs, app.state.at_exit = tuple(needs), at_exit
    # The middleware that is added last runs first. Unexpected errors become responses inside CORS:
    # browsers hide a response without CORS headers from the frontend.
    app.add_middleware(_check_settings, needs=app.state.needs)
    app.add_middleware(UnexpectedErrorMiddleware)
    app.add_middleware(_add_cors)
    app.add_middleware(RequestContextMiddleware)
    return app


class Application(FastAPI):
    """FastAPI, without the query string in traces: it may contain search texts."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("query_string"):
            # RequestContextMiddleware, which runs inside FastAPI's tracing, restores it.
            scope = dict(scope, query_string=b"", untraced_query=scope["query_string"])
        await super().__call__(scope, receive, send)


# These two are functions because Starlette calls them when the first request arrives: only then
# may settings be read.


def _check_settings(app: ASGIApp, needs: tuple[str, ...]) -> ASGIApp:
    try:
        require(load_settings(), *needs)
    except SettingsError as error:
        return InvalidSettings(error)
    return app


def _add_cors(app: ASGIApp) -> ASGIApp:
    try:
        settings = load_settings()
    except SettingsError:
        try:
            settings = load_cors_settings()
        except SettingsError:
            return app  # the origins cannot be read either
    return JsonCorsMiddleware(
        app,
        allow_origins=settings.CORS_ORIGINS,
        allow_origin_regex=settings.CORS_PREVIEW_ORIGIN,
        allow_credentials=settings.CORS_ALLOW_CREDENTIALS,
        allow_methods=METHODS,
        allow_headers=REQUEST_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        max_age=PREFLIGHT_MAX_AGE,
    )


class InvalidSettings:
    """Replaces the application while the settings are invalid.

    A server does not start. A function, which runs no lifespan events, responds with 500.

    Each request reads the settings again, because AWS may return a secret that it did not before.
    """

    def __init__(self, error: SettingsError) -> None:
        self.error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and not runs_on_vercel():
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(self.error)})
        if scope["type"] != "http":
            # Starlette raises too, after the message. Vercel's runtime continues after an exception
            # alone. After the message it would exit, and Vercel would respond with its own error.
            raise self.error
        scope["app"].middleware_stack = None  # built again by the next request
        response = await handle_settings_error(Request(scope), self.error)
        await response(scope, receive, send)
