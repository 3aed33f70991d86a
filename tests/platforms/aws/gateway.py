"""Emulates API Gateway's HTTP API: turns HTTP requests into events, and results into responses.

It follows the AWS documentation (payload format 2.0, route selection, quotas). Comments mark
assumptions. SAM's local gateway needs Docker. serverless-offline lacks AWS's runtime client.
"""

import base64
import json
import re
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API_ID = "a1b2c3d4e5"
DOMAIN = f"{API_ID}.execute-api.eu-central-1.amazonaws.com"
BODY_LIMIT = 10_000_000
HEAD_LIMIT = 10_240
TEXT_TYPES = re.compile(
    r"text/|application/(json|javascript|xml|[\w.-]+\+(json|xml))\b", re.IGNORECASE
)

type Invoke = Callable[[dict[str, object]], object]


class FunctionFailed(Exception):
    """An invocation ended without a result: the gateway responds with its own 500."""


@dataclass(frozen=True)
class Route:
    """A route key, such as `ANY /api/{user_id}/tasks` or `$default`, and the function behind it."""

    key: str
    function: str

    @property
    def method(self) -> str:
        return "ANY" if self.key == "$default" else self.key.split(" ", 1)[0]

    @property
    def segments(self) -> list[str]:
        path = "/{proxy+}" if self.key == "$default" else self.key.split(" ", 1)[1]
        return path.strip("/").split("/")

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Return the path parameters, or None if this route does not match the request."""
        if self.method not in ("ANY", method):
            return None
        if self.key == "$default":
            return {}
        parameters: dict[str, str] = {}
        parts = path.removeprefix("/").split("/")
        for index, segment in enumerate(self.segments):
            if segment.endswith("+}") and len(parts) > index:
                parameters[segment[1:-2]] = "/".join(parts[index:])
                return parameters
            if index >= len(parts) or not parts[index]:
                return None
            if segment.startswith("{"):
                parameters[segment[1:-1]] = parts[index]
            elif segment != parts[index]:
                return None
        return parameters if len(parts) == len(self.segments) else None

    def rank(self) -> tuple[object, ...]:
        """Return the sort key that puts full matches first, then greedy ones, then $default."""
        kinds = [2 if part.endswith("+}") else int(part.startswith("{")) for part in self.segments]
        return (self.key == "$default", 2 in kinds, kinds, -len(kinds), self.method == "ANY")


@dataclass(frozen=True)
class HttpRequest:
    """A request as sent: `target` is not decoded, `headers` keeps their order and repetitions."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    protocol: str = "HTTP/1.1"
    source_ip: str = "127.0.0.1"


@dataclass(frozen=True)
class HttpResponse:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


