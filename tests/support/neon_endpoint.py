"""An emulator of Neon's serverless driver endpoint, in front of any PostgreSQL.

It does what the published source of Neon's proxy does (proxy/src/serverless in neondatabase/neon):
it logs in with the connection string of a request, keeps connections, and runs the statements of a
batch one after the other in one transaction. tests/integrations/neon_driver judges it with Neon's
own npm package. Neon's service was not reached.
"""

import json
import select
import socketserver
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq import DiagnosticField as Field

from tests.support.certificate import Certificate

ISOLATION_LEVELS = {
    "ReadUncommitted": "READ UNCOMMITTED",
    "ReadCommitted": "READ COMMITTED",
    "RepeatableRead": "REPEATABLE READ",
    "Serializable": "SERIALIZABLE",
}
FIELDS = {
    "code": Field.SQLSTATE,
    "detail": Field.MESSAGE_DETAIL,
    "hint": Field.MESSAGE_HINT,
    "position": Field.STATEMENT_POSITION,
    "internalPosition": Field.INTERNAL_POSITION,
    "internalQuery": Field.INTERNAL_QUERY,
    "severity": Field.SEVERITY,
    "where": Field.CONTEXT,
    "table": Field.TABLE_NAME,
    "column": Field.COLUMN_NAME,
    "schema": Field.SCHEMA_NAME,
    "dataType": Field.DATATYPE_NAME,
    "constraint": Field.CONSTRAINT_NAME,
    "file": Field.SOURCE_FILE,
    "line": Field.SOURCE_LINE,
    "routine": Field.SOURCE_FUNCTION,
}
# The texts of these two are never null in the proxy's responses.
NEVER_NULL = ("code", "severity")
MAX_RESPONSE_BYTES = 10 * 1024 * 1024


class EndpointError(Exception):
    """A response with an error status."""

    def __init__(self, status: int, message: str, **fields: str | None) -> None:
        super().__init__(message)
        self.status = status
        empty = {name: "" if name in NEVER_NULL else None for name in FIELDS}
        self.body = {"message": message} | empty | fields


# Returns whether it has sent the response, or has closed the connection.
type Step = Callable[["Handler"], bool]


