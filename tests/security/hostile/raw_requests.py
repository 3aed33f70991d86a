"""Hundreds of malformed requests as bytes.

tests/contract/test_raw_bytes.py has the requests whose response the contract defines. These must
cause no 5xx, change nothing, and leave the server running.
"""

import gzip
from collections.abc import Callable, Iterator

HUGE = b"9" * 4999
DEEP = 20_000  # fits into 64 KiB

BODIES = {
    "empty": b"",
    "blank": b" \r\n\t",
    "null": b"null",
    "true": b"true",
    "zero": b"0",
    "text": b'"title"',
    "list": b"[]",
    "object": b"{}",
    "open": b"{",
    "closed": b"}",
    "no value": b'{"title":}',
    "NaN": b'{"title": NaN}',
    "infinite": b'{"title": Infinity, "completed": -Infinity}',
    "overflow": b'{"title": 1e999, "completed": 1e999}',
    "underflow": b'{"title": 1e-999, "completed": -0}',
    "5,000 digits": b'{"title": ' + HUGE + b', "completed": ' + HUGE + b"}",
    "60,000 digits": b'{"completed": ' + b"9" * 60_000 + b"}",
    "hexadecimal": b'{"completed": 0x1}',
    "leading zero": b'{"completed": 01}',
    "high surrogate": rb'{"title": "\ud800"}',
    "low surrogate": rb'{"title": "a\udfffb", "description": "\udc00"}',
    "surrogates reversed": rb'{"title": "\ude00\ud83d"}',
    "surrogate as a name": rb'{"\ud800": 1, "title": "x"}',
    "escaped NUL": rb'{"title": "a\u0000b"}',
    "raw NUL": b'{"title": "a\x00b"}',
    "NUL as a name": rb'{"\u0000": 1}',
    "raw newline": b'{"title": "a\nb"}',
    "half an escape": b'{"title": "\\u12"}',
    "unknown escape": b'{"title": "\\x41"}',
    "bytes": b'{"title": "\xff\xfe"}',
    "overlong": b'{"title": "\xc0\xaf\xe0\x80\xaf"}',
    "encoded surrogate": b'{"title": "\xed\xa0\x80"}',
    "beyond Unicode": b'{"title": "\xf5\x80\x80\x80"}',
    "cut character": b'{"title": "\xe2\x82',
    "mark": b'\xef\xbb\xbf{"title": "x"}',
    "UTF-16": '{"title": "x"}'.encode("utf-16"),
    "UTF-32": '{"title": "x"}'.encode("utf-32"),
    "UTF-7": b'{"title": "+2AA-"}',
    "twice": b'{"title": "a", "title": "b"}',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * (DEEP // 2) + b"1" + b"}" * (DEEP // 2),
    "deep and unfinished": b"[" * 60_000,
    "long name": b'{"' + b"n" * 60_000 + b'": 1}',
    "many names": b"{" + b",".join(b'"%d":0' % n for n in range(5000)) + b"}",
    "prototype": b'{"__proto__": {"title": "x"}, "constructor": 1}',
    "comment": b'{"title": "x" /* y */}',
    "trailing comma": b'{"title": "x",}',
    "single quotes": b"{'title': 'x'}",
    "trailing text": b'{"title": "x"} x',
    "two documents": b'{"title": "x"}{"title": "y"}',
    "lines": b'{"title": "x"}\n{"title": "y"}\n',
    "gzip": gzip.compress(b'{"title": "x"}', mtime=0),
    "form": b"title=x&completed=true",
    "multipart": b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nx\r\n--b--\r\n',
    "XML": b'<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><t>&x;</t>',
    "types": b'{"title": [], "description": {}, "completed": "true"}',
    "numbers": b'{"title": 1, "description": 2, "completed": 1}',
    "operators": b'{"title": {"$gt": ""}, "completed": {"$ne": null}}',
}

IDS = [
    b"0", b"-1", b"-0", b"00", b"01", b"+1", b"1.0", b"1e3", b"1_0", b"0x1", b"1;x", b"1,2",
    b"NaN", b"Infinity", b"true", b"null", b"2147483648", b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551616", b"9" * 30, b"9" * 300, HUGE, b"%00", b"1%00",
    b"%ff", b"%ed%a0%80", b"1%0a", b"1%0d%0aX:%20y", b"%EF%BC%91", b"%D9%A1", b"%E2%80%AE1", b"%",
    b"%g1", b"1%20", b"%09", b"..", b"%2e%2e", b"%2e%2e%2f1", b"1'--", b"1%27%20OR%201=1", b"${1}",
    b"{{1}}", b"*", b"\xff",
]  # fmt: skip
TASK_METHODS = {b"GET": b"", b"DELETE": b"", b"PATCH": b"/complete"}

PARAMETERS = ["status", "sort", "order", "q", "limit", "cursor", "count"]
VALUES = [
    b"", b"%00", b"%ff", b"%ed%a0%80", b"%", b"0", b"-1", b"1.5", b"1e9", HUGE, b"NaN", b"[]",
    b"{}", b"%F0%9F%98%80", b"%D9%A1", b"a" * 8000, b"%27%3B--", b"%0d%0aX:y", b"\xc3\xa9",
    b"%5c%25_",
]  # fmt: skip

HEADERS = [
    "Authorization", "Content-Type", "Content-Encoding", "If-Match", "If-None-Match",
    "Idempotency-Key", "X-Request-ID", "Origin", "Host", "Accept", "Cookie", "Range",
    "traceparent", "baggage", "X-Forwarded-For",
]  # fmt: skip
HEADER_VALUES = [
    b"", b"\xff\xfe", "\N{GRINNING FACE}".encode(), b"\xed\xa0\x80", b"a" * 8000, b'"' * 500,
    b"," * 500, b"%00", b"\t", b"*", b"-1", HUGE, b'W/"1", *, "\xff"', b"\x7f", b"=;==;,;",
]  # fmt: skip

# Two lengths for one body: a server that takes the shorter one sees a second request. The first are
# well-formed for a server that prefers chunks (RFC 9112, section 6.3), as the local one does. No
# deployed function parses HTTP/1.1 itself.
N, TE = b"Content-Length: {n}\r\n", b"Transfer-Encoding"
EMPTY_CHUNKS = b"\r\n0\r\n\r\n{hidden}"
SMUGGLING = {
    "length, then chunks": N + TE + b": chunked\r\n" + EMPTY_CHUNKS,
    "chunks, then length": TE + b": chunked\r\n" + N + EMPTY_CHUNKS,
    "chunked with a tab": N + TE + b":\tchunked\r\n" + EMPTY_CHUNKS,
    "chunked folded": N + TE + b":\r\n chunked\r\n" + EMPTY_CHUNKS,
    "chunked in capitals": N + TE.upper() + b": CHUNKED\r\n" + EMPTY_CHUNKS,
}
WELL_FORMED = set(SMUGGLING)
SMUGGLING |= {
    "chunked with a blank": N + TE + b" : chunked\r\n" + EMPTY_CHUNKS,
    "chunked, obscured": N + TE + b": \x0bchunked\r\n" + EMPTY_CHUNKS,
    "chunked, identity": N + TE + b": chunked, identity\r\n" + EMPTY_CHUNKS,
    "identity, chunked": N + TE + b": identity, chunked\r\n" + EMPTY_CHUNKS,
    "chunked in quotes": N + TE + b': "chunked"\r\n' + EMPTY_CHUNKS,
    "chunked behind a NUL": N + TE + b": \x00chunked\r\n" + EMPTY_CHUNKS,
    "two lengths": b"Content-Length: 0\r\n" + N + b"\r\n{hidden}",
    "lengths in a list": b"Content-Length: 0, {n}\r\n\r\n{hidden}",
    "a length with a sign": b"Content-Length: +{n}\r\n\r\n{hidden}",
    "a length in hexadecimal": b"Content-Length: 0x{n}\r\n\r\n{hidden}",
    "a length with a blank": b"Content-Length : {n}\r\n\r\n{hidden}",
    "a length of wide digits": b"Content-Length: \xef\xbc\x91\r\n\r\n{hidden}",
    "a bare CR": b"X: y\r" + N + b"\r\n{hidden}",
    "a bare LF": b"X: y\n" + N + b"\r\n{hidden}",
    "a NUL": b"X: \x00\r\n" + N + b"\r\n{hidden}",
    "a chunk size that wraps": TE + b": chunked\r\n\r\n10000000000000000\r\n{hidden}",
    "a chunk size with a sign": TE + b": chunked\r\n\r\n-1\r\n{hidden}",
}

LINES = [
    b"GET {path}  HTTP/1.1", b"GET  {path} HTTP/1.1", b"GET {path} HTTP/1.1 ",
    b" GET {path} HTTP/1.1", b"GET {path} HTTP/01.1", b"GET {path} HTTP/1.10",
    b"GET {path} http/1.1", b"GET {path} HTTP/-1.1", b"get {path} HTTP/1.1",
    b"GETGETGET {path} HTTP/1.1", b"G\x00T {path} HTTP/1.1", b"\xff {path} HTTP/1.1",
    b"GET {path}?a=\x01 HTTP/1.1", b"GET \\{path} HTTP/1.1", b"GET ///{path} HTTP/1.1",
    b"GET ?q=1 HTTP/1.1", b"GET http:// HTTP/1.1", b"GET http://[::1{path} HTTP/1.1",
    b"OPTIONS * HTTP/1.1", b"CONNECT {path} HTTP/1.1", b"TRACE {path} HTTP/1.1",
    b"M-SEARCH * HTTP/1.1", b"POST {path}#x HTTP/1.1", b"GET {path}%2 HTTP/1.1",
]  # fmt: skip


# Sent as they are: they need not be one HTTP request.
WHOLE_REQUESTS = {
    "no version": b"GET {path}\r\n\r\n",
    "no target": b"GET\r\n\r\n",
    "no method": b" {path} HTTP/1.1\r\nHost: x\r\n\r\n",
    "version 0.9": b"GET {path} HTTP/0.9\r\n\r\n",
    "version 1.0": b"GET {path} HTTP/1.0\r\n\r\n",
    "version 2.0": b"GET {path} HTTP/2.0\r\nHost: x\r\nConnection: close\r\n\r\n",
    "version 9.9": b"GET {path} HTTP/9.9\r\nHost: x\r\n\r\n",
    "version unknown": b"GET {path} HTTQ/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS hello": bytes.fromhex("16030100a5010000a10303") + b"\x00" * 160,
    "only line ends": b"\r\n\r\n\r\n\r\n",
    "only line feeds": b"GET {path} HTTP/1.1\nHost: x\nConnection: close\n\n",
    "zeros": b"\x00" * 1000,
    "noise": bytes(range(256)) * 8,
    "two targets": b"GET {path} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "tabs": b"GET\t{path}\tHTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "endless line": b"GET /" + b"a" * 200_000,
    "never finished": b"GET {path} HTTP/1.1\r\nHost: x\r\n",
    "two requests": b"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"
    b"GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
}

TARGETS = {
    "absolute": b"http://evil.example{path}",
    "absolute https": b"https://evil.example{path}",
    "two slashes": b"//evil.example{path}",
    "authority": b"evil.example:443",
    "star": b"*",
    "relative": b"api/health",
    "empty": b"",
    "fragment": b"{path}#x",
    "dots": b"/api/nobody/../..{path}",
    "encoded dots": b"/api/nobody/%2e%2e{path}",
    "backslashes": b"\\api\\health",
    "NUL": b"{path}/\x00",
    "encoded NUL": b"{path}/%00",
    "raw UTF-8": "{path}/é".encode(),
    "raw bytes": b"{path}/\xff\xfe",
    "encoded bytes": b"{path}/%ff%fe",
    "cut escape": b"{path}/%",
    "bad escape": b"{path}/%zz",
    "encoded surrogate": b"{path}/%ed%a0%80",
    "encoded newline": b"{path}/%0d%0aX-Injected:%201",
    "long path": b"{path}/" + b"1" * 20_000,
    "longer path": b"{path}/" + b"a" * 100_000,
    "long query": b"{path}?q=" + b"a" * 20_000,
    "many parameters": b"{path}?" + b"a=1&" * 5000,
    "NUL in the query": b"{path}?q=\x00",
    "bytes in the query": b"{path}?q=\xff&status=\xff",
    "encoded bytes in the query": b"{path}?q=%ff&status=%ff&limit=%ff&cursor=%ff",
    "encoded surrogate in the query": b"{path}?q=%ed%a0%80",
    "control characters": b"{path}/\x01\x1b\x7f",
}

HEADER_LINES = {
    "no colon": b"Nonsense\r\n",
    "no name": b": value\r\n",
    "blank in the name": b"X Odd: 1\r\n",
    "blank before the colon": b"X-Odd : 1\r\n",
    "folded": b"X-Odd: 1\r\n 2\r\n",
    "NUL": b"X-Odd: a\x00b\r\n",
    "bare CR": b"X-Odd: a\rb\r\n",
    "bare LF": b"X-Odd: a\nX-Injected: b\r\n",
    "bytes": b"X-Odd: \xff\xfe\r\n",
    "bytes in the name": b"X-\xc3\xa9: 1\r\n",
    "long value": b"X-Odd: " + b"a" * 100_000 + b"\r\n",
    "long name": b"X" * 100_000 + b": 1\r\n",
    "two thousand": b"".join(b"X-%d: 1\r\n" % number for number in range(2000)),
    "many cookies": b"Cookie: a=1\r\n" * 200,
    "bytes in the cookie": b"Cookie: a=\xff; =; ;;\r\n",
    "bytes as request id": b"X-Request-ID: \xff\xfe\r\n",
    "request id twice": b"X-Request-ID: a\r\nX-Request-ID: b\r\n",
    "malformed forwarding": b"X-Forwarded-For: ,,\xff\r\nX-Forwarded-Proto: zzz\r\n"
    b"X-Forwarded-Port: zzz\r\nX-Forwarded-Host: evil.example\r\nForwarded: ;;=\r\n",
    "other path": b"X-Original-URL: /api/health\r\nX-Rewrite-URL: /api/health\r\n",
    "other method": b"X-HTTP-Method-Override: DELETE\r\n",
    "range": b"Range: bytes=0-1,5-,-3,x\r\n",
    "malformed origin": b"Origin: \xff\r\n",
    "two origins": b"Origin: http://localhost:3000\r\nOrigin: https://evil.example\r\n",
    "malformed tag": b"If-None-Match: \xff\r\n",
    "control character as tag": b"If-None-Match: \x7f\r\n",
    "control character as request id": b"X-Request-ID: a\x7f\r\n",
    "tag twice": b'If-None-Match: "a"\r\nIf-None-Match: "b"\r\n',
    "malformed dates": b"If-Modified-Since: yesterday\r\nIf-Unmodified-Since: \xff\r\n",
    "malformed expectations": b"Expect: miracles\r\n",
    "upgrade": b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n",
    "web socket": b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    "bad accept": b"Accept: image/png;q=zzz\r\nAccept-Encoding: \xff\r\nAccept-Charset: x\r\n",
}


def raw_requests(path: bytes, token: str) -> Iterator[tuple[str, bytes]]:
    """The requests to the `path` of a user, with their names."""
    usual = b"Connection: close\r\nAuthorization: Bearer " + token.encode() + b"\r\n"
    host = b"Host: api.test\r\n"

    def head(line: bytes, *headers: bytes) -> bytes:
        return line + b"\r\n" + host + usual + b"".join(headers) + b"\r\n"

    def with_body(method: bytes, target: bytes, body: bytes) -> bytes:
        length = b"Content-Length: %d\r\n" % len(body)
        json = b"Content-Type: application/json\r\n"
        return head(method + b" " + target + b" HTTP/1.1", json, length) + body

    for name, body in BODIES.items():
        yield f"POST {name}", with_body(b"POST", path, body)
        yield f"PUT {name}", with_body(b"PUT", path + b"/2000000001", body)
        yield f"PATCH {name}", with_body(b"PATCH", path + b"/2000000001/complete", body)
    for number, task_id in enumerate(IDS):
        for method, rest in TASK_METHODS.items():
            line = method + b" " + path + b"/" + task_id + rest + b" HTTP/1.1"
            yield f"{method.decode()} id {number}: {task_id[:30]!r}", head(line)
    for parameter in PARAMETERS:
        for number, value in enumerate(VALUES):
            line = b"GET " + path + b"?" + parameter.encode() + b"=" + value + b" HTTP/1.1"
            yield f"{parameter} {number}: {value[:30]!r}", head(line)
    for header in HEADERS:
        for number, value in enumerate(HEADER_VALUES):
            line = header.encode() + b": " + value + b"\r\n"
            target = path + b"/2000000001"
            yield f"{header} {number}: {value[:30]!r}", head(b"GET " + target + b" HTTP/1.1", line)
    yield from _malformed_heads(path, head)


def _malformed_heads(path: bytes, head: Callable[..., bytes]) -> Iterator[tuple[str, bytes]]:
    for line in LINES:
        yield repr(line), head(line.replace(b"{path}", path))
    for name, whole in WHOLE_REQUESTS.items():
        yield f"whole request: {name}", whole.replace(b"{path}", path)
    for name, target in TARGETS.items():
        for method in (b"GET", b"DELETE"):
            line = method + b" " + target.replace(b"{path}", path) + b" HTTP/1.1"
            yield f"{method.decode()} target: {name}", head(line)
    for name, extra in HEADER_LINES.items():
        for target in (path, path + b"/1"):
            yield (
                f"header line: {name}, {target.decode()}",
                head(b"GET " + target + b" HTTP/1.1", extra),
            )


def smuggled(path: bytes, task: bytes, token: str, shape: str) -> bytes:
    """A POST of this shape that smuggles a DELETE of the task."""
    headers = b"Host: api.test\r\nAuthorization: Bearer " + token.encode() + b"\r\n"
    hidden = b"DELETE " + path + b"/" + task + b" HTTP/1.1\r\n" + headers
    hidden += b"Connection: close\r\n\r\n"
    rest = SMUGGLING[shape].replace(b"{hidden}", hidden)
    length = len(rest.partition(b"\r\n\r\n")[2])
    return b"POST " + path + b" HTTP/1.1\r\n" + headers + rest.replace(b"{n}", b"%d" % length)