def find_route(routes: list[Route], method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    for route in sorted(routes, key=Route.rank):
        parameters = route.match(method, path)
        if parameters is not None:
            return route, parameters
    return None


def make_event(
    request: HttpRequest, route: Route, parameters: dict[str, str], request_id: str
) -> dict[str, object]:
    """Return the event in payload format 2.0. Keys without a value are absent, as on AWS."""
    path, _, query = request.target.partition("?")
    path = urllib.parse.unquote(path)
    now = time.time()
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for given, value in request.headers:
        name = given.lower()
        if name == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";") if cookie.strip()]
        elif name not in (
            "connection",
            "keep-alive",
            "transfer-encoding",
            "expect",
            "te",
            "upgrade",
        ):
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    forwarded = headers.get("x-forwarded-for")
    headers["x-forwarded-for"] = (
        f"{forwarded}, {request.source_ip}" if forwarded else request.source_ip
    )
    headers["x-forwarded-port"] = "443"
    headers["x-forwarded-proto"] = "https"
    headers["x-amzn-trace-id"] = f"Root=1-{int(now):08x}-{uuid.uuid4().hex[:24]}"
    headers.setdefault("content-length", str(len(request.body)))
    event: dict[str, object] = {
        "version": "2.0",
        "routeKey": route.key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": API_ID,
            "domainName": DOMAIN,
            "domainPrefix": API_ID,
            "http": {
                "method": request.method,
                "path": path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": route.key,
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if parameters:
        event["pathParameters"] = parameters
    if query:
        values: dict[str, str] = {}
        for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
            values[name] = f"{values[name]},{value}" if name in values else value
        event["queryStringParameters"] = values
    if request.body:
        text = readable_body(request.body, headers.get("content-type", "text/plain"))
        event["isBase64Encoded"] = text is None
        event["body"] = base64.b64encode(request.body).decode() if text is None else text
    return event


def readable_body(body: bytes, content_type: str) -> str | None:
    if not TEXT_TYPES.match(content_type):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def read_result(result: object) -> HttpResponse:
    """Return the function's result as HTTP; a result without `statusCode` is a body."""
    if not isinstance(result, Mapping) or "statusCode" not in result:
        return HttpResponse(
            200, [("content-type", "application/json")], json.dumps(result).encode()
        )
    try:
        status = int(result["statusCode"])
        headers = [(str(name), str(value)) for name, value in (result.get("headers") or {}).items()]
        headers += [("set-cookie", cookie) for cookie in result.get("cookies") or []]
        body = "" if result.get("body") is None else result["body"]
        encoded = (
            base64.b64decode(body, validate=True)
            if result.get("isBase64Encoded")
            else body.encode()
        )
        HTTPStatus(status)
    except (TypeError, ValueError, AttributeError):
        return gateway_error(500, "Internal Server Error")
    return HttpResponse(status, headers, encoded)


def gateway_error(status: int, message: str) -> HttpResponse:
    body = json.dumps({"message": message}, separators=(",", ":")).encode()
    return HttpResponse(status, [("content-type", "application/json")], body)


def handle_request(
    request: HttpRequest, routes: list[Route], functions: Mapping[str, Invoke]
) -> HttpResponse:
    """Select the route, invoke its function with the event, and return the response."""
    head = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
    if head > HEAD_LIMIT:
        # The limit is documented; the response above it is an assumption.
        return gateway_error(431, "Request Header Fields Too Large")
    if len(request.body) > BODY_LIMIT:
        return gateway_error(413, "Request Entity Too Large")
    found = find_route(
        routes, request.method, urllib.parse.unquote(request.target.partition("?")[0])
    )
    if found is None:
        return gateway_error(404, "Not Found")
    route, parameters = found
    request_id = base64.b64encode(uuid.uuid4().bytes[:11]).decode()
    event = make_event(request, route, parameters, request_id)
    try:
        response = read_result(functions[route.function](event))
    except FunctionFailed:
        response = gateway_error(500, "Internal Server Error")
    return HttpResponse(
        response.status, [*response.headers, ("apigw-requestid", request_id)], response.body
    )


@contextmanager
def serving(routes: list[Route], functions: Mapping[str, Invoke]) -> Generator[str]:
    """Serve the API on a free local port and yield its base URL; each request has a thread."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            length, chunked = (
                self.headers.get("content-length"),
                "transfer-encoding" in self.headers,
            )
            body = self.read_chunks() if chunked else self.rfile.read(int(length or 0))
            request = HttpRequest(
                method=self.command,
                target=self.path,
                headers=[(name, str(value)) for name, value in self.headers.items()],
                body=body,
                protocol=self.request_version,
                source_ip=self.client_address[0],
            )
            response = handle_request(request, routes, functions)
            self.send_response_only(response.status)
            self.send_header("Date", formatdate(usegmt=True))
            names = {name.lower() for name, _ in response.headers}
            for name, value in response.headers:
                if name.lower() != "content-length":
                    self.send_header(name, value)
            bodiless = response.status in (204, 304)
            if self.command == "HEAD" and "content-length" in names:
                sent = next(v for n, v in response.headers if n.lower() == "content-length")
                self.send_header("Content-Length", sent)
            elif not bodiless:
                self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD" and not bodiless:
                self.wfile.write(response.body)

        def read_chunks(self) -> bytes:
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body

        def __getattr__(self, name: str) -> object:
            # Every method reaches the functions, which handle 405, HEAD and OPTIONS.
            if name.startswith("do_"):
                return self.handle_any
            raise AttributeError(name)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