@dataclass
class Endpoint:
    """A running emulator.

    `before` and `after` are called before a batch is run and before its response is sent, so that
    tests can delay or replace a response. `requests` has the headers and the body of each request.
    """

    port: int = 0
    context: ssl.SSLContext | None = None
    before: Step | None = None
    after: Step | None = None
    requests: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    connections: int = 0
    _idle: dict[str, list[psycopg.Connection]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://localhost:{self.port}/sql"

    def acquire(self, conninfo: str, user: str) -> psycopg.Connection:
        with self._lock:
            idle = self._idle.setdefault(conninfo, [])
            while idle:
                connection = idle.pop()
                if not select.select([connection.fileno()], [], [], 0)[0]:
                    return connection
                connection.close()
        try:
            return psycopg.connect(conninfo, autocommit=True, connect_timeout=15)
        except psycopg.OperationalError as error:
            message = str(error)
            if "password authentication failed" in message:
                raise EndpointError(
                    400, f"password authentication failed for user '{user}'"
                ) from error
            if "too many connections" in message:
                raise EndpointError(
                    500, message.rpartition("FATAL:  ")[2], code="53300", severity="FATAL"
                ) from error
            raise EndpointError(500, "error connecting to server") from error

    def release(self, conninfo: str, connection: psycopg.Connection) -> None:
        if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            with self._lock:
                self._idle[conninfo].append(connection)
        else:
            connection.close()

    def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()


class Handler(BaseHTTPRequestHandler):
    """Handles the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def endpoint(self) -> Endpoint:
        return cast("_Server", self.server).endpoint

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        payload = json.loads(body)
        self.endpoint.requests.append((headers, payload))
        if self.endpoint.before and self.endpoint.before(self):
            return
        try:
            status, answer = 200, self._run(headers, payload)
        except EndpointError as error:
            status, answer = error.status, error.body
        self.status, self.answer = status, json.dumps(answer, ensure_ascii=False).encode()
        if self.endpoint.after and self.endpoint.after(self):
            return
        self.respond(self.status, self.answer)

    def respond(self, status: int, body: bytes, length: int | None = None) -> bool:
        """Send a response whose Content-Length may be wrong."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        return True

    def drop(self) -> bool:
        """Close the connection."""
        self.close_connection = True
        return True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        pass

    def _run(self, headers: dict[str, str], payload: dict[str, Any]) -> Any:
        conninfo, user = _conninfo(headers["neon-connection-string"])
        arrays = headers.get("neon-array-mode") == "true"
        if headers.get("neon-raw-text-output") != "true":
            raise EndpointError(400, "the emulator has only raw text output")
        connection = self.endpoint.acquire(conninfo, user)
        try:
            # As the proxy does, which stops the work for a client that has disconnected.
            if select.select([self.connection], [], [], 0)[0]:
                raise EndpointError(400, "Query cancelled, connection was terminated")
            if "queries" not in payload:
                return _query(connection, payload, arrays=arrays)
            level = headers.get("neon-batch-isolation-level")
            begin = (
                f"START TRANSACTION ISOLATION LEVEL {ISOLATION_LEVELS[level]}" if level else "BEGIN"
            )
            _execute(connection, begin)
            try:
                results = [_query(connection, each, arrays=arrays) for each in payload["queries"]]
            except EndpointError:
                with suppress(EndpointError):
                    _execute(connection, "ROLLBACK")
                raise
            _execute(connection, "COMMIT")
            return {"results": results}
        finally:
            self.endpoint.release(conninfo, connection)


def _conninfo(connection_string: str) -> tuple[str, str]:
    url = urlsplit(connection_string)
    if url.scheme not in ("postgres", "postgresql"):
        raise EndpointError(400, "incorrect scheme")
    if not url.username:
        raise EndpointError(400, "missing username")
    if not url.password:
        raise EndpointError(400, "missing authentication credentials: required password")
    user = unquote(url.username)
    parameters = {
        "host": url.hostname,
        "port": url.port or 5432,
        "user": user,
        "password": unquote(url.password),
        "dbname": unquote(url.path.removeprefix("/")),
        "options": parse_qs(url.query).get("options", [""])[0],
        "sslmode": "disable",
    }
    return make_conninfo("", **parameters), user


def _execute(
    connection: psycopg.Connection, text: str, parameters: list[bytes | None] | None = None
) -> pq.abc.PGresult:
    try:
        result = connection.pgconn.exec_params(text.encode(), parameters or [])
    except psycopg.OperationalError as error:
        raise EndpointError(400, "connection closed") from error
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise _sql_error(result)
    return result


def _sql_error(result: pq.abc.PGresult) -> EndpointError:
    texts = {name: result.error_field(code) for name, code in FIELDS.items()}
    if texts["code"] is None:
        return EndpointError(400, "connection closed")
    message = (result.error_field(Field.MESSAGE_PRIMARY) or b"").decode()
    return EndpointError(
        400, message, **{n: None if t is None else t.decode() for n, t in texts.items()}
    )


def _query(
    connection: psycopg.Connection, query: dict[str, Any], *, arrays: bool
) -> dict[str, Any]:
    parameters = [
        None if (text := _parameter(value)) is None else text.encode()
        for value in query.get("params", [])
    ]
    result = _execute(connection, query["query"], parameters)
    columns = range(result.nfields)
    names = [(result.fname(column) or b"").decode() for column in columns]
    rows: list[Any] = []
    size = 0
    for row in range(result.ntuples):
        values = [result.get_value(row, column) for column in columns]
        size += sum(len(value) for value in values if value)
        if size > MAX_RESPONSE_BYTES:
            raise EndpointError(507, f"response is too large (max is {MAX_RESPONSE_BYTES} bytes)")
        texts = [None if value is None else value.decode() for value in values]
        rows.append(texts if arrays else dict(zip(names, texts, strict=True)))
    command, _, count = (result.command_status or b"").decode().partition(" ")
    return {
        "rowAsArray": arrays,
        "fields": [
            {
                "name": name,
                "dataTypeID": result.ftype(column),
                "tableID": result.ftable(column),
                "columnID": result.ftablecol(column),
                "dataTypeSize": result.fsize(column),
                "dataTypeModifier": result.fmod(column),
                "format": "text",
            }
            for column, name in enumerate(names)
        ],
        "rows": rows,
        "command": command,
        "rowCount": int(count.split()[-1]) if count and count.split()[-1].isdigit() else None,
    }


def _parameter(value: Any) -> str | None:
    """A value of a request as the proxy passes it to PostgreSQL."""
    if value is None or isinstance(value, str):
        return value
    return _array(value) if isinstance(value, list) else json.dumps(value)


def _array(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return f"{{{','.join(map(_array, value))}}}"
    # The proxy escapes strings as JSON does. PostgreSQL has no escape for control characters.
    return json.dumps(json.dumps(value) if isinstance(value, dict) else value, ensure_ascii=False)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        super().__init__(("127.0.0.1", 0), Handler)

    def get_request(self) -> Any:
        connection, address = super().get_request()
        self.endpoint.connections += 1
        if self.endpoint.context:
            connection = self.endpoint.context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that ended the connection


@contextmanager
def running(certificate: Certificate | None = None) -> Generator[Endpoint]:
    """Run an emulator, with TLS if a certificate is given."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)
        context.set_alpn_protocols(["http/1.1"])
    endpoint = Endpoint(context=context)
    with _Server(endpoint) as server:
        endpoint.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=[0.05], name="neon endpoint")
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()
            endpoint.close()
