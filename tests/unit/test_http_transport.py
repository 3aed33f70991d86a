"""The HTTP transport: connections, values, the errors of the endpoint, and time limits."""
# ruff: noqa: S608 - the names in statements are these tests' own

import asyncio
import errno
import inspect
import json
import os
import select
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import certifi
import psycopg
import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from lib.db import compiled, http_connection, http_protocol, pool
from lib.db.pool import close_pools, get_pool
from lib.db.retention import REMOVE_EXPIRED
from lib.db.transaction import run_transaction, try_transaction
from lib.db.transport import OperationalError, error_from_sqlstate, numbered
from lib.errors import DatabaseUnavailable
from lib.settings import SettingsError, load_settings, read_settings
from tests.conftest import RequestLines, StartApi, bearer
from tests.resilience import roundtrips
from tests.resilience.faults.test_cancellation import until
from tests.support import neon_endpoint, tcp_proxy
from tests.support.certificate import Certificate, write_certificate
from tests.support.databases import Database
from tests.support.neon_endpoint import Endpoint, Handler
from tests.support.tcp_proxy import Fault, Proxy

NEON = "ep-cool-darkness-a1b2c3d4-pooler.eu-central-1.aws.neon.tech"
UNCHANGED = DatabaseUnavailable(outcome_unknown=False).detail
UNKNOWN = DatabaseUnavailable(outcome_unknown=True).detail


# --- Settings, and the request's head ------------------------------------------------------------


def head(**variables: str) -> list[str]:
    environment = {"DATABASE_TRANSPORT": "http", "BETTER_AUTH_SECRET": "s" * 40} | variables
    return http_connection._endpoint(read_settings(environment)).head.decode().split("\r\n")


def test_the_password_is_in_one_header_and_the_url_is_rebuilt() -> None:
    url = f"postgres://own%40er:p%25%3A%C3%B6@{NEON}/neon%20db?sslmode=require&pgbouncer=true"
    lines = head(DATABASE_URL=url)
    assert lines[0] == "POST /sql HTTP/1.1"
    assert "Host: api.eu-central-1.aws.neon.tech" in lines
    assert [line for line in lines if "p%25" in line] == [
        f"Neon-Connection-String: postgresql://own%40er:p%25%3A%C3%B6@{NEON}/neon%20db"
    ]


def test_options_that_name_the_endpoint_are_kept() -> None:
    lines = head(DATABASE_URL=f"postgresql://o:p@{NEON}/db?options=endpoint%3Dep-x&ssl=true")
    [string] = [line for line in lines if "Connection-String" in line]
    assert string.endswith("/db?options=endpoint%3Dep-x")


def test_an_ipv6_address_of_the_database_keeps_its_brackets() -> None:
    lines = head(
        DATABASE_URL="postgresql://o:p@[2001:db8::1]:5433/db",
        DATABASE_HTTP_URL="https://[2001:db8::2]:8443/sql",
    )
    assert "Neon-Connection-String: postgresql://o:p@[2001:db8::1]:5433/db" in lines
    assert "Host: [2001:db8::2]:8443" in lines


def test_a_url_of_the_endpoint_may_be_given() -> None:
    lines = head(
        DATABASE_URL="postgresql://o:p@db.example.com:5433/db",
        DATABASE_HTTP_URL="https://proxy.example.com:8443/neon/sql",
    )
    assert lines[0] == "POST /neon/sql HTTP/1.1"
    assert "Host: proxy.example.com:8443" in lines


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"DATABASE_URL": f"postgresql://o@{NEON}/db"}, "DATABASE_URL must have a user"),
        ({"DATABASE_URL": f"postgresql://o:p@{NEON}"}, "DATABASE_URL must have a user"),
        ({"DATABASE_URL": "postgresql://o:p@db.example.com/db"}, "set DATABASE_HTTP_URL"),
        ({"DATABASE_URL": "postgresql://o:p@127.0.0.1/db"}, "set DATABASE_HTTP_URL"),
        (
            {
                "DATABASE_URL": f"postgresql://o:p@{NEON}/db",
                "DATABASE_HTTP_URL": "http://proxy.example.com/sql",
            },
            "DATABASE_HTTP_URL must be https",
        ),
        ({"DATABASE_HTTP_URL": "proxy.example.com"}, "DATABASE_HTTP_URL"),
        ({"DATABASE_TRANSPORT": "https"}, "DATABASE_TRANSPORT: must be postgres or http"),
    ],
)
def test_settings_that_cannot_work_are_refused(variables: dict[str, str], named: str) -> None:
    environment = {"DATABASE_TRANSPORT": "http", "BETTER_AUTH_SECRET": "s" * 40} | variables
    with pytest.raises(SettingsError, match=named):
        read_settings(environment)


