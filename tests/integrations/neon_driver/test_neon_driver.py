"""The HTTP transport and the emulator of Neon's endpoint, compared with Neon's own npm package."""

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lib.db import http_connection, http_protocol
from lib.db.http_connection import HttpConnection
from lib.db.transport import DatabaseError, Rows, Statement, numbered
from lib.settings import load_settings
from tests.conftest import StartApi, bearer
from tests.resilience import roundtrips
from tests.support import neon_endpoint
from tests.support.certificate import Certificate, write_certificate
from tests.support.databases import Database
from tests.support.neon_endpoint import Endpoint

PROGRAM = Path(__file__).parent / "run.mjs"
HEADERS = ("neon-array-mode", "neon-batch-isolation-level", "neon-raw-text-output")
TEXTS = [
    "", " ", "plain", "NULL", "null", "{}", '{"a": 1}', "a,b", '"', "\\", '\\"', "\\n",
    "\n\t\r\x01\x7f",
    "%", "%%", "%(id)s", "$1", "'; DROP TABLE tasks; --", "é", "\u2028", "\U0001f600",
    "\u0130", "x" * 5000,
]  # fmt: skip
VALUES: list[tuple[str, Any]] = [
    *(("text", text) for text in TEXTS),
    *(("varchar", text) for text in ("", "é")),
    *(("bigint", number) for number in (0, 1, -1, 2**63 - 1, -(2**63))),
    *(("integer", number) for number in (0, -1, 2**31 - 1)),
    *(("boolean", flag) for flag in (True, False)),
    *((kind, None) for kind in ("text", "bigint", "integer", "boolean", "text[]", "integer[]")),
    ("text[]", []),
    ("text[]", TEXTS),
    ("varchar[]", TEXTS),
    ("text[]", ["a", None, "NULL", ""]),
]
ERRORS: dict[str, list[str]] = {
    "syntax": ["SELEC 1"],
    "no column": ["SELECT nothing FROM tasks"],
    "no table": ["SELECT 1 FROM nowhere"],
    "no privilege": ["TRUNCATE tasks"],
    "no user": ["INSERT INTO tasks (user_id, title) VALUES ('nobody', 't')"],
    "null": ["INSERT INTO tasks (user_id, title) VALUES ('u', NULL)"],
    "not unique": ["INSERT INTO users (id, name, email) VALUES ('u', 'n', 'e')"] * 2,
    "a check": ["INSERT INTO tasks (user_id, title, priority) VALUES ('u', 't', 9)"],
    "bad input": ["SELECT 'x'::bigint"],
    "row-level security": ["INSERT INTO tasks (user_id, title) VALUES ('v', 't')"],
    "division by zero": ["SELECT 1 / 0"],
    "raised": ["DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'ABC01'; END $$"],
    "serialization": ["DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$"],
    "timeout": ["SELECT set_config('statement_timeout', '50', true)", "SELECT pg_sleep(5)"],
    "read-only": ["SET TRANSACTION READ ONLY", "DELETE FROM tasks"],
    "after others": ["SELECT 1", "SELECT 2", "SELECT nothing"],
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def endpoint(
    certificate: Certificate, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Endpoint]:
    with neon_endpoint.running(certificate) as running:
        monkeypatch.setenv("DATABASE_URL", database.app_url)
        monkeypatch.setenv("DATABASE_TRANSPORT", "http")
        monkeypatch.setenv("DATABASE_HTTP_URL", running.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.ca))
        yield running


