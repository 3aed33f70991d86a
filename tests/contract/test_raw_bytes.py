"""Malformed requests as raw bytes: never a 5xx, and the server still works afterwards."""

import http.client
import re
import socket
import ssl
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from tests.contract.users import User

pytestmark = pytest.mark.raw

JSON = b"Content-Type: application/json\r\n"


def connect(api_url: str, timeout: float) -> socket.socket:
    address = urlsplit(api_url)
    port = address.port or (443 if address.scheme == "https" else 80)
    plain = socket.create_connection((address.hostname or "", port), timeout=timeout)
    if address.scheme != "https":
        return plain
    return ssl.create_default_context().wrap_socket(plain, server_hostname=address.hostname)


def exchange(api_url: str, *pieces: bytes, timeout: float = 5) -> list[int]:
    """Send the pieces on a new connection; returns the status of every response.

    An empty list means that the server closed the connection, or sent nothing for `timeout` seconds
    because it waits for the rest of an incomplete request.
    """
    received = b""
    with connect(api_url, timeout) as connection:
        # A server may close the connection before it has read a request that it refuses.
        with suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
        with suppress(OSError):
            while block := connection.recv(65536):
                received += block
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", received)]


def request(
    user: User,
    method: bytes = b"GET",
    target: bytes | None = None,
    headers: bytes = b"",
    body: bytes = b"",
    *,
    token: bool = True,
) -> bytes:
    """A request as bytes, with Host, the user's token, and Connection: close."""
    line = method + b" " + (user.url.encode() if target is None else target) + b" HTTP/1.1"
    default = b"Host: contract.test\r\nConnection: close\r\n"
    if token:
        default += f"Authorization: Bearer {user.token}\r\n".encode()
    return line + b"\r\n" + default + headers + b"\r\n" + body


def assert_still_works(user: User, statuses: list[int]) -> None:
    assert all(status < 500 for status in statuses), statuses
    assert user.client.get("/api/health").status_code == 200
    assert user.titles() == ["untouched"]


@pytest.fixture
def user(user: User) -> User:
    user.create("untouched")
    return user


def test_a_request_made_of_bytes_works(user: User, api_url: str) -> None:
    assert exchange(api_url, request(user)) == [200]
    assert exchange(api_url, request(user, token=False)) == [401]


# Authorization

AUTHORIZATIONS = {
    "same twice": ["Bearer {mine}", "Bearer {mine}"],
    "mine, theirs": ["Bearer {mine}", "Bearer {theirs}"],
    "theirs, mine": ["Bearer {theirs}", "Bearer {mine}"],
    "mine, Basic": ["Bearer {mine}", "Basic eDp5"],
    "Basic, mine": ["Basic eDp5", "Bearer {mine}"],
    "empty, mine": ["", "Bearer {mine}"],
    "mine, empty": ["Bearer {mine}", ""],
    "mine, broken": ["Bearer {mine}", "Bearer x.y.z"],
    "ten times": ["Bearer {mine}"] * 10,
    "joined": ["Bearer {mine}, Bearer {theirs}"],
}


@pytest.mark.parametrize("case", AUTHORIZATIONS)
@pytest.mark.parametrize("between", ["", "X-Other: 1\r\n"], ids=["together", "apart"])
def test_several_authorization_headers_are_refused(
    user: User, other_user: User, api_url: str, case: str, between: str
) -> None:
    lines = between.join(f"Authorization: {value}\r\n" for value in AUTHORIZATIONS[case])
    headers = lines.format(mine=user.token, theirs=other_user.token).encode()
    statuses = exchange(api_url, request(user, headers=headers, token=False))
    assert statuses in ([400], [401])
    assert_still_works(user, statuses)


