"""One connection to Neon's serverless driver endpoint: PostgreSQL over HTTPS, without psycopg.

The endpoint runs the statements of a request as one transaction.
"""

import errno
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from urllib.parse import quote, urlsplit

import certifi

from lib.db import http_protocol, waiting
from lib.db.addresses import connect_to_any
from lib.db.transport import (
    Connector,
    DatabaseError,
    NotConnected,
    OperationalError,
    Rows,
    Statement,
)
from lib.settings import Settings
from lib.settings.database_url import parse_database_url

# More than the largest list (MAX_LIST_BYTES in lib/db/tasks.py), escaped again.
MAX_RESPONSE_BYTES = 32 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024
# As in lib/db/url.py: the kernel ends a connection whose packets are not acknowledged.
SOCKET_OPTIONS = {
    "TCP_NODELAY": 1,
    "TCP_KEEPIDLE": 30,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 2000,  # milliseconds
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go. `head` is what all of them begin with, and contains the password."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    head: bytes = field(repr=False)


def connector(settings: Settings) -> Connector:
    """Return the function that opens connections to the endpoint."""
    endpoint = cache(partial(_endpoint, settings))

    async def open_connection(deadline: float) -> HttpConnection:
        try:
            target = endpoint()
        except OSError as error:
            raise NotConnected("the CA certificates of SSL_CERT_FILE cannot be read") from error
        return await connect(target, deadline)

    return open_connection


def _endpoint(settings: Settings) -> Endpoint:
    database = parse_database_url(settings.DATABASE_URL or "")
    host = f"[{database.host}]" if ":" in database.host else database.host
    # As the npm package does: ep-x-pooler.eu-central-1.aws.neon.tech -> api.eu-central-1...
    url = urlsplit(
        settings.DATABASE_HTTP_URL or f"https://api.{database.host.partition('.')[2]}/sql"
    )
    tls = None
    if url.scheme == "https":
        tls = ssl.create_default_context(cafile=settings.SSL_CERT_FILE or certifi.where())
        tls.set_alpn_protocols(["http/1.1"])
    user, password, name = (
        quote(part or "", safe="") for part in (database.user, database.password, database.database)
    )
    port = f":{database.port}" if database.port else ""
    options = database.options.get("options", "")  # may name the endpoint
    query = f"?options={quote(options, safe='')}" if options else ""
    headers = {
        "Host": url.netloc,
        "User-Agent": "serverless-task-api",
        "Content-Type": "application/json",
        "Neon-Connection-String": f"postgresql://{user}:{password}@{host}{port}/{name}{query}",
        "Neon-Raw-Text-Output": "true",
        "Neon-Array-Mode": "true",
        "Neon-Batch-Isolation-Level": "ReadCommitted",
    }
    lines = [f"POST {url.path or '/sql'} HTTP/1.1", *(": ".join(each) for each in headers.items())]
    default_port = 443 if tls else 80
    return Endpoint(url.hostname or "", url.port or default_port, tls, "\r\n".join(lines).encode())


async def connect(endpoint: Endpoint, deadline: float) -> "HttpConnection":
    """Open a connection. Raises NotConnected by `deadline`."""

    async def attempt(address: str, reached_by: float) -> HttpConnection:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            connection = HttpConnection(endpoint, socket.socket(family, socket.SOCK_STREAM))
            try:
                await connection.open(address, reached_by, deadline)
            except BaseException:  # also if the request was cancelled
                connection.close()
                raise
        except (OSError, OperationalError) as error:
            raise NotConnected(_reason(error)) from error
        return connection

    return await connect_to_any(endpoint.host, deadline, attempt)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {getattr(error, 'verify_message', None) or error.reason}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)


