"""The middleware of every application: request context, CORS, unexpected errors."""

import re
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib import log
from lib.errors import ApiError
from lib.web.exception_handlers import error_response

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._-]")
# Added to every response that does not set them itself, in the byte form that ASGI requires.
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"strict-transport-security", b"max-age=63072000"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)

_cold_start = True


class RequestContextMiddleware:
    """The outermost middleware.

    It reads or creates the request id, normalizes what differs between platforms (repeated headers,
    trailing slashes, HEAD), adds headers to the response, and writes the log line of the request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = time.perf_counter()
        joined = _joined(scope["headers"])
        request_id = _request_id(joined, scope.get("aws.event"))
        log.begin_request(request_id)
        path, head = scope["path"], scope["method"] == "HEAD"
        scope = dict(scope, method="GET" if head else scope["method"])
        scope["query_string"] = scope.get("untraced_query", b"")
        scope["headers"] = list(joined.items())
        if len(path) > 1 and path.endswith("/"):
            # Serve the path without the slash. Clients may not send Authorization after a redirect.
            scope["path"] = path[:-1]
            scope["raw_path"] = (scope.get("raw_path") or b"").removesuffix(b"/") or None
        status = 499  # the client disconnected, unless a response starts

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
            _log_request(scope, "HEAD" if head else scope["method"], status, started)


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Join repeated headers into one list each (RFC 9110, section 5.3), as gateways do."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def _request_id(headers: Mapping[bytes, bytes], event: dict[str, Any] | None) -> str:
    """The client's request id if it is well-formed, else the platform's, else a new one."""
    from_client = headers.get(b"x-request-id", b"").decode("latin-1")
    if REQUEST_ID.fullmatch(from_client):
        return from_client
    from_platform = ((event or {}).get("requestContext") or {}).get("requestId")
    from_platform = from_platform or headers.get(b"x-vercel-id", b"").decode("latin-1")
    # Vercel's ids contain colons; those of API Gateway and the emulator may contain "=".
    return NOT_IN_IDS.sub("-", from_platform)[:128] or secrets.token_hex(16)


def _log_request(scope: Scope, method: str, status: int, started: float) -> None:
    global _cold_start  # noqa: PLW0603
    route, user = scope.get("route"), scope.get("user")
    log.log_request(
        method=method,
        route=getattr(route, "path_format", None),
        status=status,
        milliseconds=round(1000 * (time.perf_counter() - started), 1),
        cold_start=_cold_start,
        user_id=user.id if user else None,
        reason=scope.get("reason"),
    )
    _cold_start = False


class JsonCorsMiddleware(CORSMiddleware):
    """Starlette's CORS middleware with JSON errors, and a reason in the log for refused preflights.

    Starlette responds to preflights with plain text.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is None:
            return await self.simple_response(scope, receive, send, request_headers=headers)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            response = self.preflight_response(headers)
            if response.status_code != 204:
                scope["reason"] = self.refusal(headers)
            return await response(scope, receive, send)
        if not self.is_allowed_origin(origin):
            headers = Headers()  # otherwise Starlette would allow credentials for any origin
        return await self.simple_response(scope, receive, send, request_headers=headers)

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

    def refusal(self, request_headers: Headers) -> str:
        """Why a preflight was refused, for the log."""
        origin = request_headers["origin"]
        method = request_headers["access-control-request-method"]
        wanted = request_headers.get("access-control-request-headers", "").lower().split(",")
        names = {name.strip() for name in wanted} - {""}
        reasons = []
        if not self.is_allowed_origin(origin):
            reasons.append(f"{origin[:100]} is not among CORS_ORIGINS")
        if method not in self.allow_methods:
            reasons.append(f"CORS does not allow the method {method[:20]}")
        if refused := ", ".join(sorted(names.difference(self.allow_headers))):
            reasons.append(f"CORS does not allow the headers {refused[:200]}")
        return "; ".join(reasons) or "malformed preflight, or one for a private network"


class UnexpectedErrorMiddleware:
    """Logs an exception that has no handler, and responds with a 500 that does not reveal it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_record(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_record)
        except ClientDisconnect:
            pass  # the client is gone, which is not an error of this API
        except (Exception, SystemExit) as error:
            if scope["type"] != "http":
                raise
            log.log_failure("Unexpected error.", error)
            if started:
                raise
            scope["reason"] = type(error).__name__
            await error_response(500, ApiError.detail)(scope, receive, send)