@pytest.mark.parametrize(
    "line",
    [
        b"Authorization:  ",
        b"Authorization: Bearer ",
        b"Authorization: Bearer \xff\xfe",
        b"Authorization: Bearer a\x00b",
        b"Authorization: Bearer long" + b"A" * 5000,
        b"Authorization: Bearer longer" + b"A" * 60_000,
        b"Authorization: Bearer \xe2\x80\x8b",
        b"Authorization: Bearer\r\n x.y.z",
        b"Authorization : Bearer x.y.z",
        b"Authorization",
        b": Bearer x.y.z",
        b"Author\xefzation: Bearer x.y.z",
    ],
    ids=lambda line: repr(line[:40]),
)
def test_a_malformed_authorization_line_gives_no_access(
    user: User, api_url: str, line: bytes
) -> None:
    statuses = exchange(api_url, request(user, headers=line + b"\r\n", token=False))
    assert all(status >= 400 for status in statuses), statuses
    assert_still_works(user, statuses)


# Methods


@pytest.mark.parametrize(
    "method",
    [
        b"get",
        b"FOO",
        b"TRACE",
        b"CONNECT",
        b"PROPFIND",
        b"QUERY",
        b"G\xc9T",
        b"A" * 2000,
        b"GET\x00",
    ],
    ids=lambda method: repr(method[:20]),
)
def test_an_unusual_method_causes_no_server_error(user: User, api_url: str, method: bytes) -> None:
    statuses = exchange(api_url, request(user, method))
    assert all(status >= 400 for status in statuses), statuses
    assert_still_works(user, statuses)


# Header lines

HEADERS = {
    "no Host": b"GET /api/health HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two Hosts": b"GET /api/health HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
    "Host of another site": b"GET {url}/ HTTP/1.1\r\nHost: evil.example/x?\r\n"
    b"Connection: close\r\n{token}\r\n",
    "Host not a name": b"GET {url}/ HTTP/1.1\r\nHost: @@:99999\r\nConnection: close\r\n{token}\r\n",
    "Host with bytes": b"GET {url} HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n{token}\r\n",
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_malformed_host_causes_no_server_error(user: User, api_url: str, case: str) -> None:
    sent = HEADERS[case].replace(b"{url}", user.url.encode())
    sent = sent.replace(b"{token}", f"Authorization: Bearer {user.token}\r\n".encode())
    statuses = exchange(api_url, sent)
    assert not any(300 <= status < 400 for status in statuses), (
        "no redirect to the host that the client sent"
    )
    assert_still_works(user, statuses)


KEYS = [b"\xff\xfe", b"a\x00b", b"", b"a\r\nIdempotency-Key: b", b"a, b", b"k" * 50_000]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key[:20]))
def test_a_malformed_idempotency_key_creates_nothing(user: User, api_url: str, key: bytes) -> None:
    body = b'{"title": "untouched"}'
    headers = JSON + b"Idempotency-Key: %b\r\nContent-Length: %d\r\n" % (key, len(body))
    statuses = exchange(api_url, request(user, b"POST", headers=headers, body=body))
    assert all(status >= 400 for status in statuses), statuses
    assert_still_works(user, statuses)


# Bodies

CHUNKED = b"Transfer-Encoding: chunked\r\n"


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def test_a_chunked_body_in_raw_bytes_is_read_completely(user: User, api_url: str) -> None:
    body = chunks(b'{"ti', b'tle": "unto', b'uched"}')
    assert exchange(api_url, request(user, b"POST", headers=JSON + CHUNKED, body=body)) == [201]
    assert user.titles() == ["untouched", "untouched"]


