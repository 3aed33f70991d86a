"""HTTP exchanges that end in time, whatever the other side does; knows no API."""

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import certifi

MAX_RESPONSE_BYTES = 1024 * 1024  # bytes


class TransportError(Exception):
    """Why there is none: a sentence without a full stop."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.body)


class Connection:
    """One keep-alive connection to a base URL; redirects are answers like any other."""

    def __init__(self, url: str, ca_bundle: str | None = None) -> None:
        self._base_url = url
        self._ca_bundle = ca_bundle
        self._http: http.client.HTTPConnection | None = None

    def exchange(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, seconds: float
    ) -> Answer:
        """Send one request and read its answer, in this many seconds. Raises TransportError."""
        if seconds <= 0:
            raise TransportError("no time was left for it")
        prefix = urlsplit(self._base_url).path.rstrip("/")
        connection = self._http = self._http or self._open()
        connection.timeout = seconds
        results: SimpleQueue[Answer | Exception] = SimpleQueue()
        given_up = Event()

        def talk() -> None:
            try:
                if connection.sock is None:
                    connection.connect()
                if given_up.is_set():
                    return  # or the request would have its effect when nobody looks any more
                connection.request(method, prefix + path, body, headers)
                results.put(_read(connection.getresponse()))
            except Exception as error:  # noqa: BLE001 - raised again where somebody waits
                results.put(error)

        # A thread, for the time-outs of sockets cover neither the resolver nor a server that sends
        # one byte a second.
        Thread(target=talk, daemon=True).start()
        try:
            result = results.get(timeout=seconds)
        except Empty:
            result = TimeoutError()
        except KeyboardInterrupt:
            given_up.set()
            self.close()
            raise
        if isinstance(result, Answer):
            return result
        given_up.set()
        self.close()
        raise TransportError(_reason(result, seconds)) from result

    def _open(self) -> http.client.HTTPConnection:
        url = urlsplit(self._base_url)
        host, port = url.hostname or "", url.port
        if url.scheme == "http":
            return http.client.HTTPConnection(host, port)
        context = ssl.create_default_context(cafile=self._ca_bundle or certifi.where())
        return http.client.HTTPSConnection(host, port, context=context)

    def close(self) -> None:
        """Close it; the next exchange opens another."""
        connection, self._http = self._http, None
        if connection and connection.sock:
            # Ends the thread that may still read: closing alone would not wake it.
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()


def _read(response: http.client.HTTPResponse) -> Answer:
    body = response.read(MAX_RESPONSE_BYTES + 1)
    if len(body) > MAX_RESPONSE_BYTES:
        raise http.client.HTTPException("more than 1 MiB")
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body)


def _reason(error: Exception, seconds: float) -> str:
    known: dict[type[Exception], str] = {
        TimeoutError: f"no whole answer within {seconds:.1f} s",
        ConnectionRefusedError: "the connection was refused",
        ConnectionError: "the connection was closed instead of an answer",
        http.client.RemoteDisconnected: "the connection was closed instead of an answer",
        socket.gaierror: "the host name cannot be resolved",
        ssl.SSLError: f"TLS failed: {getattr(error, 'reason', None)}",
        http.client.HTTPException: f"what came is no HTTP answer: {error or type(error).__name__}",
    }
    for kind, reason in known.items():
        if isinstance(error, kind):
            return reason
    return f"no answer: {type(error).__name__}"
