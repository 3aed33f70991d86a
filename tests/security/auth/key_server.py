"""A server of key sets on real sockets, with a configurable behaviour for each path."""

import datetime
import gzip
import socket
import socketserver
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.security.auth.keys import ec_key

type Behaviour = Callable[[socket.socket], None]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def http_response(body: bytes, head: bytes = HEAD) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def sends(raw: bytes) -> Behaviour:
    return lambda connected: connected.sendall(raw)


def drips(before: bytes, drops: bytes, every: float = 0.1) -> Behaviour:
    """Sends `before` at once and the rest byte by byte, each `every` seconds."""

    def drip(connected: socket.socket) -> None:
        connected.sendall(before)
        for drop in drops:
            time.sleep(every)
            connected.sendall(bytes([drop]))

    return drip


def waits(seconds: float, then: bytes = b"") -> Behaviour:
    def wait(connected: socket.socket) -> None:
        time.sleep(seconds)
        connected.sendall(then)

    return wait


def pours(before: bytes, piece: bytes, times: int) -> Behaviour:
    def pour(connected: socket.socket) -> None:
        connected.sendall(before)
        for _ in range(times):
            connected.sendall(piece)

    return pour


def chunked(*chunks: bytes) -> bytes:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (*chunks, b""))


def redirect(status: bytes, path: str) -> bytes:
    location = b"Location: %b\r\n" % path.encode()
    return b"HTTP/1.1 %b Moved\r\n%bContent-Length: 0\r\n\r\n" % (status, location)