class HttpConnection:
    """A keep-alive connection. It cannot be used again after a failed or cancelled request."""

    lazy_login = True

    def __init__(self, endpoint: Endpoint, tcp: socket.socket) -> None:
        self.deadline = 0.0
        self.opened_at = self.used_at = time.time()
        self._endpoint = endpoint
        self._socket = tcp
        self._received = bytearray()
        self._left = 0  # bytes that the response may still have
        self.idle = True

    async def open(self, address: str, reached_by: float, deadline: float) -> None:
        tcp = self._socket
        tcp.setblocking(False)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in SOCKET_OPTIONS.items():
            if option := getattr(socket, name, None):  # some exist only on Linux
                tcp.setsockopt(socket.IPPROTO_TCP, option, value)
        self.deadline = reached_by
        failure = tcp.connect_ex((address, self._endpoint.port))
        if failure == errno.EINPROGRESS:
            await self._wait(select.POLLOUT)
            failure = tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, errno.errorcode.get(failure))
        self.deadline = deadline
        if self._endpoint.tls:
            self._socket = secured = self._endpoint.tls.wrap_socket(
                tcp, server_hostname=self._endpoint.host, do_handshake_on_connect=False
            )
            await self._complete(secured.do_handshake, select.POLLIN)

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    @property
    def stale(self) -> bool:
        return self.closed or waiting.poll(self._socket.fileno(), select.POLLIN, 0)

    def close(self) -> None:
        self._socket.close()

    async def run(
        self, first: Statement, *statements: Statement, prepare: bool = False
    ) -> list[Rows]:
        del prepare  # the endpoint keeps no statements
        status, body = await self._request(http_protocol.batch((first, *statements)))
        if status != 200:
            raise http_protocol.error_from_response(status, body)
        return http_protocol.results(body, len(statements))

    async def try_out(
        self, first: Statement, *statements: Statement
    ) -> tuple[list[Rows], DatabaseError | None]:
        # An error names no statement and comes without rows. So the last statement is left out
        # until the others succeed. A ROLLBACK ends the transaction that the endpoint commits.
        error = None
        for count in range(len(statements), 0, -1):
            try:
                rows = await self.run(first, *statements[:count], ("ROLLBACK", {}))
            except DatabaseError as refusal:
                if refusal.severity != "ERROR":
                    raise
                error = refusal
            else:
                return rows[:-1], error
        return [], error

    async def _request(self, body: bytes) -> tuple[int, bytes]:
        self.idle = False
        request = b"%b\r\nContent-Length: %d\r\n\r\n%b" % (self._endpoint.head, len(body), body)
        sent = 0
        try:
            while sent < len(request):
                send = partial(self._socket.send, memoryview(request)[sent:])
                sent += await self._complete(send, select.POLLOUT)
        except (OSError, OperationalError) as error:
            # The endpoint runs no request of which a part is missing.
            self.close()
            raise NotConnected("the connection ended before the request was sent") from error
        try:
            status, body, keep = await self._response()
        except OSError as error:
            raise OperationalError("the connection ended before the response") from error
        except (LookupError, ValueError) as error:
            raise OperationalError("the response is not valid HTTP") from error
        self.idle = True
        if not keep or self._received:
            self.close()
        return status, body

    async def _response(self) -> tuple[int, bytes, bool]:
        """Return the status, the body, and whether the connection stays open."""
        self._left = MAX_RESPONSE_BYTES
        status = 100
        while 100 <= status < 200:  # informational responses may come first
            head = (await self._until(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.split("\r\n")
            version, code = status_line.split(" ")[:2]
            status = int(code)
        headers = {
            name.lower(): value.strip().lower()
            for name, _, value in (line.partition(":") for line in lines)
        }
        keep = version == "HTTP/1.1" and "close" not in headers.get("connection", "")
        if headers.get("transfer-encoding") != "chunked":
            return status, await self._exactly(int(headers["content-length"])), keep
        chunks = []
        while size := int((await self._until(b"\r\n")).partition(b";")[0], 16):
            chunks.append(await self._exactly(size))
            await self._until(b"\r\n")
        while await self._until(b"\r\n"):
            pass  # a trailer
        return status, b"".join(chunks), keep

    async def _until(self, end: bytes) -> bytes:
        while (position := self._received.find(end)) < 0:
            if len(self._received) > MAX_HEAD_BYTES:
                raise ValueError("the head of the response is too long")
            await self._receive()
        line = bytes(self._received[:position])
        del self._received[: position + len(end)]
        return line

    async def _exactly(self, size: int) -> bytes:
        if not 0 <= size <= MAX_RESPONSE_BYTES:
            raise ValueError("a response of this size is not expected")
        while len(self._received) < size:
            await self._receive()
        body = bytes(self._received[:size])
        del self._received[:size]
        return body

    async def _receive(self) -> None:
        data = await self._complete(lambda: self._socket.recv(65536), select.POLLIN)
        if not data:
            raise ConnectionResetError
        self._received += data
        self._left -= len(data)
        if self._left < 0:  # however many chunks, trailers or informational responses
            raise ValueError("the response is too long")

    async def _complete[T](self, operation: Callable[[], T], events: int) -> T:
        """Repeat an operation of the socket until it does not have to wait."""
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                await self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                await self._wait(select.POLLOUT)
            except BlockingIOError:
                await self._wait(events)

    async def _wait(self, events: int) -> None:
        seconds = self.deadline - time.monotonic()
        if seconds <= 0 or not await waiting.ready(self._socket.fileno(), events, seconds):
            self.close()  # a response may still arrive
            raise OperationalError("the server did not respond before the deadline")
