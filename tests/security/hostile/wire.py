"""Sends raw HTTP requests on one persistent connection, with any path and any headers."""

import http.client
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

type Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Response:
    """A response. `headers` are in order, with names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class Wire:
    """A persistent connection to a server, opened again when the server has closed it."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._address = (address.hostname or "", address.port or 80)
        self._connection: socket.socket | None = None

    def send(
        self, method: str, target: str, headers: Headers = (), body: bytes | None = None
    ) -> Response:
        """Send one request, in Latin-1 except for the body. Raises OSError or HTTPException."""
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers]
        if not any(name.lower() == "host" for name, _ in headers):
            lines.append("Host: api.test")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return self.send_bytes("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    def send_bytes(self, request: bytes) -> Response:
        """Send these bytes. Returns the first response."""
        connection = self._connection or socket.create_connection(self._address, timeout=30)
        self._connection = None
        try:
            # A server may close the connection before it has read everything.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            response = http.client.HTTPResponse(
                connection, method=request[:4].decode("latin-1").strip()
            )
            response.begin()
            body = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._connection = connection
        headers = [(name.lower(), value) for name, value in response.getheaders()]
        return Response(response.status, headers, body)

    def close(self) -> None:
        if self._connection:
            self._connection.close()


def exchange(url: str, request: bytes, timeout: float) -> list[int]:
    """Send these bytes on a new connection. Returns the status of every response.

    There may be none: the server closes the connection, or waits for more than `timeout` seconds.
    """
    address, received = urlsplit(url), b""
    host_and_port = (address.hostname or "", address.port or 80)
    with socket.create_connection(host_and_port, timeout=timeout) as connection:
        # A server may close in the middle of what it refuses to read.
        with suppress(OSError):
            connection.sendall(request)
        with suppress(OSError):
            while block := connection.recv(65536):
                received += block
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", received)]