def good_behaviours(body: bytes) -> dict[str, Behaviour]:
    """Valid ways to send a key set."""
    half = len(body) // 2
    old = HEAD.replace(b"1.1", b"1.0") + b"\r\n" + body
    return {
        "/plain": sends(http_response(body)),
        "/with/path/and?query=1&other=%20": sends(http_response(body)),
        "/": sends(http_response(body)),
        "/chunked": sends(chunked(body[:half], body[half:])),
        "/until-the-end": sends(HEAD + b"Connection: close\r\n\r\n" + body),
        "/http-1.0": sends(old),
        "/kept-open": lambda connected: (connected.sendall(http_response(body)), time.sleep(3))[0],
        "/as-text": sends(http_response(body, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")),
        "/half-a-second": waits(0.5, http_response(body)),
        "/continue": sends(b"HTTP/1.1 100 Continue\r\n\r\n" + http_response(body)),
        "/in-three-pieces": drips(http_response(body)[:-3], http_response(body)[-3:]),
        "/with-a-mark": sends(http_response(b"\xef\xbb\xbf" + body)),
    }


def bad_behaviours(body: bytes) -> dict[str, Behaviour]:
    """Ways to fail, most of them with a valid key set."""
    good = http_response(body)
    endless = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    return {
        # Slow
        "/hangs": waits(4),
        "/late": waits(2.5, good),
        "/drips-body": drips(good[: -len(body)], body),
        "/drips-body-and-closes": drips(HEAD + b"Connection: close\r\n\r\n", body),
        "/drips-body-of-http-1.0": drips(HEAD.replace(b"1.1", b"1.0") + b"\r\n", body),
        "/drips-head": drips(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 20 + good),
        "/drips-status": drips(b"", good),
        "/drips-chunks": drips(endless, b"1\r\n \r\n" * 20),
        "/drips-blanks": drips(HEAD + b"Content-Length: 9999\r\n\r\n" + body, b" " * 40),
        "/continues": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3, 0.05),
        # Large
        "/64-MiB": pours(HEAD + b"Content-Length: 67108864\r\n\r\n", b" " * 65536, 1024),
        "/endless": pours(HEAD + b"Connection: close\r\n\r\n" + body, b" " * 65536, 100_000),
        "/endless-chunks": pours(endless, b"1000\r\n" + b" " * 4096 + b"\r\n", 100_000),
        "/endless-head": pours(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 5000 + b"\r\n", 100_000),
        "/endless-header": pours(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65536, 10_000),
        "/endless-status": pours(b"HTTP/1.1 200 ", b"y" * 65536, 10_000),
        "/just-too-large": sends(http_response(body[:-1] + b" " * (150_001 - len(body)) + b"}")),
        # Not a key set
        "/nothing": sends(http_response(b"")),
        "/no-content": sends(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "/empty-set": sends(http_response(b'{"keys":[]}')),
        "/keys-null": sends(http_response(b'{"keys":null}')),
        "/keys-object": sends(http_response(b'{"keys":{"0":1}}')),
        "/keys-number": sends(http_response(b'{"keys":7}')),
        "/keys-text": sends(http_response(b'{"keys":"none"}')),
        "/no-keys": sends(http_response(b"{}")),
        "/list": sends(http_response(b"[%b]" % body)),
        "/null": sends(http_response(b"null")),
        "/number": sends(http_response(b"7")),
        "/html": sends(http_response(b"<!doctype html><title>Sign in</title>")),
        "/cut-json": sends(http_response(body[:-2])),
        "/two-sets": sends(http_response(body * 2)),
        "/deep": sends(http_response(b'{"keys":' + b"[" * 70_000 + b"]" * 70_000 + b"}")),
        "/deep-key": sends(
            http_response(b'{"keys":[' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"]}")
        ),
        "/long-number": sends(http_response(b'{"keys":' + b"9" * 100_000 + b"}")),
        "/no-utf-8": sends(http_response(b'{"keys":["\xff"]}')),
        "/gzip": sends(http_response(gzip.compress(body), HEAD + b"Content-Encoding: gzip\r\n")),
        "/other-keys": sends(http_response(b'{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}')),
        # Not a successful response
        "/301": sends(redirect(b"301", "/plain")),
        "/302": sends(redirect(b"302", "/plain")),
        "/307": sends(redirect(b"307", "/plain")),
        "/308": sends(redirect(b"308", "/plain")),
        "/401": sends(http_response(body, b"HTTP/1.1 401 Unauthorized\r\n")),
        "/404": sends(http_response(body, b"HTTP/1.1 404 Not Found\r\n")),
        "/429": sends(http_response(body, b"HTTP/1.1 429 Too Many Requests\r\n")),
        "/500": sends(http_response(body, b"HTTP/1.1 500 Internal Server Error\r\n")),
        "/206": sends(http_response(body, b"HTTP/1.1 206 Partial Content\r\n")),
        "/hangs-up": sends(b""),
        "/hangs-up-in-the-head": sends(b"HTTP/1.1 200 OK\r\nContent-"),
        "/hangs-up-in-the-body": sends(good[:-10]),
        "/hangs-up-in-a-chunk": sends(chunked(body)[:-20]),
        "/bad-length": sends(HEAD + b"Content-Length: many\r\n\r\n" + body[:10]),
        "/bad-chunks": sends(endless + b"zz\r\n" + body),
        "/no-http": sends(b"SSH-2.0-OpenSSH_9.9\r\n"),
        "/bytes": sends(bytes(range(256)) * 4),
        "/http-0.9": sends(body),
    }


class KeyServer:
    """Serves `behaviours` by target; counts the requests for each."""

    def __init__(self, behaviours: dict[str, Behaviour], host: str = "127.0.0.1") -> None:
        self.behaviours = behaviours
        self.requests: Counter[str] = Counter()
        self.heads: dict[str, bytes] = {}
        serve = self._serve

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                # The client may close the connection in the middle of a response.
                with suppress(OSError):
                    serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128
            address_family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET

        self._server = Server((host, 0), Handler)
        self.port: int = self._server.server_address[1]
        self.host = f"[{host}]" if ":" in host else host

    def url(self, target: str) -> str:
        return f"http://{self.host}:{self.port}{target}"

    def _serve(self, connected: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            received = connected.recv(65536)
            if not received:
                return
            head += received
        target = head.split(b" ")[1].decode()
        self.requests[target] += 1
        self.heads[target] = head
        self.behaviours.get(target, sends(b"HTTP/1.1 404 Not Found\r\n\r\n"))(connected)

    def __enter__(self) -> "KeyServer":
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def tls_server(context: ssl.SSLContext, response: bytes, delay: float = 0.0) -> Generator[int]:
    """The port of a TLS server that sends `response` after `delay` seconds."""

    def serve(connected: socket.socket) -> None:
        with context.wrap_socket(connected, server_side=True) as secured:
            secured.recv(65536)
            time.sleep(delay)
            secured.sendall(response)

    with raw_server(serve) as port:
        yield port


@contextmanager
def raw_server(serve: Callable[[socket.socket], Any]) -> Generator[int]:
    """The port of a server that passes each connection to `serve`."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        # Also after a check that failed: with a closed socket, the thread would never wait.
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@contextmanager
def full_backlog() -> Generator[int]:
    """The port of a listener that never accepts and whose queue is full: connecting hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        try:
            yield port
        finally:
            for one in waiting:
                one.close()


def write_certificate(path: Path) -> Path:
    """Writes a certificate for 127.0.0.1, signed by itself, and its key; gives the path back."""
    key = ec_key("authority")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "keys")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), True),
    ]
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(30))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + private)
    return path
