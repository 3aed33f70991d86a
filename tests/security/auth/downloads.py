"""What a download must do: each check takes the module that it judges, so that a mutant can be
judged too, and a folder of its own.
"""

import socket
import ssl
import time
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from tests.security.auth.key_server import (
    HEAD,
    KeyServer,
    drips,
    pours,
    redirect,
    sends,
    tls_server,
    whole,
    write_certificate,
)

BUDGET = 0.4  # seconds
SOON = 0.5  # seconds that a busy machine may add


class Refused(Exception):
    """The download raised; the text is the class."""


def fetched(download: ModuleType, url: str, most_bytes: int = 1000) -> bytes:
    try:
        return download.download(url, BUDGET, most_bytes)
    except Exception as error:
        raise Refused(type(error).__name__) from error


def refusal(download: ModuleType, url: str, most_bytes: int = 1000) -> str:
    """The class of the error that this download must end with."""
    try:
        body = fetched(download, url, most_bytes)
    except Refused as refused:
        return str(refused)
    raise AssertionError(f"{url} brought {body[:40]!r}")


def a_body_has_a_size(download: ModuleType, _: Path) -> None:
    behaviours = {
        "/fits": sends(whole(b"x" * 1000)),
        "/one-more": sends(whole(b"x" * 1001)),
        "/endless": pours(HEAD + b"Connection: close\r\n\r\n", b"x" * 65536, 100_000),
    }
    with KeyServer(behaviours) as server:
        assert fetched(download, server.url("/fits")) == b"x" * 1000
        assert refusal(download, server.url("/one-more")) == "DownloadError"
        assert refusal(download, server.url("/endless")) == "DownloadError", "not the deadline"


def only_200_is_an_answer(download: ModuleType, _: Path) -> None:
    statuses = (b"201 Created", b"206 Partial Content", b"404 Not Found", b"500 Oops")
    behaviours = {
        f"/{status.decode()[:3]}": sends(whole(b"{}", b"HTTP/1.1 %b\r\n" % status))
        for status in statuses
    }
    behaviours |= {"/302": sends(redirect(b"302", "/here")), "/here": sends(whole(b"{}"))}
    with KeyServer(behaviours) as server:
        for path in behaviours.keys() - {"/here"}:
            assert refusal(download, server.url(path)) == "DownloadError"
        assert not server.requests["/here"], "a redirect is not followed"


def an_answer_has_a_deadline(download: ModuleType, _: Path) -> None:
    behaviours = {
        "/body": drips(HEAD + b"Content-Length: 25\r\n\r\n", b"x" * 25),
        "/head": drips(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 22),
        "/closing": drips(HEAD + b"Connection: close\r\n\r\n", b"x" * 25),
    }
    with KeyServer(behaviours) as server:
        for path in behaviours:
            began = time.monotonic()
            assert refusal(download, server.url(path)) == "TimeoutError", path
            assert time.monotonic() - began < BUDGET + SOON, path


def an_address_has_every_form(download: ModuleType, _: Path) -> None:
    for host in ("127.0.0.1", "::1"):
        with KeyServer({"/": sends(whole(b"root")), "/a?b=c": sends(whole(b"query"))}, host) as one:
            assert fetched(download, one.url("")) == b"root"
            assert fetched(download, one.url("/a?b=c#d")) == b"query"
            assert one.heads["/"].count(b"\r\nHost: %b:%d\r\n" % (one.host.encode(), one.port)) == 1
            assert b"\r\nUser-Agent: " in one.heads["/"], "firewalls refuse requests without"


def a_default_port_is_known(download: ModuleType, _: Path) -> None:
    asked = []

    def resolve(host: str, port: int, *_: object) -> Any:
        asked.append((host, port))
        raise socket.gaierror

    real, module = socket.getaddrinfo, vars(socket)
    module["getaddrinfo"] = resolve
    try:
        for url in ("http://[::1]/jwks", "https://[::1]/jwks", "https://keys.example"):
            refusal(download, url)
    finally:
        module["getaddrinfo"] = real
    assert asked == [("::1", 80), ("::1", 443), ("keys.example", 443)]


def a_certificate_is_verified(download: ModuleType, folder: Path) -> None:
    authority = write_certificate(folder / "both.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with tls_server(context, whole(b"secret")) as port:
        url = f"https://127.0.0.1:{port}/"
        assert refusal(download, url) == "SSLCertVerificationError"
        real, download.certifi.where = download.certifi.where, lambda: str(authority)
        try:
            assert fetched(download, url) == b"secret"
            other = f"https://localhost:{port}/"
            assert refusal(download, other) == "SSLCertVerificationError", "another name"
        finally:
            download.certifi.where = real


DOWNLOADS: tuple[FunctionType, ...] = (
    a_body_has_a_size,
    only_200_is_an_answer,
    an_answer_has_a_deadline,
    an_address_has_every_form,
    a_default_port_is_known,
    a_certificate_is_verified,
)
