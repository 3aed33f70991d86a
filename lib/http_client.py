"""A synchronous HTTP client that limits the time and the size of each request.

Every request runs in a daemon thread, and the caller waits for it at most `timeout` seconds. Socket
timeouts would not be enough: they cover neither a slow name server nor a server that sends one byte
a second. A `Connection` handles one request at a time.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import certifi

MAX_RESPONSE_BYTES = 1024 * 1024
# Some firewalls refuse requests without a User-Agent.
DEFAULT_HEADERS = {"Accept": "application/json", "User-Agent": "serverless-task-api"}


class TransportError(Exception):
    """No complete response arrived.

    The message is a clause without a full stop. It quotes nothing that the server sent.
    """


@dataclass(frozen=True, slots=True)
class Response:
    """A response of any status; redirects are not followed. `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The parsed body. Raises ValueError."""
        return json.loads(self.body)


def request(
    method: str,
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    max_bytes: int = MAX_RESPONSE_BYTES,
    ca_bundle: str | None = None,
) -> Response:
    """Send one request on a connection of its own; see `Connection.request`.

    Raises TransportError.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise TransportError("the URL is invalid") from error
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    with closing(Connection(f"{parts.scheme}://{parts.netloc}", ca_bundle)) as connection:
        return connection.request(
            method, target, timeout=timeout, headers=headers, body=body, max_bytes=max_bytes
        )


class Connection:
    """One keep-alive connection to a base URL.

    Certificates are verified with `ca_bundle`, by default the bundle of certifi.
    """

    def __init__(self, url: str, ca_bundle: str | None = None) -> None:
        self._base_url = url
        self._ca_bundle = ca_bundle
        self._http: http.client.HTTPConnection | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> Response:
        """Send a request to `path` below the base URL and read the response.

        Both must happen within `timeout` seconds, and the body must not exceed `max_bytes`. Raises
        TransportError; the next request then opens a new connection.
        """
        if timeout <= 0:
            raise TransportError("no time was left for the request")
        if self._http is None:
            self._http = _new_connection(self._base_url, self._ca_bundle)
        connection = self._http
        connection.timeout = timeout
        target = urlsplit(self._base_url).path.rstrip("/") + path
        results: SimpleQueue[Response | Exception] = SimpleQueue()
        # http.client drops its reference to the socket when the server announces that it will close
        # the connection.
        sockets: list[socket.socket] = []
        abandoned = Event()

        def send_and_receive() -> None:
            try:
                if connection.sock is None:
                    connection.connect()
                if connection.sock is not None:
                    sockets.append(connection.sock)
                if abandoned.is_set():
                    # The caller has given up: the request must not take effect now.
                    connection.close()
                    return
                connection.request(method, target, body, DEFAULT_HEADERS | dict(headers or {}))
                with connection.getresponse() as response:
                    results.put(_read_response(response, max_bytes))
            except Exception as error:  # noqa: BLE001 - raised again in the thread of the caller
                results.put(error)

        def abandon() -> None:
            abandoned.set()
            for opened in sockets:
                # Unlike close, shutdown wakes a thread that is still reading.
                with suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)
            self.close()

        Thread(target=send_and_receive, name="http-request", daemon=True).start()
        try:
            result = results.get(timeout=timeout)
        except Empty:
            result = TimeoutError()
        except BaseException:
            abandon()
            raise
        if isinstance(result, Response):
            return result
        abandon()
        if isinstance(result, TransportError):
            raise result
        raise TransportError(_reason(result, timeout)) from result

    def close(self) -> None:
        """Close the connection. The next request opens another."""
        if self._http:
            self._http.close()
        self._http = None


def _new_connection(url: str, ca_bundle: str | None) -> http.client.HTTPConnection:
    try:
        parts = urlsplit(url)
        if parts.scheme == "http":
            connection = http.client.HTTPConnection(parts.netloc)
        else:
            context = ssl.create_default_context(cafile=ca_bundle or certifi.where())
            connection = http.client.HTTPSConnection(parts.netloc, context=context)
    except (ValueError, http.client.InvalidURL) as error:
        raise TransportError("the URL is invalid") from error
    except OSError as error:
        raise TransportError("the bundle of certificate authorities cannot be read") from error
    connection.auto_open = 0  # otherwise an abandoned request could connect again and be sent
    return connection


def _read_response(response: http.client.HTTPResponse, max_bytes: int) -> Response:
    body = response.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise TransportError(f"the response is larger than {max_bytes} bytes")
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Response(response.status, headers, body)


def _reason(error: Exception, timeout: float) -> str:
    reasons: dict[type[Exception], str] = {
        TimeoutError: f"no complete response within {timeout:.1f} s",
        ConnectionRefusedError: "the connection was refused",
        ConnectionError: "the connection was closed before a response",
        http.client.RemoteDisconnected: "the connection was closed before a response",
        socket.gaierror: "the host name cannot be resolved",
        ssl.SSLError: f"TLS failed: {getattr(error, 'reason', None)}",
        http.client.HTTPException: f"the response is not valid HTTP ({type(error).__name__})",
    }
    for kind, reason in reasons.items():
        if isinstance(error, kind):
            return reason
    return f"the request failed ({type(error).__name__})"
