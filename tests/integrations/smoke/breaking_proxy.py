"""An HTTP proxy in front of the API that breaks one behaviour of it."""

import http.client
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import override
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """A response of the proxy. Header names are in lower case, in requests too."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def without(self, *prefixes: str) -> "Reply":
        """The reply without the headers that have one of these prefixes."""
        kept = {k: v for k, v in self.headers.items() if not k.startswith(prefixes)}
        return replace(self, headers=kept)


type Forward = Callable[[Request], Reply]
# None closes the connection without a response. Bytes are sent as they are, one piece at a time.
type Breakage = Callable[[Request, Forward], Reply | Iterable[bytes] | None]


@dataclass
class Proxy:
    url: str
    requests: list[Request] = field(default_factory=list)
    connections: int = 0


@contextmanager
def breaking(api: str, breakage: Breakage) -> Generator[Proxy]:
    """Forward requests to `api`, except for the breakage."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        @override
        def setup(self) -> None:
            proxy.connections += 1
            super().setup()

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

        def respond(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            request = Request(self.command, self.path, headers, body)
            proxy.requests.append(request)
            reply = breakage(request, lambda sent: _forward(api, sent))
            try:
                self.write(reply)
            except OSError:
                self.close_connection = True  # the client has given up

        def write(self, reply: Reply | Iterable[bytes] | None) -> None:
            if isinstance(reply, Reply):
                self.write_whole(reply)
                return
            self.close_connection = True
            for piece in reply or ():
                self.wfile.write(piece)

        def write_whole(self, reply: Reply) -> None:
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status not in (204, 304):
                self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = respond  # noqa: N815

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        proxy = Proxy(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _forward(api: str, request: Request) -> Reply:
    host = urlsplit(api).netloc
    headers = {k: v for k, v in request.headers.items() if k not in HOP_BY_HOP | {"host"}}
    with closing(http.client.HTTPConnection(host, timeout=30)) as connection:
        connection.request(request.method, request.path, request.body or None, headers)
        response = connection.getresponse()
        kept = {k.lower(): v for k, v in response.getheaders() if k.lower() not in HOP_BY_HOP}
        return Reply(response.status, kept, response.read())