def test_an_endpoint_on_another_machine_makes_a_deployment() -> None:
    variables = {
        "DATABASE_TRANSPORT": "http",
        "DATABASE_URL": "postgresql://o:p@127.0.0.1/db",
        "BETTER_AUTH_SECRET": "too short",
    }
    here = variables | {"DATABASE_HTTP_URL": "http://localhost:4444/sql"}
    assert read_settings(here).is_local
    with pytest.raises(SettingsError, match="at least 32 bytes"):
        read_settings(variables | {"DATABASE_HTTP_URL": "https://proxy.example.com/sql"})


# --- The emulated endpoint, behind a proxy -------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def endpoint(certificate: Certificate) -> Iterator[Endpoint]:
    with neon_endpoint.running(certificate) as running:
        yield running


@pytest.fixture
def proxy(endpoint: Endpoint) -> Iterator[Proxy]:
    with tcp_proxy.running(endpoint.port) as proxy:
        yield proxy


@pytest.fixture
def variables(
    proxy: Proxy, certificate: Certificate, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """The settings of an API that uses the endpoint through the proxy."""
    variables = {
        "DATABASE_URL": database.app_url,
        "DATABASE_TRANSPORT": "http",
        "DATABASE_HTTP_URL": f"https://localhost:{proxy.port}/sql",
        "SSL_CERT_FILE": str(certificate.ca),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield variables
    close_pools()


@pytest.fixture
def api(variables: dict[str, str], start_api: StartApi) -> TestClient:
    return start_api(**variables)


type Run = Callable[..., list[Any]]


@pytest.fixture
def run(variables: dict[str, str]) -> Run:
    """Run statements as one transaction; returns the rows of each."""

    def run(*texts: Any, **options: bool) -> list[Any]:
        statements = [text if isinstance(text, tuple) else (text, {}) for text in texts]
        return asyncio.run(run_transaction("alice", *statements, **options))

    return run


# --- Round trips and connections -----------------------------------------------------------------


def test_the_first_row_takes_three_round_trips_and_every_later_request_one(
    api: TestClient, proxy: Proxy, endpoint: Endpoint
) -> None:
    """Of the three, the proxy does not see that of TCP."""
    assert endpoint.context
    endpoint.context.num_tickets = 0  # the proxy would count them as a response
    headers = bearer(roundtrips.USER)
    assert roundtrips.count_first_request(api, headers, lambda: proxy.round_trips) == 2
    counted = roundtrips.count_requests(api, headers, lambda: proxy.round_trips)
    assert {
        request.label: round_trips for request, round_trips in counted if round_trips != 1
    } == {}
    assert proxy.connections == 1


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.RESET, Fault.END_OF_RESPONSES])
def test_a_connection_that_was_closed_while_idle_is_replaced(
    run: Run, proxy: Proxy, endpoint: Endpoint, fault: Fault
) -> None:
    async def main() -> None:
        await run_transaction("alice", ("SELECT 1", {}))
        proxy.now(fault)
        await run_transaction("alice", ("SELECT 2", {}), writes=True)

    asyncio.run(main())
    assert proxy.connections == 2
    assert len(endpoint.requests) == 2, "no request was repeated"


