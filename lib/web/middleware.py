"""The outermost layer of every function: what is true of each request and each answer, and its log
line; knows no route.
"""

import re
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib import log
from lib.errors import ApiError
from lib.settings import SettingsError, load_settings, require
from lib.web.exception_handlers import error_response

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# On every answer that does not set them itself; as raw as ASGI wants them.
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"strict-transport-security", b"max-age=63072000"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)

_cold_start = True


class RequestContextMiddleware:
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
            return await error_response(500, ApiError.detail)(scope, receive, send)
        began = time.perf_counter()
        joined = _joined(scope["headers"])
        request_id = _request_id(joined, scope.get("aws.event"))
        log.begin_request(request_id)
        path, head = scope["path"], scope["method"] == "HEAD"
        scope = dict(scope, method="GET" if head else scope["method"])
        scope["query_string"] = scope.get("untraced_query", b"")
        scope["headers"] = list(joined.items())
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


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Repeated headers as one list each (RFC 9110, section 5.3): gateways join them before us."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def _request_id(headers: Mapping[bytes, bytes], event: dict[str, Any] | None) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    if REQUEST_ID.fullmatch(given):
        return given
    platform = ((event or {}).get("requestContext") or {}).get("requestId")
    platform = platform or headers.get(b"x-vercel-id", b"").decode("latin-1")
    # Vercel's hold colons, the emulator's and API Gateway's may hold an equals sign.
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "-", platform)[:128]
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
