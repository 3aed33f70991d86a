"""Checks of the HTTP client.

Each check takes the module under test, so that a mutant can be checked too, and a temporary
directory.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from tests.security.auth.key_server import (
    HEAD,
    KeyServer,
    drips,
    full_backlog,
    http_response,
    pours,
    raw_server,
    redirect,
    sends,
    tls_server,
    waits,
    write_certificate,
)

TIMEOUT = 0.4  # seconds
MARGIN = 0.5  # seconds that a busy machine may add
LATE = "no complete response within 0.4 s"
TOO_LARGE = "the response is larger than 1000 bytes"


class Failed(Exception):
    """The request raised TransportError; the text is the reason."""


def get(client: ModuleType, url: str, **more: Any) -> Any:
    try:
        return client.request("GET", url, timeout=TIMEOUT, max_bytes=1000, **more)
    except client.TransportError as error:
        raise Failed(str(error)) from error


def failure(client: ModuleType, url: str, **more: Any) -> str:
    """The reason why this request must fail."""
    try:
        response = get(client, url, **more)
    except Failed as failed:
        return str(failed)
    raise AssertionError(f"{url} brought {response.body[:40]!r}")


def a_body_has_a_maximum_size(client: ModuleType, _: Path) -> None:
    behaviours = {
        "/fits": sends(http_response(b"x" * 1000)),
        "/one-more": sends(http_response(b"x" * 1001)),
        "/endless": pours(HEAD + b"Connection: close\r\n\r\n", b"x" * 65536, 100_000),
    }
    with KeyServer(behaviours) as server:
        assert get(client, server.url("/fits")).body == b"x" * 1000
        assert failure(client, server.url("/one-more")) == TOO_LARGE
        assert failure(client, server.url("/endless")) == TOO_LARGE, "not the timeout"


def every_status_is_a_response(client: ModuleType, _: Path) -> None:
    statuses = (b"201 Created", b"206 Partial Content", b"404 Not Found", b"500 Oops")
    behaviours = {
        f"/{status.decode()[:3]}": sends(
            http_response(b"{}", b"HTTP/1.1 %b\r\nX-Name: Value\r\n" % status)
        )
        for status in statuses
    }
    behaviours |= {
        "/302": sends(redirect(b"302", "/target")),
        "/target": sends(http_response(b"{}")),
    }
    with KeyServer(behaviours) as server:
        for path in behaviours.keys() - {"/302", "/target"}:
            response = get(client, server.url(path))
            assert response.status == int(path[1:])
            assert response.headers["x-name"] == "Value"
            assert response.json() == {}
        redirected = get(client, server.url("/302"))
        assert (redirected.status, redirected.headers["location"]) == (302, "/target")
        assert not server.requests["/target"], "redirects are not followed"


def a_response_has_a_deadline(client: ModuleType, _: Path) -> None:
    behaviours = {
        "/body": drips(HEAD + b"Content-Length: 25\r\n\r\n", b"x" * 25),
        "/head": drips(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 22),
        "/closing": drips(HEAD + b"Connection: close\r\n\r\n", b"x" * 25),
        "/silent": waits(2),
    }
    with KeyServer(behaviours) as server, full_backlog() as port:
        urls = [server.url(path) for path in behaviours]
        for url in (*urls, f"http://127.0.0.1:{port}/not-accepted"):
            began = time.monotonic()
            assert failure(client, url) == LATE, url
            assert time.monotonic() - began < TIMEOUT + MARGIN, url
            if "not-accepted" not in url:  # connecting ends by its own timeout
                assert ends_soon(request_threads), "the thread reads on"


def request_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "http-request"]


def ends_soon(threads: Callable[[], list[threading.Thread]]) -> bool:
    until = time.monotonic() + MARGIN
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    return not threads()


def a_name_server_has_a_deadline(client: ModuleType, _: Path) -> None:
    released = threading.Event()

    def resolve(*_: object) -> Any:
        released.wait(3)
        raise socket.gaierror

    real, module = socket.getaddrinfo, vars(socket)
    module["getaddrinfo"] = resolve
    try:
        began = time.monotonic()
        assert failure(client, "http://keys.example/") == LATE
        assert time.monotonic() - began < TIMEOUT + MARGIN
        assert all(thread.daemon for thread in request_threads()), "or the process could not end"
    finally:
        module["getaddrinfo"] = real
        released.set()


def an_abandoned_request_is_not_sent(client: ModuleType, _: Path) -> None:
    """Nor is its connection leaked: the server sees it close."""
    released, closed = threading.Event(), threading.Event()
    received: list[bytes] = []
    real, module = socket.getaddrinfo, vars(socket)

    def resolve(*arguments: Any, **more: Any) -> Any:
        released.wait(3)
        return real(*arguments, **more)

    def serve(connected: socket.socket) -> None:
        received.append(connected.recv(100))
        closed.set()

    with raw_server(serve) as port:
        module["getaddrinfo"] = resolve
        try:
            assert failure(client, f"http://localhost:{port}/") == LATE
            released.set()
            assert closed.wait(3)
        finally:
            module["getaddrinfo"] = real
    assert received == [b""]


def a_kept_connection_serves_again_after_a_failure(client: ModuleType, _: Path) -> None:
    behaviours = {
        "/slow": waits(2, http_response(b"late")),
        "/large": sends(http_response(b"large")),
        "/": sends(http_response(b"root")),
    }
    with KeyServer(behaviours) as server:
        connection = client.Connection(server.url(""))
        with pytest.raises(client.TransportError, match="larger than 4 bytes"):
            connection.request("GET", "/large", timeout=TIMEOUT, max_bytes=4)
        assert connection.request("GET", "/", timeout=TIMEOUT).body == b"root"
        connection.close()
        for _attempt in range(2):
            with pytest.raises(
                client.TransportError, match=r"^no complete response within 0\.2 s$"
            ):
                connection.request("GET", "/slow", timeout=0.2)
            assert connection.request("GET", "/", timeout=TIMEOUT).body == b"root"
            connection.close()


def every_form_of_a_url_works(client: ModuleType, _: Path) -> None:
    for host in ("127.0.0.1", "::1"):
        with KeyServer(
            {"/": sends(http_response(b"root")), "/a?b=c": sends(http_response(b"query"))}, host
        ) as one:
            assert get(client, one.url("")).body == b"root"
            assert get(client, one.url("/a?b=c#d")).body == b"query"
            assert one.heads["/"].count(b"\r\nHost: %b:%d\r\n" % (one.host.encode(), one.port)) == 1
            assert b"\r\nUser-Agent: " in one.heads["/"], "firewalls refuse requests without"


def default_ports_are_used(client: ModuleType, _: Path) -> None:
    resolved = []

    def resolve(host: str, port: int, *_: object) -> Any:
        resolved.append((host, port))
        raise socket.gaierror

    real, module = socket.getaddrinfo, vars(socket)
    module["getaddrinfo"] = resolve
    try:
        for url in ("http://[::1]/jwks", "https://[::1]/jwks", "https://keys.example"):
            assert failure(client, url) == "the host name cannot be resolved"
    finally:
        module["getaddrinfo"] = real
    assert resolved == [("::1", 80), ("::1", 443), ("keys.example", 443)]


def certificates_are_verified(client: ModuleType, folder: Path) -> None:
    authority = write_certificate(folder / "both.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    untrusted = "TLS failed: CERTIFICATE_VERIFY_FAILED"
    with tls_server(context, http_response(b"secret")) as port:
        url, other = f"https://127.0.0.1:{port}/", f"https://localhost:{port}/"
        assert failure(client, url) == untrusted
        assert get(client, url, ca_bundle=str(authority)).body == b"secret"
        assert failure(client, other, ca_bundle=str(authority)) == untrusted, "another name"
        assert failure(client, url, ca_bundle=str(folder / "missing.pem")) == (
            "the bundle of certificate authorities cannot be read"
        )
        real, client.certifi.where = client.certifi.where, lambda: str(authority)
        try:
            assert get(client, url).body == b"secret", "certifi is the default"
        finally:
            client.certifi.where = real


CHECKS: tuple[FunctionType, ...] = (
    a_body_has_a_maximum_size,
    every_status_is_a_response,
    a_response_has_a_deadline,
    a_name_server_has_a_deadline,
    an_abandoned_request_is_not_sent,
    a_kept_connection_serves_again_after_a_failure,
    every_form_of_a_url_works,
    default_ports_are_used,
    certificates_are_verified,
)