def test_a_connection_is_replaced_after_its_lifetime_and_probed_after_a_freeze(
    run: Run, proxy: Proxy, endpoint: Endpoint
) -> None:
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        run("SELECT 1")
        clock.shift(pool.MAX_TRUSTED_IDLE + 1)
        run("SELECT 2")
        assert len(endpoint.requests) == 2
        clock.shift(pool.MAX_TRUSTED_IDLE + 1)
        run("SELECT 3", writes=True)
        assert len(endpoint.requests) == 4, "a write that must not be repeated is preceded"
        assert proxy.connections == 1
        clock.shift(pool.CONNECTION_LIFETIME)
        run("SELECT 4")
        assert proxy.connections == 2


def test_a_burst_opens_no_more_connections_than_the_pool_has(run: Run, proxy: Proxy) -> None:
    async def burst() -> list[Any]:
        statement = ("SELECT pg_sleep(0.02), 7", {})
        return await asyncio.gather(*(run_transaction(str(n), statement) for n in range(60)))

    assert {rows[0][1] for [rows] in asyncio.run(burst())} == {7}
    assert proxy.connections <= pool.POOL_SIZE["local"]


def test_lambda_uses_one_connection_and_no_thread(
    start_api: StartApi, variables: dict[str, str], proxy: Proxy
) -> None:
    api = start_api(**variables, AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001", CORS_ORIGINS=None)
    api.get("/api/health")
    threads = threading.active_count()
    for _ in range(3):
        assert api.get("/api/lambda/tasks", headers=bearer("lambda")).status_code == 200
    proxy.now(Fault.RESET)
    assert api.get("/api/lambda/tasks", headers=bearer("lambda")).status_code == 200
    assert proxy.connections == 2
    # The threads of the emulator, one for each connection, are the only new ones.
    assert threading.active_count() - threads <= 2


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"SSL_CERT_FILE": certifi.where()}, "unable to get local issuer certificate"),
        ({"host": "database.test"}, "Hostname mismatch"),
    ],
)
def test_a_certificate_that_does_not_fit_is_refused(
    variables: dict[str, str],
    start_api: StartApi,
    endpoint: Endpoint,
    request_lines: RequestLines,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, str],
    reason: str,
) -> None:
    here = socket.getaddrinfo("127.0.0.1", None, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: here)
    url = variables["DATABASE_HTTP_URL"].replace("localhost", changed.get("host", "localhost"))
    api = start_api(**(variables | changed | {"DATABASE_HTTP_URL": url}))
    response = api.post("/api/tls/tasks", json={"title": "x"}, headers=bearer("tls"))
    assert response.json() == {"detail": UNCHANGED}
    [line] = request_lines()
    assert line["reason"].startswith(f"no connection: TLS failed: {reason}")
    assert endpoint.requests == []