def run_package(
    endpoint: Endpoint, certificate: Certificate, database: Database, transactions: Sequence[Any]
) -> list[dict[str, Any]]:
    """Run transactions with the package; gives the rows, or the error, of each."""
    given = {
        "connectionString": database.app_url,
        "endpoint": endpoint.url,
        "transactions": transactions,
    }
    completed = subprocess.run(
        ["node", str(PROGRAM)],
        input=json.dumps(given),
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(certificate.ca)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


def as_sent(statements: Sequence[Statement]) -> list[dict[str, Any]]:
    """The statements with native values, for the package to convert."""
    queries = []
    for text, values in statements:
        query, names = numbered(text)
        # Numbers of JavaScript are exact up to 2 ** 53.
        params = [
            str(value) if isinstance(value, int) and abs(value) > 2**53 else value
            for value in (values[name] for name in names)
        ]
        queries.append({"query": query, "params": params})
    return queries


def run_ours(*statements: Statement) -> list[Rows]:
    async def main() -> list[Rows]:
        deadline = time.monotonic() + 20
        connection: HttpConnection = await http_connection.connector(load_settings())(deadline)  # ty: ignore[invalid-assignment]
        connection.deadline = deadline
        try:
            return await connection.run(("SELECT 1", {}), *statements)
        finally:
            connection.close()

    return asyncio.run(main())


def test_values_of_every_type_pass_both_clients_alike(
    endpoint: Endpoint, certificate: Certificate, database: Database
) -> None:
    statements: Any = [(f"SELECT %(value)s::{kind}", {"value": value}) for kind, value in VALUES]
    ours = run_ours(*statements)
    assert [rows for [rows] in ours] == [(value,) for _, value in VALUES]
    [theirs] = run_package(
        endpoint,
        certificate,
        database,
        [[{"query": "SELECT 1", "params": []}, *as_sent(statements)]],
    )
    # JavaScript has no integers of 64 bits, so that the package returns them as strings.
    assert theirs["rows"][1:] == [
        [[str(value) if kind == "bigint" and value is not None else value]]
        for kind, value in VALUES
    ]
    assert_sent_alike(endpoint.requests[:1], endpoint.requests[1:])


def assert_sent_alike(
    ours: Sequence[tuple[Mapping[str, str], Any]], theirs: Sequence[tuple[Mapping[str, str], Any]]
) -> None:
    assert len(ours) == len(theirs)
    for (our_headers, our_body), (their_headers, their_body) in zip(ours, theirs, strict=True):
        assert our_body == their_body
        assert [our_headers[name] for name in HEADERS] == [their_headers[name] for name in HEADERS]
        string, other = (
            re.sub(r"\?.*", "", headers["neon-connection-string"])
            for headers in (our_headers, their_headers)
        )
        assert string == other


@pytest.mark.parametrize("name", ERRORS)
def test_errors_reach_both_clients_alike(
    endpoint: Endpoint, certificate: Certificate, database: Database, name: str
) -> None:
    statements: Any = [
        ("SELECT set_config('app.user_id', 'u', true)", {}),
        ("INSERT INTO users (id, name, email) VALUES ('u', 'n', 'u@x') ON CONFLICT DO NOTHING", {}),
        *((text, {}) for text in ERRORS[name]),
    ]
    before = database.query("SELECT count(*) FROM users")
    with pytest.raises(DatabaseError) as failure:
        run_ours(*statements)
    error = failure.value
    [theirs] = run_package(endpoint, certificate, database, [as_sent(statements)])
    assert theirs["error"] == {
        "message": error.message,
        "code": error.sqlstate,
        "severity": error.severity,
        "table": error.table,
        "column": error.column,
        "constraint": error.constraint,
        "where": error.context,
    }
    assert database.query("SELECT count(*) FROM users") == before, "nothing was committed"


def test_every_request_of_the_api_is_sent_as_by_the_package(
    endpoint: Endpoint,
    certificate: Certificate,
    database: Database,
    start_api: StartApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[list[dict[str, Any]]] = []
    batch = http_protocol.batch

    def record(statements: Sequence[Statement]) -> bytes:
        batches.append(as_sent(statements))
        return batch(statements)

    monkeypatch.setattr(http_protocol, "batch", record)
    api: TestClient = start_api(
        DATABASE_TRANSPORT="http",
        DATABASE_HTTP_URL=endpoint.url,
        SSL_CERT_FILE=str(certificate.ca),
    )
    headers = bearer(roundtrips.USER)
    roundtrips.count_requests(api, headers, lambda: len(endpoint.requests))
    fields = {"title": "t\t1", "tags": TEXTS[2:12], "priority": "high", "due_date": "2026-12-24"}
    api.post(roundtrips.TASKS, json=fields, headers=headers)
    for query in ("?priority=high,none&tag=a%0Ab&q=%25&due_to=2026-12-31", "?limit=1", "/stats"):
        assert api.get(roundtrips.TASKS + query, headers=headers).status_code == 200
    ours = list(endpoint.requests)
    assert len(ours) == len(batches) > 40
    run_package(endpoint, certificate, database, batches)
    assert_sent_alike(ours, endpoint.requests[len(ours) :])


def test_the_endpoint_is_derived_as_by_the_package() -> None:
    program = """
import { neon, neonConfig } from "@neondatabase/serverless";
neonConfig.fetchFunction = async (url) => {
  console.log(url);
  return Response.json({ fields: [], rows: [] });
};
for (const url of JSON.parse(process.argv[1])) await neon(url).query("SELECT 1");
"""
    hosts = [
        "ep-cool-darkness-a1b2c3d4-pooler.eu-central-1.aws.neon.tech",
        "ep-cool-darkness-a1b2c3d4.eu-central-1.aws.neon.tech",
        "ep-x.c-2.us-east-2.aws.neon.tech",
        "ep-x-pooler.westus3.azure.neon.tech",
    ]
    urls = [f"postgresql://owner:secret@{host}/neondb?sslmode=require" for host in hosts]
    completed = subprocess.run(
        ["node", "--input-type=module", "-e", program, json.dumps(urls)],
        cwd=PROGRAM.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = completed.stdout.split()
    assert len(theirs) == len(hosts)
    for url, their_url in zip(urls, theirs, strict=True):
        settings = load_settings().model_copy(
            update={"DATABASE_URL": url, "DATABASE_HTTP_URL": None}
        )
        endpoint = http_connection._endpoint(settings)
        path = endpoint.head.split(b" ")[1].decode()
        assert f"https://{endpoint.host}{path}" == their_url
        assert endpoint.port == 443
