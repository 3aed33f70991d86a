"""A GET over HTTP that can neither hang nor grow; knows nothing of what it fetches."""

import http.client
import io
import socket
import ssl
import time
from contextlib import closing
from typing import Any, cast
from urllib.parse import urlsplit

import certifi


class DownloadError(Exception):
    """The answer is not wanted; the text says why."""


def download(url: str, budget: float, most_bytes: int) -> bytes:
    """The body of a 200 answer, without redirects, of at most `most_bytes`.

    Each address may take `budget` seconds to connect, and the answer as long again; how long name
    servers take is not bounded. Raises DownloadError, OSError, ValueError or
    http.client.HTTPException.
    """
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=certifi.where())
        connection = http.client.HTTPSConnection(parts.netloc, timeout=budget, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=budget)
    with closing(connection):
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        # Some firewalls refuse requests without a User-Agent.
        headers = {"Accept": "application/json", "User-Agent": "serverless-task-api"}
        connection.request("GET", target, headers=headers)
        received = cast("socket.socket", _Received(connection.sock, budget))
        with closing(http.client.HTTPResponse(received)) as response:
            response.begin()
            if response.status != 200:
                raise DownloadError(f"the source answered {response.status}")
            body = response.read(most_bytes + 1)
    if len(body) > most_bytes:
        raise DownloadError(f"it is larger than {most_bytes} bytes")
    return body


class _Received(io.RawIOBase):
    """What a socket receives within `budget` seconds: its own timeout starts anew at each byte."""

    def __init__(self, connected: socket.socket, budget: float) -> None:
        self._socket = connected
        self._end = time.monotonic() + budget

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining)
        return self._socket.recv_into(buffer)