def test_a_wrong_password_is_reported_without_it(
    variables: dict[str, str], start_api: StartApi, request_lines: RequestLines,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    url = variables["DATABASE_URL"].replace(":local@", ":Wr0ng@")
    api = start_api(**(variables | {"DATABASE_URL": url}))
    response = api.post("/api/wrong/tasks", json={"title": "x"}, headers=bearer("wrong"))
    assert response.status_code == 503
    assert response.json() == {"detail": UNCHANGED}
    [line] = request_lines()
    assert line["reason"] == ("no connection: password authentication failed for user 'task_app'")
    assert "Wr0ng" not in f"{line} {caplog.text}"


# --- Values and errors ---------------------------------------------------------------------------


def statements() -> Iterator[str]:
    for name, value in vars(compiled).items():
        if name.isupper():
            yield from value.values() if isinstance(value, dict) else [value]
    yield REMOVE_EXPIRED


def test_statements_return_only_types_that_both_transports_read_alike(database: Database) -> None:
    """Text is text for both. psycopg would convert a timestamp, for example."""
    texts = {"text", "character varying", "name", "unknown"}
    read = {"boolean", "bigint", "integer", "text[]", "character varying[]"}
    read.add("double precision")
    found = set()
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        for number, statement in enumerate(statements()):
            text, _ = numbered(cast("Any", statement))
            connection.execute(f"PREPARE s{number} AS {text}".encode())
        rows = connection.execute("SELECT result_types::text[] FROM pg_prepared_statements")
        for (types,) in rows:
            found |= set(types or ())
    assert {"text", "bigint"} <= found <= texts | read


ITEMS = st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")))


@given(items=ITEMS, text=st.text(st.characters(codec="utf-8", exclude_characters="\0")))
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_texts_and_arrays_of_texts_survive(run: Run, items: list[str | None], text: str) -> None:
    query = "SELECT %(items)s::text[], %(text)s::text"
    assert run((query, {"items": items, "text": text})) == [[(items, text)]]


def test_errors_are_classified_as_by_psycopg() -> None:
    known = [
        kind
        for _, kind in inspect.getmembers(psycopg.errors, inspect.isclass)
        if issubclass(kind, psycopg.Error) and kind.sqlstate
    ]
    assert len(known) > 200
    for kind in known:
        operational = issubclass(kind, psycopg.OperationalError | psycopg.InternalError)
        ours = error_from_sqlstate("", kind.sqlstate or "")
        assert isinstance(ours, OperationalError) == operational, kind


@pytest.mark.parametrize(("sqlstate", "name"), http_protocol.NAMES.items())
def test_errors_are_named_as_by_psycopg(sqlstate: str, name: str) -> None:
    assert psycopg.errors.lookup(sqlstate).__name__ == name


@pytest.mark.parametrize("position", range(4))
def test_a_trial_names_the_statement_that_fails(
    run: Run, database: Database, position: int
) -> None:
    texts = ["SELECT 1", "SELECT 2", "SELECT 3"]
    if position < 3:
        texts[position] = f"SELECT 1 / 0, {position}"
    table = f"t_{uuid.uuid4().hex}"
    database.query(f"CREATE TABLE {table} (n int); GRANT ALL ON {table} TO task_api")
    insert: Any = (f"INSERT INTO {table} VALUES (1)", {})
    trial = try_transaction("alice", *((cast("Any", text), {}) for text in texts), insert)
    rows, error = asyncio.run(trial)
    expected = [[(1,)], [(2,)], [(3,)], []]
    assert rows == expected[: position if position < 3 else 4]
    assert (error and error.sqlstate) == ("22012" if position < 3 else None)
    assert database.query(f"SELECT count(*) FROM {table}") == [(0,)]


def respond(status: int, body: Any, times: int = 100) -> Callable[[Handler], bool]:
    """A step that sends this response in place of the first responses."""
    left = iter(range(times))

    def step(handler: Handler) -> bool:
        if next(left, None) is None:
            return False
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return handler.respond(status, data)

    return step


def message(text: str, code: str = "", severity: str = "") -> dict[str, str]:
    return {"message": text, "code": code, "severity": severity}


FAILURES = {
    "rate limit": (429, {"msg": "slow down"}, UNCHANGED, 4),
    "too large a request": (413, message("request is too large"), UNCHANGED, 4),
    "another service": (404, b"<html>Not found</html>", UNCHANGED, 4),
    "no wake-up": (500, message("Control plane request failed"), UNCHANGED, 4),
    "compute unreachable": (500, message("error connecting to server"), UNCHANGED, 4),
    "too many connections": (500, message("too many", "53300", "FATAL"), UNCHANGED, 4),
    "starting up": (500, message("starting up", "57P03", "FATAL"), UNCHANGED, 4),
    "wrong password": (400, message("password authentication failed for user 'x'"), UNCHANGED, 4),
    "a trigger with the code of a login": (400, message("no", "28000", "ERROR"), UNCHANGED, 1),
    "a trigger with a message of the proxy": (
        400,
        message("Control plane request failed", "57000", "ERROR"),
        UNCHANGED,
        1,
    ),
    "too large a response": (507, message("response is too large"), UNCHANGED, 1),
    "cancelled": (400, message("Query cancelled", "08P01"), UNKNOWN, 1),
    "compute lost": (400, message("connection closed"), UNKNOWN, 1),
    "terminated": (400, message("terminating", "57P01", "FATAL"), UNKNOWN, 1),
    "internal error": (500, message("could not parse postgres response"), UNKNOWN, 1),
    "balancer": (502, b"Bad Gateway", UNKNOWN, 1),
    "balancer with a code": (502, {"code": 502, "message": "no response"}, UNKNOWN, 1),
    "balancer with a name": (502, {"code": "GATES", "message": "no response"}, UNKNOWN, 1),
    "error deeper than JSON may be": (500, b"[" * 100_000, UNKNOWN, 1),
    "results deeper than JSON may be": (200, b"[" * 100_000, UNKNOWN, 1),
    "no upstream": (503, b"", UNKNOWN, 1),
    "gateway timeout": (504, b"{}", UNKNOWN, 1),
    "request timeout": (408, {"msg": "timeout"}, UNKNOWN, 1),
    "serialization": (400, message("no", "40001", "ERROR"), UNCHANGED, 4),
    "not JSON": (200, b"{", UNKNOWN, 1),
    "no results": (200, {"results": None}, UNKNOWN, 1),
    "too few results": (200, {"results": [{"fields": [], "rows": []}]}, UNKNOWN, 1),
    "a redirect": (302, b"", UNKNOWN, 1),
}


@pytest.mark.parametrize(
    ("status", "body", "detail", "attempts"), FAILURES.values(), ids=FAILURES.keys()
)
def test_failures_of_the_endpoint_have_the_outcome_of_the_transaction(
    api: TestClient, endpoint: Endpoint, status: int, body: Any, detail: str, attempts: int
) -> None:
    user = f"failing-{uuid.uuid4().hex}"
    path, headers = f"/api/{user}/tasks", bearer(user)
    endpoint.before = respond(status, body)
    response = api.post(path, json={"title": "x"}, headers=headers)
    assert response.status_code == 503
    assert response.json() == {"detail": detail}
    assert response.headers["retry-after"]
    assert len(endpoint.requests) == attempts
    # A read is repeated too, unless PostgreSQL has refused it.
    endpoint.before = respond(status, body, times=1)
    refused = detail == UNCHANGED and attempts == 1
    assert api.get(path, headers=headers).status_code == (503 if refused else 200)


@pytest.mark.parametrize("length", [1, 10_000])
def test_a_response_that_is_cut_off_leaves_the_outcome_open(
    api: TestClient, endpoint: Endpoint, length: int
) -> None:
    def cut(handler: Handler) -> bool:
        handler.respond(200, handler.answer[:length], len(handler.answer) + 100_000)
        return handler.drop()

    user = f"cut-{uuid.uuid4().hex}"
    path, headers = f"/api/{user}/tasks", bearer(user)
    endpoint.after = cut
    response = api.post(path, json={"title": "x"}, headers=headers)
    assert response.json() == {"detail": UNKNOWN}
    endpoint.after = None
    assert len(api.get(path, headers=headers).json()) == 1


def raw(data: bytes) -> Callable[[Handler], bool]:
    def step(handler: Handler) -> bool:
        handler.wfile.write(data)
        return handler.drop()

    return step


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"\xff" * 100,
    ],
)
def test_what_is_no_response_leaves_the_outcome_open(
    run: Run, endpoint: Endpoint, data: bytes
) -> None:
    endpoint.after = raw(data)
    with pytest.raises(DatabaseUnavailable, match="may or may not have been applied"):
        run("SELECT 1", writes=True)
    endpoint.after = None
    assert run("SELECT 2") == [[(2,)]]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("beginning", "repeated"),
    [
        (CHUNKED, b"1000\r\n" + b" " * 0x1000 + b"\r\n"),
        (CHUNKED + b"0\r\n", b"Trailer: " + b"x" * 4000 + b"\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 4000 + b"\r\n\r\n"),
    ],
    ids=["chunks", "trailers", "informational responses"],
)
def test_a_response_without_an_end_is_not_read_to_its_end(
    run: Run,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    beginning: bytes,
    repeated: bytes,
) -> None:
    monkeypatch.setenv("DATABASE_HTTP_URL", endpoint.url)  # the proxy would read all
    written = []

    def flood(handler: Handler) -> bool:
        handler.wfile.write(beginning)
        for megabytes in range(100):
            handler.wfile.write(repeated * (1_000_000 // len(repeated)))
            written.append(megabytes)
        return handler.drop()

    endpoint.after = flood
    with pytest.raises(DatabaseUnavailable, match="may or may not have been applied"):
        run("SELECT 1", writes=True)
    assert 20 < max(written) < 60


def test_a_chunked_response_is_read_and_a_closed_connection_not_kept(
    run: Run, endpoint: Endpoint, proxy: Proxy
) -> None:
    def chunked(handler: Handler) -> bool:
        pieces = (handler.answer[:7], handler.answer[7:])
        body = b"".join(b"%x;x=y\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: Close\r\n\r\n"
        handler.wfile.write(head + body + b"0\r\nTrailer: 1\r\n\r\n")
        return handler.drop()

    endpoint.after = chunked
    assert run("SELECT 1") == [[(1,)]]
    assert run("SELECT 2") == [[(2,)]]
    assert proxy.connections == 2
    assert len(endpoint.requests) == 2, "no request was repeated"


def test_informational_responses_come_before_the_response(
    run: Run, endpoint: Endpoint, proxy: Proxy
) -> None:
    def inform(handler: Handler) -> bool:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        return False

    endpoint.after = inform
    assert run("SELECT 1") == [[(1,)]]
    assert run("SELECT 2") == [[(2,)]]
    assert proxy.connections == 1
    assert len(endpoint.requests) == 2, "no request was repeated"


def test_a_connection_that_the_endpoint_announces_to_close_is_not_used_again(
    run: Run, endpoint: Endpoint, proxy: Proxy
) -> None:
    def announce(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(handler.answer)))
        handler.send_header("Connection", "keep-alive, Close")
        handler.end_headers()
        handler.wfile.write(handler.answer)
        handler.close_connection = False  # a server may close it later
        return True

    endpoint.after = announce
    assert run("SELECT 1") == [[(1,)]]
    assert run("SELECT 2") == [[(2,)]]
    assert proxy.connections == 2


@pytest.mark.parametrize(
    ("oid", "row"),
    [
        (25, {"text": "x"}),
        (25, "x"),
        (25, [5]),
        (25, [["x"]]),
        (25, []),
        (25, ["x", "y"]),
        (16, [True]),
        (16, ["true"]),
        (20, ["x"]),
        (1009, [["a"]]),
        ([], ["x"]),
    ],
)
def test_rows_of_another_form_are_refused(oid: Any, row: Any) -> None:
    """As from a proxy that removes our headers: the endpoint then converts the values itself."""
    answer = {"results": [{}, {"fields": [{"dataTypeID": oid}], "rows": [row]}]}
    with pytest.raises(OperationalError, match="another form"):
        http_protocol.results(json.dumps(answer).encode(), 1)


def test_a_long_message_of_the_endpoint_is_cut_in_the_log(
    api: TestClient, endpoint: Endpoint, request_lines: RequestLines
) -> None:
    endpoint.before = respond(500, message("error connecting to server" + "x" * 100_000))
    api.get("/api/long/tasks", headers=bearer("long"))
    [line] = request_lines()
    assert len(line["reason"]) < 300


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAFNOSUPPORT])
def test_a_socket_that_the_system_refuses_is_a_failed_connection(
    api: TestClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(http_connection.socket, "socket", refuse)
        response = api.post("/api/files/tasks", json={"title": "x"}, headers=bearer("files"))
    assert response.json() == {"detail": UNCHANGED}
    assert endpoint.requests == []


def test_a_file_without_certificates_is_reported(
    variables: dict[str, str], start_api: StartApi, request_lines: RequestLines, tmp_path: Path
) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("no certificate")
    api = start_api(**(variables | {"SSL_CERT_FILE": str(empty)}))
    response = api.post("/api/ca/tasks", json={"title": "x"}, headers=bearer("ca"))
    assert response.json() == {"detail": UNCHANGED}
    [line] = request_lines()
    assert line["reason"] == "no connection: the CA certificates of SSL_CERT_FILE cannot be read"


# --- Time limits and cancellation ----------------------------------------------------------------


def test_waking_a_database_has_the_longer_time_limit(
    api: TestClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BUDGET", 0.5)
    monkeypatch.setattr(pool, "COLD_BUDGET", 4.0)

    def wake(handler: Handler) -> bool:
        time.sleep(0.9)
        return False

    endpoint.before = wake
    headers = bearer("early")
    assert api.post("/api/early/tasks", json={"title": "Up"}, headers=headers).status_code == 201
    # The connection is open now, so that the shorter limit applies.
    response = api.post("/api/early/tasks", json={"title": "Late"}, headers=headers)
    assert response.json() == {"detail": UNKNOWN}


def test_the_server_cancels_a_slow_statement_within_the_budget(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("SELECT 1")
    monkeypatch.setattr(pool, "BUDGET", 0.8)
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="Nothing was changed") as refusal:
        run("SELECT pg_sleep(60)", writes=True)
    assert time.monotonic() - started < 0.8 + 0.3
    assert cast("Any", refusal.value.__cause__).sqlstate == "57014"


def test_silence_during_the_handshake_changes_nothing(
    api: TestClient, endpoint: Endpoint, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BUDGET", 0.3)
    monkeypatch.setattr(pool, "COLD_BUDGET", 0.6)
    proxy.ignore_connections()
    response = api.post("/api/mute/tasks", json={"title": "x"}, headers=bearer("mute"))
    assert response.json() == {"detail": UNCHANGED}
    assert endpoint.requests == []


def test_a_request_that_was_not_sent_completely_is_sent_again(
    run: Run, endpoint: Endpoint, proxy: Proxy, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = f"sent_{uuid.uuid4().hex}"
    database.query(f"CREATE SEQUENCE {counter}; GRANT ALL ON {counter} TO task_api")
    large = "x" * 1_000_000
    count = (f"SELECT nextval('{counter}'), length(%(large)s)", {"large": large})
    complete = http_connection.HttpConnection._complete
    resets = []

    async def send_a_part(self: http_connection.HttpConnection, operation: Any, events: int) -> Any:
        if events == select.POLLOUT and not resets:
            operation = partial(operation.func, operation.args[0][:100_000])
            sent = await complete(self, operation, events)
            resets.append(proxy.now(Fault.RESET))
            await asyncio.sleep(0.2)  # until the reset has arrived
            return sent
        return await complete(self, operation, events)

    async def main() -> Any:
        await run_transaction("alice", ("SELECT 1", {}))
        monkeypatch.setattr(http_connection.HttpConnection, "_complete", send_a_part)
        return await run_transaction("alice", cast("Any", count), writes=True)

    assert asyncio.run(main()) == [[(1, 1_000_000)]]
    assert resets


CANCELLED: dict[str, tuple[Callable[[Endpoint, Proxy], None], Callable[[Endpoint, Proxy], Any]]] = {
    "the handshake": (
        lambda _, proxy: proxy.ignore_connections(),
        lambda _, proxy: proxy.connections,
    ),
    "the response": (
        lambda endpoint, _: setattr(endpoint, "before", lambda _: bool(time.sleep(0.5))),
        lambda endpoint, _: endpoint.requests,
    ),
}


@pytest.mark.parametrize("moment", CANCELLED)
def test_a_request_that_is_cancelled_leaves_nothing_behind(
    run: Run, endpoint: Endpoint, proxy: Proxy, moment: str
) -> None:
    begin, has_begun = CANCELLED[moment]

    async def main() -> None:
        connections = get_pool(load_settings())
        begin(endpoint, proxy)
        task = asyncio.create_task(run_transaction("alice", ("SELECT 1", {})))
        await until(lambda: has_begun(endpoint, proxy))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connections._idle
        assert not connections._in_use
        endpoint.before = None
        proxy.accept_connections()
        statement = ("SELECT current_setting('app.user_id')", {})
        assert await run_transaction("bob", statement) == [[("bob",)]]
        assert len(connections._idle) == 1

    asyncio.run(main(), debug=True)