@pytest.mark.parametrize("size", [16, 1000, 70_000])
def test_a_chunked_body_over_the_limit_is_413(user: User, api_url: str, size: int) -> None:
    pieces = [b" " * size] * (70_000 // size)
    sent = request(user, b"POST", headers=JSON + CHUNKED, body=chunks(*pieces))
    statuses = exchange(api_url, sent)
    assert statuses == [413]
    assert_still_works(user, statuses)


def test_an_endless_body_is_refused(user: User, api_url: str) -> None:
    head = request(user, b"POST", headers=JSON + CHUNKED)
    endless = [b"10000\r\n" + b" " * 65536 + b"\r\n"] * 64
    statuses = exchange(api_url, head, *endless, timeout=3)
    assert statuses in ([413], [])
    assert_still_works(user, statuses)


BODIES = {
    "length negative": b"Content-Length: -1\r\n\r\n{}",
    "length a word": b"Content-Length: ten\r\n\r\n{}",
    "length signed": b"Content-Length: +2\r\n\r\n{}",
    "length hexadecimal": b"Content-Length: 0x2\r\n\r\n{}",
    "length astronomical": b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "length over the limit": b"Content-Length: 70000\r\n\r\n{}",
    "lengths that differ": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "lengths in a list": b"Content-Length: 2, 3\r\n\r\n{} ",
    "length too long": b"Content-Length: 1000\r\n\r\n{}",
    "length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"Transfer-Encoding: gzip\r\n\r\n{}",
    "hidden coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunk size a word": b"Transfer-Encoding: chunked\r\n\r\nten\r\n{}\r\n0\r\n\r\n",
    "chunk size negative": b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "chunk size astronomical": b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n{}",
    "chunk too short": b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "chunk never finished": b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    "chunk extension": b"Transfer-Encoding: chunked\r\n\r\n2;"
    + b"a" * 5000
    + b"\r\n{}\r\n0\r\n\r\n",
    "trailers": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nAuthorization: x\r\n\r\n",
    "hidden request": b"Content-Length: 2\r\n\r\n{}DELETE /api/health HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("case", BODIES)
def test_a_body_with_an_invalid_length_creates_nothing(user: User, api_url: str, case: str) -> None:
    head, _, rest = BODIES[case].partition(b"\r\n\r\n")
    sent = request(user, b"POST", headers=JSON + head + b"\r\n", body=rest)
    statuses = exchange(api_url, sent, timeout=2)
    assert all(status >= 400 for status in statuses), statuses
    assert_still_works(user, statuses)


def test_a_client_that_waits_for_100_gets_a_response(user: User, api_url: str) -> None:
    body = b'{"title": "untouched"}'
    headers = JSON + b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(body)
    statuses = exchange(api_url, request(user, b"POST", headers=headers), body)
    assert statuses in ([100, 201], [201])


def test_a_client_that_disconnects_during_a_request_changes_nothing(
    user: User, api_url: str
) -> None:
    head = request(user, b"POST", headers=JSON + b"Content-Length: 22\r\n")
    for cut in (len(head) // 2, len(head), len(head) + 10):
        sent = (head + b'{"title": "untouched"}')[:cut]
        assert_still_works(user, exchange(api_url, sent, timeout=0.2))


@pytest.mark.parametrize("length", [70_000, 1_048_576, 10_737_418_240])
def test_the_413_arrives_although_nothing_of_the_body_was_sent(
    user: User, api_url: str, length: int
) -> None:
    headers = JSON + b"Content-Length: %d\r\n" % length
    with connect(api_url, 5) as connection:
        connection.sendall(request(user, b"POST", headers=headers))
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 413
        assert b"64 KiB" in response.read()


@pytest.mark.parametrize("length", [70_000, 1_000_000])
def test_a_client_that_sends_everything_first_sees_the_413(
    user: User, api_url: str, length: int
) -> None:
    headers = JSON + b"Content-Length: %d\r\n" % length
    sent = request(user, b"POST", headers=headers)
    blocks = [b" " * min(16_384, length - start) for start in range(0, length, 16_384)]
    assert exchange(api_url, sent, *blocks) == [413]


@pytest.mark.parametrize("length", [b"70000", b"10737418240", b"9" * 30])
def test_a_declared_length_over_the_limit_is_refused_without_the_body(
    user: User, api_url: str, length: bytes
) -> None:
    headers = b"Content-Type: application/json\r\nContent-Length: " + length + b"\r\n"
    started = time.monotonic()
    statuses = exchange(api_url, request(user, b"POST", headers=headers, body=b"{"))
    assert statuses in ([413], [400])  # 400: servers do not parse thirty digits
    assert time.monotonic() - started < 5
    assert_still_works(user, statuses)
