"""Connections, the pool, time limits and retries, row-level security, and query plans."""
# ruff: noqa: S608 - the names in statements are these tests' own

import asyncio
import json
import queue
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import certifi
import psycopg
import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from lib.db import compiled, connection, pipeline, pool
from lib.db.connection import Connection
from lib.db.pool import Pool, close_pools, get_pool
from lib.db.transaction import run_transaction
from lib.db.transport import DatabaseError, NotConnected
from lib.db.url import connection_parameters
from lib.errors import DatabaseNotPrepared, DatabaseUnavailable
from lib.settings import SettingsError, forget_settings, load_settings, read_settings
from tests.conftest import RequestLines, StartApi, bearer
from tests.resilience import roundtrips
from tests.resilience.faults.catalogue import black_hole
from tests.support import tcp_proxy
from tests.support.certificate import Certificate, write_certificate
from tests.support.databases import Cluster, Database
from tests.support.plans import NO_FILTER, explain, nodes
from tests.support.tcp_proxy import Fault, Proxy

NEON = "ep-cool-darkness-a1b2c3d4-pooler.eu-central-1.aws.neon.tech"


# --- From a URL to parameters --------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "?sslmode=require",
        "?sslmode=require&channel_binding=require",
        "?sslmode=require&channel_binding=prefer",
        "?sslmode=verify-full&sslrootcert=system",
        "?ssl=true",
        "?sslmode=require&pgbouncer=true&connection_limit=1&pool_timeout=15&schema=public",
        "?sslmode=require&uselibpqcompat=true&statement_cache_size=0",
    ],
)
def test_urls_from_neon_become_verified_direct_tls(scheme: str, query: str) -> None:
    url = f"{scheme}://owner:npg_Secret1@{NEON}/neondb{query}"
    settings = read_settings({"DATABASE_URL": url})
    parameters = connection_parameters(settings.DATABASE_URL or "")
    assert parameters["host"] == NEON
    assert parameters["user"] == "owner"
    assert parameters["password"] == "npg_Secret1"
    assert parameters["dbname"] == "neondb"
    assert parameters["sslmode"] == "verify-full"
    assert parameters["sslrootcert"] == certifi.where()
    assert parameters["sslnegotiation"] == "direct"
    assert parameters["channel_binding"] == "require"
    # The start-up packet of a connection: PgBouncer refuses any other parameter.
    assert not {"options", "client_encoding", "replication"} & set(parameters)


def test_channel_binding_that_the_url_disables_stays_disabled() -> None:
    url = f"postgresql://o:p@{NEON}/db?sslmode=require&channel_binding=disable"
    parameters = connection_parameters(url)
    assert parameters["channel_binding"] == "disable"
    assert parameters["sslmode"] == "verify-full"


def test_a_given_endpoint_and_a_given_bundle_are_kept() -> None:
    url = (
        f"postgresql://o:p@{NEON}/db?options=endpoint%3Dep-cool-darkness-a1b2c3d4%20-c%20a%3D1%2B1"
    )
    parameters = connection_parameters(url, "/etc/ssl/our-own.pem")
    assert parameters["options"] == "endpoint=ep-cool-darkness-a1b2c3d4 -c a=1+1"
    assert parameters["sslrootcert"] == "/etc/ssl/our-own.pem"


def test_the_direct_host_and_its_port_are_kept() -> None:
    url = "postgresql://o:p@ep-x.c-2.us-east-2.aws.neon.tech:5433/db?application_name=mine"
    parameters = connection_parameters(url)
    assert parameters["host"] == "ep-x.c-2.us-east-2.aws.neon.tech"
    assert parameters["port"] == "5433"
    assert parameters["application_name"] == "mine"
    assert parameters["sslnegotiation"] == "direct"


@pytest.mark.parametrize("password", ['a@b:c/d?e#f"g', "p%ss wörd+[x]"])
def test_a_percent_encoded_password_is_decoded_once(password: str) -> None:
    from urllib.parse import quote

    url = f"postgresql://o:{quote(password, safe='')}@{NEON}/db?sslmode=require"
    assert connection_parameters(url)["password"] == password


@pytest.mark.parametrize(
    ("url", "sslmode"),
    [
        ("postgresql://o:p@db.example.com/db", "verify-full"),
        ("postgresql://o:p@db.example.com/db?sslmode=disable", "disable"),
        ("postgresql://o:p@db.example.com/db?sslmode=prefer", "verify-full"),
        ("postgresql://o:p@10.0.0.7/db", "verify-full"),
        ("postgresql://o:p@127.0.0.1/db", None),
        ("postgresql://o:p@[::1]/db", None),
        ("postgresql://o:p@localhost/db?sslmode=require", "require"),
        ("postgresql:///db", None),
    ],
)
def test_only_connections_to_this_machine_are_unencrypted_by_default(
    url: str, sslmode: str | None
) -> None:
    parameters = connection_parameters(url)
    assert parameters.get("sslmode") == sslmode
    assert "sslnegotiation" not in parameters


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://o:Secret%zz@{NEON}/db",
        f"postgresql://o:Secret@{NEON},other.example.com/db",
    ],
)
def test_an_unusable_url_is_refused_without_quoting_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        connection_parameters(url)
    assert "Secret" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_direct_neon_endpoint_in_production_is_logged_once() -> None:
    program = """
from lib.db.pool import get_pool
from lib.settings import load_settings
for _ in range(3):
    get_pool(load_settings())
"""
    logged = {}
    for host in (NEON, NEON.replace("-pooler", "")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"VERCEL": "1", "DATABASE_URL": f"postgresql://o:p@{host}/db"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        logged[host] = [json.loads(line) for line in done.stdout.splitlines()]
    assert logged[NEON] == []
    [notice] = logged[NEON.replace("-pooler", "")]
    assert notice["level"] == "WARNING"
    assert "-pooler" in notice["message"]


# --- Connecting ----------------------------------------------------------------------------------


@pytest.fixture
def parameters(cluster: Cluster, fresh_database: Database) -> dict[str, Any]:
    return connection_parameters(fresh_database.app_url)


@contextmanager
def open_connection(parameters: dict[str, Any], seconds: float) -> Generator[Connection]:
    opened = asyncio.run(connection.connect(parameters, time.monotonic() + seconds))
    try:
        yield opened
    finally:
        opened.close()


def open_and_close(parameters: dict[str, Any], seconds: float) -> None:
    with open_connection(parameters, seconds):
        pass


@contextmanager
def tls_front(certificate: Certificate, port: int) -> Generator[int]:
    """A stand-in for Neon's proxy: TLS from the first byte, and PostgreSQL inside."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    context.set_alpn_protocols(["postgresql"])
    context.num_tickets = 0  # as PostgreSQL does; the proxy would count them as a response
    ports: queue.SimpleQueue[int] = queue.SimpleQueue()
    stop = threading.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except OSError:  # the client refused the certificate
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, server_writer), pump(server_reader, writer))

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            ports.put(server.sockets[0].getsockname()[1])
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    try:
        yield ports.get(timeout=20)
    finally:
        stop.set()
        thread.join()


def test_direct_tls_takes_four_round_trips_and_the_tcp_connection(
    cluster: Cluster, database: Database, tmp_path: Path
) -> None:
    certificate = write_certificate(tmp_path)
    neons = connection_parameters(f"postgresql://o:p@{NEON}/db", str(certificate.ca))
    with (
        tls_front(certificate, cluster.port) as port,
        tcp_proxy.running(port) as proxy,
    ):
        # As for Neon except for the address and for channel binding, which needs PostgreSQL's own
        # certificate.
        parameters = neons | conninfo_to_dict(database.app_url)
        parameters |= {"host": "localhost", "hostaddr": "127.0.0.1", "port": proxy.port}
        parameters |= {"sslmode": neons["sslmode"], "channel_binding": "prefer"}
        with open_connection(parameters, 10) as connection:
            assert connection.pgconn.ssl_in_use
            # The TLS handshake, then start-up and two of SCRAM.
            assert proxy.round_trips == 4
        (tmp_path / "other").mkdir()
        other = write_certificate(tmp_path / "other")
        with pytest.raises(NotConnected, match="certificate verify failed"):
            open_and_close(parameters | {"sslrootcert": str(other.ca)}, 10)
        with pytest.raises(NotConnected, match="does not match host name"):
            open_and_close(parameters | {"host": NEON}, 10)


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the host named database.test."""
    found: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
        if host != "database.test":
            return real(host, *rest, **options)
        return [info for address in found for info in real(address, None, type=options["type"])]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


def test_an_unreachable_address_leaves_time_for_the_next(
    parameters: dict[str, Any], addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.db.addresses.ADDRESS_TIMEOUT", 0.3)
    addresses += ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
    parameters |= {"host": "database.test", "sslmode": "disable"}
    started = time.monotonic()
    with black_hole("127.0.0.2", int(parameters["port"])):  # and .3 refuses connections
        open_and_close(parameters, 5)
    assert 0.3 <= time.monotonic() - started < 1.5


def test_all_addresses_share_one_deadline(
    parameters: dict[str, Any], addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.db.addresses.ADDRESS_TIMEOUT", 0.3)
    addresses += ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    parameters |= {"host": "database.test", "sslmode": "disable"}
    port = int(parameters["port"])
    started = time.monotonic()
    with (
        black_hole("127.0.0.2", port),
        black_hole("127.0.0.3", port),
        black_hole("127.0.0.4", port),
        pytest.raises(NotConnected, match="cannot be reached"),
    ):
        open_and_close(parameters, 0.8)
    assert 0.75 <= time.monotonic() - started < 1.1


def test_an_unknown_host_name_raises_not_connected() -> None:
    parameters = connection_parameters("postgresql://o:p@nothing.invalid/db")
    with pytest.raises(NotConnected, match="resolve"):
        open_and_close(parameters, 2)


def test_a_host_name_that_cannot_be_encoded_is_refused_at_once() -> None:
    label = "x" * 64  # one character more than DNS allows
    parameters = connection_parameters(f"postgresql://o:p@{label}.example.com/db")
    with pytest.raises(NotConnected, match="cannot be resolved"):
        open_and_close(parameters, 60)


def test_the_reason_for_a_failed_connection_is_only_in_the_log(
    start_api: StartApi,
    database: Database,
    request_lines: RequestLines,
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = start_api(DATABASE_URL=database.app_url.replace(":local@", ":Wr0ng@"))
    response = api.get("/api/health/ready")
    assert response.status_code == 503
    assert "password" not in response.text
    [line] = request_lines()
    assert line["reason"] == (
        'no connection: FATAL: password authentication failed for user "task_app"'
    )
    assert "Wr0ng" not in f"{line} {caplog.text}"


# --- The pool ------------------------------------------------------------------------------------


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    with tcp_proxy.running(cluster.port) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(cluster: Cluster, database: Database, proxy: Proxy) -> str:
    return database.app_url.replace(f":{cluster.port}/", f":{proxy.port}/")


@pytest.fixture
def parameters_of_pool(proxied_url: str) -> dict[str, Any]:
    return connection_parameters(proxied_url)


def new_pool(parameters: dict[str, Any], size: int = 8) -> Pool:
    return Pool(lambda deadline: connection.connect(parameters, deadline), size)


@pytest.fixture
def connections(parameters_of_pool: dict[str, Any]) -> Iterator[Pool]:
    connections = new_pool(parameters_of_pool)
    yield connections
    connections.close()


async def backend_pid(connections: Pool, *, probe: bool = False) -> int:
    """The server process of the connection that the pool gives next."""
    acquired = await connections.acquire("", time.monotonic(), probe=probe)
    try:
        [[(pid,)]] = await acquired.run(("SELECT 1", {}), ("SELECT pg_backend_pid()", {}))
    finally:
        connections.release("", acquired)
    return pid


def backend(connections: Pool, *, probe: bool = False) -> int:
    return asyncio.run(backend_pid(connections, probe=probe))


def test_every_warm_request_is_one_round_trip(
    start_api: StartApi, proxied_url: str, proxy: Proxy
) -> None:
    api, headers = start_api(DATABASE_URL=proxied_url), bearer(roundtrips.USER)
    # Start-up and two of SCRAM, then the statement.
    assert roundtrips.count_first_request(api, headers, lambda: proxy.round_trips) == 3 + 1
    counted = roundtrips.count_requests(api, headers, lambda: proxy.round_trips)
    assert {
        request.label: round_trips for request, round_trips in counted if round_trips != 1
    } == {}
    assert proxy.connections == 1


def test_a_connection_is_replaced_after_its_lifetime(connections: Pool) -> None:
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        first = backend(connections)
        clock.shift(pool.CONNECTION_LIFETIME - 1)
        assert backend(connections) == first
        clock.shift(2)
        assert backend(connections) != first


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.RESET, Fault.END_OF_RESPONSES])
def test_a_closed_connection_is_replaced_without_a_probe(
    connections: Pool, proxy: Proxy, fault: Fault
) -> None:
    first = backend(connections)
    proxy.now(fault)
    before = proxy.round_trips
    assert backend(connections) != first
    # As many as any first request. A Terminate that still reaches the server is one more.
    assert proxy.round_trips - before - (fault is Fault.END_OF_RESPONSES) == 4


def test_a_long_idle_connection_is_probed_only_on_request(connections: Pool, proxy: Proxy) -> None:
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        first = backend(connections)
        before = proxy.round_trips
        clock.shift(pool.MAX_TRUSTED_IDLE - 1)
        assert backend(connections, probe=True) == first
        assert proxy.round_trips - before == 1
        clock.shift(pool.MAX_TRUSTED_IDLE + 1)
        assert backend(connections) == first
        assert proxy.round_trips - before == 2
        clock.shift(pool.MAX_TRUSTED_IDLE + 1)
        assert backend(connections, probe=True) == first
        assert proxy.round_trips - before == 4


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.SILENCE])
def test_a_first_write_after_a_freeze_uses_a_working_connection(
    start_api: StartApi, proxied_url: str, proxy: Proxy, fault: Fault
) -> None:
    """The network dropped the connection, which the client notices only when it uses it."""
    user = f"frozen-{fault.name.lower()}"
    with time_machine.travel(time.time()) as clock:
        api, path, headers = start_api(DATABASE_URL=proxied_url), f"/api/{user}/tasks", bearer(user)
        api.get(path, headers=headers)
        proxy.before(b"SELECT 1", fault)
        clock.shift(pool.MAX_TRUSTED_IDLE + 1)
        started = time.monotonic()
        assert api.post(path, json={"title": "Thawed"}, headers=headers).status_code == 201
        assert time.monotonic() - started < pool.PROBE_TIMEOUT + 0.5
        assert len(api.get(path, headers=headers).json()) == 1
        assert proxy.connections == 2


async def open_four(connections: Pool) -> None:
    acquired = [await connections.acquire(str(n), time.monotonic()) for n in range(4)]
    for n, each in enumerate(acquired):
        connections.release(str(n), each)


def test_after_a_freeze_all_idle_connections_together_cost_one_probe(
    connections: Pool, proxy: Proxy
) -> None:
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        asyncio.run(open_four(connections))
        proxy.now(Fault.SILENCE)
        clock.shift(pool.MAX_TRUSTED_IDLE + 1)
        started = time.monotonic()
        backend(connections, probe=True)
        assert time.monotonic() - started < pool.PROBE_TIMEOUT + 0.5
        assert proxy.connections == 5


def test_a_repeat_that_is_refused_does_not_deny_the_first_attempt(
    proxied_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user sends other requests in the meantime, so that there is no place for the repeat."""
    monkeypatch.setenv("DATABASE_URL", proxied_url)

    async def lose_the_response() -> None:
        await run_transaction("busy", ("SELECT 'connected'", {}))
        proxy.before(b"SELECT 'lost'", Fault.RESET)
        request = run_transaction("busy", ("SELECT 'lost'", {}), writes=True, repeatable=True)
        task = asyncio.create_task(request)
        await asyncio.sleep(0)
        monkeypatch.setattr(pool, "MAX_REQUESTS_PER_USER", 0)
        await task

    with pytest.raises(DatabaseUnavailable, match="may or may not have been applied"):
        asyncio.run(lose_the_response())
    close_pools()


@pytest.mark.parametrize("platform", ["vercel", "local"])
def test_a_burst_never_opens_more_connections_than_the_pool_size(
    proxied_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", proxied_url)
    if platform == "vercel":
        monkeypatch.setenv("VERCEL", "1")

    async def burst() -> list[Any]:
        statement = ("SELECT pg_sleep(0.02), 7", {})
        return await asyncio.gather(*(run_transaction(str(n), statement) for n in range(60)))

    assert {rows[0][1] for [rows] in asyncio.run(burst())} == {7}
    assert proxy.connections <= pool.POOL_SIZE[platform]
    close_pools()


@pytest.mark.parametrize(("size", "opened"), [(None, 8), ("3", 3), ("12", 12)])
def test_the_size_of_the_pool_is_a_setting(
    proxied_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, size: str | None, opened: int
) -> None:
    if size:
        monkeypatch.setenv("DATABASE_POOL_SIZE", size)
    monkeypatch.setenv("DATABASE_URL", proxied_url)
    forget_settings()

    async def crowd() -> None:
        sleep = ("SELECT pg_sleep(0.2)", {})
        await asyncio.gather(*(run_transaction(f"user {n}", sleep) for n in range(20)))

    asyncio.run(crowd())
    close_pools()
    assert proxy.connections == opened


def test_a_changed_url_gets_a_new_pool(
    start_api: StartApi, database: Database, fresh_database: Database
) -> None:
    """For example after a password rotation or the restore of a database."""
    headers = bearer("mover")
    api = start_api()
    api.post("/api/mover/tasks", json={"title": "Old"}, headers=headers)
    api = start_api(DATABASE_URL=fresh_database.app_url)
    assert api.get("/api/mover/tasks", headers=headers).json() == []


# --- Limits and retries --------------------------------------------------------------------------


type RunSql = Callable[..., list[tuple]]


@pytest.fixture
def run_sql(proxied_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunSql]:
    """Run statements as one transaction of a user; returns the rows of the last one."""
    monkeypatch.setenv("DATABASE_URL", proxied_url)

    def run(user: str | None, *statements: LiteralString, **options: bool) -> list[tuple]:
        texts = [(statement, {}) for statement in statements]
        return asyncio.run(run_transaction(user, *texts, **options))[-1]

    yield run
    close_pools()


def sqlstate_of(failure: Exception) -> str | None:
    """The SQLSTATE that led to the response of a request."""
    assert isinstance(failure.__cause__, DatabaseError)
    return failure.__cause__.sqlstate


def test_the_limits_of_a_request_end_with_it(run_sql: RunSql) -> None:
    limits: LiteralString = (
        "SELECT current_setting('app.user_id', true), current_setting('statement_timeout'),"
        " current_setting('lock_timeout'), pg_backend_pid()"
    )
    [(user, statement, lock, pid)] = run_sql("alice", limits)
    assert user == "alice"
    assert 3 < float(statement.removesuffix("ms")) / 1000 < pool.BUDGET
    assert lock == "1500ms"

    async def run_without_settings() -> list[Any]:
        connections = get_pool(load_settings())
        acquired = await connections.acquire("", time.monotonic())
        try:
            return await acquired.run(("SELECT 1", {}), (limits, {}))
        finally:
            connections.release("", acquired)

    assert asyncio.run(run_without_settings()) == [[("", "0", "0", pid)]]


PREPARED: LiteralString = (
    "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements"
)


def test_a_statement_is_parsed_and_planned_once_for_a_connection(run_sql: RunSql) -> None:
    for _ in range(4):
        run_sql("alice", "SELECT 'planned once'")
    prepared = {text: counts for text, *counts in run_sql(None, PREPARED, prepare=False)}
    assert prepared.pop("SELECT 'planned once'") == [4, 0]
    [settings] = prepared
    assert "set_config" in settings


def test_statements_with_filters_are_planned_for_their_parameters(
    start_api: StartApi, run_sql: RunSql, proxied_url: str
) -> None:
    api = start_api(DATABASE_URL=proxied_url)
    for query in ("", "?limit=5", "?q=x", "?status=pending&limit=5", "?limit=5&count=true"):
        for _ in range(2):
            assert api.get(f"/api/p/tasks{query}", headers=bearer("p")).status_code == 200
    texts = [text for text, *_ in run_sql(None, PREPARED, prepare=False)]
    assert len(texts) == 3  # the settings, the whole list, and the first page
    assert not any("position" in text for text in texts)


def test_prepared_statements_can_be_switched_off(
    run_sql: RunSql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PREPARED_STATEMENTS", "false")
    forget_settings()
    run_sql("alice", "SELECT 1")
    assert run_sql(None, PREPARED) == []


def test_a_failed_transaction_keeps_what_was_prepared_and_no_more(run_sql: RunSql) -> None:
    """A statement is prepared even if a later one fails; the one that cannot be parsed is not."""
    for _ in range(2):
        with pytest.raises(DatabaseNotPrepared):
            run_sql("alice", "SELECT 'parsed'", "SELECT nothing FROM nowhere", "SELECT 'skipped'")
    assert run_sql("alice", "SELECT 'parsed'") == [("parsed",)]
    assert run_sql("alice", "SELECT 'skipped'") == [("skipped",)]
    texts = [text for text, *_ in run_sql(None, PREPARED, prepare=False)]
    assert sorted(text for text in texts if "set_config" not in text) == [
        "SELECT 'parsed'",
        "SELECT 'skipped'",
    ]


@pytest.mark.parametrize("cause", ["deallocated", "duplicate", "other result"])
def test_a_statement_that_is_not_as_it_was_prepared_is_sent_again_once(
    run_sql: RunSql, database: Database, proxy: Proxy, cause: str
) -> None:
    table = f"t_{uuid.uuid4().hex}"
    database.query(f"CREATE TABLE {table} (n int); GRANT ALL ON {table} TO task_api")
    insert: Any = f"INSERT INTO {table} VALUES (1) RETURNING *"
    name = pipeline._numbered(insert)[2].decode()
    if cause == "duplicate":
        other: Any = f'PREPARE "{name}" AS SELECT 1'
        run_sql(None, other, prepare=False)
    else:
        run_sql(None, insert, writes=True)
        if cause == "deallocated":
            run_sql(None, "DEALLOCATE ALL", prepare=False)
        else:
            database.query(f"ALTER TABLE {table} ADD COLUMN added text")
            database.query(f"ALTER TABLE {table} ALTER COLUMN n TYPE text")
    database.query(f"TRUNCATE {table}")
    before = proxy.connections
    [row] = run_sql(None, insert, writes=True)
    assert str(row[0]) == "1"
    assert database.query(f"SELECT count(*) FROM {table}") == [(1,)]
    # What the old connection has prepared is unknown.
    assert proxy.connections == before + 1


def test_a_migration_that_adds_a_column_leaves_every_prepared_statement_usable(
    start_api: StartApi, fresh_database: Database
) -> None:
    api, headers = start_api(DATABASE_URL=fresh_database.app_url), bearer(roundtrips.USER)

    def use_everything() -> None:
        # Refused or repeated requests would be other than one round trip.
        task = api.post(f"/api/{roundtrips.USER}/tasks", json={"title": "t"}, headers=headers)
        path = task.headers["location"]
        assert api.get(path, headers=headers).json() == task.json()
        assert api.put(path, json={"title": "u"}, headers=headers).json()["title"] == "u"
        assert api.patch(f"{path}/complete", headers=headers).json()["completed"] is True
        collection = f"/api/{roundtrips.USER}/tasks"
        for query in ("", "?limit=1", "?q=u", "?limit=1&count=true"):
            [listed] = api.get(collection + query, headers=headers).json()
            assert listed["title"] == "u"
        keyed = headers | {"Idempotency-Key": uuid.uuid4().hex}
        again = [api.post(collection, json={"title": "k"}, headers=keyed).json() for _ in "ab"]
        assert again[0] == again[1]
        for each in (path, f"{collection}/{again[0]['id']}"):
            assert api.delete(each, headers=headers).status_code == 204

    pids = "SELECT pid FROM pg_stat_activity WHERE usename = 'task_api' AND datname = %s"
    use_everything()
    before = fresh_database.query(pids, fresh_database.name)
    for table in ("tasks", "idempotency_keys", "users"):
        fresh_database.query(f"ALTER TABLE {table} ADD COLUMN added text DEFAULT 'x'")
    use_everything()
    assert fresh_database.query(pids, fresh_database.name) == before


def test_the_server_cancels_a_slow_statement_within_the_budget(
    run_sql: RunSql, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setattr(pool, "BUDGET", 0.8)
    [(pid,)] = run_sql(None, "SELECT pg_backend_pid()")
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="Nothing was changed") as refusal:
        run_sql(None, "SELECT pg_sleep(60)", writes=True)
    assert time.monotonic() - started < 0.8 + 0.3
    assert sqlstate_of(refusal.value) == "57014"
    state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
    assert database.query(state, pid) == [("idle",)]
    assert run_sql(None, "SELECT pg_backend_pid()") == [(pid,)]


@pytest.mark.parametrize(
    ("sqlstate", "repeatable", "attempts", "message"),
    [
        ("40001", False, 4, "Nothing was changed"),
        ("40P01", False, 4, "Nothing was changed"),
        ("55P03", False, 4, "Nothing was changed"),
        ("57014", True, 1, "Nothing was changed"),
        ("25006", True, 1, "Nothing was changed"),
        ("53100", True, 1, "Nothing was changed"),
    ],
)
def test_a_rolled_back_transaction_is_repeated_only_after_a_transient_error(
    run_sql: RunSql,
    database: Database,
    sqlstate: str,
    repeatable: bool,
    attempts: int,
    message: str,
) -> None:
    # A sequence keeps its value when its transaction is rolled back.
    counter = f"attempts_{uuid.uuid4().hex}"
    database.query(f"CREATE SEQUENCE {counter}")
    database.query(f"GRANT ALL ON {counter} TO task_api")
    count = f"SELECT nextval('{counter}')"
    fail = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}'; END $$"
    with pytest.raises(DatabaseUnavailable, match=message):
        run_sql(None, count, fail, writes=True, repeatable=repeatable)
    assert database.query(f"SELECT last_value FROM {counter}") == [(attempts,)]


def test_a_repeat_after_transient_errors_succeeds(run_sql: RunSql, database: Database) -> None:
    counter = f"attempts_{uuid.uuid4().hex}"
    database.query(f"CREATE SEQUENCE {counter}")
    database.query(f"GRANT ALL ON {counter} TO task_api")
    fail_twice = f"""DO $$ BEGIN IF nextval('{counter}') < 3 THEN
        RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END IF; END $$"""
    assert run_sql(None, fail_twice, "SELECT 7", writes=True) == [(7,)]


@pytest.mark.parametrize("way", [tcp_proxy.Way.TO_SERVER, tcp_proxy.Way.TO_CLIENT])
@pytest.mark.parametrize(
    ("method", "suffix", "headers", "body", "status"),
    [
        ("DELETE", "", {}, None, 503),
        ("DELETE", "", {"If-Match": '"1"'}, None, 503),
        ("PUT", "", {"If-Match": '"1"'}, {"title": "x"}, 503),
        ("PUT", "", {}, {"title": "x"}, 503),
        ("PATCH", "/complete", {}, None, 503),
        ("PATCH", "/complete", {"If-Match": '"1"'}, {"completed": True}, 503),
        ("PATCH", "/complete", {}, {"completed": True}, 503),
        ("PATCH", "/complete", {"Idempotency-Key": "k"}, None, 200),
    ],
)
def test_after_an_unclear_failure_only_repeatable_requests_are_repeated(
    start_api: StartApi,
    proxied_url: str,
    proxy: Proxy,
    method: str,
    suffix: str,
    headers: dict[str, str],
    body: dict[str, Any] | None,
    status: int,
    way: tcp_proxy.Way,
) -> None:
    user = f"unclear-{uuid.uuid4().hex}"
    api = start_api(DATABASE_URL=proxied_url)
    created = api.post(f"/api/{user}/tasks", json={"title": "New"}, headers=bearer(user))
    connections = proxy.connections
    cut = proxy.before(user.encode(), Fault.DROP, way=way)
    response = api.request(
        method, created.headers["location"] + suffix, json=body, headers=bearer(user) | headers
    )
    assert cut.is_set()
    assert response.status_code == status
    assert proxy.connections - connections == (1 if status == 200 else 0)
    if status == 503:
        assert "may or may not have been applied" in response.json()["detail"]


def test_an_unclear_first_attempt_is_reported_if_the_second_cannot_connect(
    start_api: StartApi, proxied_url: str, proxy: Proxy
) -> None:
    user = f"remembered-{uuid.uuid4().hex}"
    api, headers = start_api(DATABASE_URL=proxied_url), bearer(user)
    api.get(f"/api/{user}/tasks", headers=headers)
    proxy.refuse_connections()
    proxy.before(user.encode(), Fault.DROP, way=tcp_proxy.Way.TO_CLIENT)
    key = headers | {"Idempotency-Key": "k"}
    response = api.post(f"/api/{user}/tasks", json={"title": "Once"}, headers=key)
    assert response.status_code == 503
    assert "may or may not have been applied" in response.json()["detail"]
    proxy.accept_connections()
    response = api.post(f"/api/{user}/tasks", json={"title": "Once"}, headers=key)
    assert response.status_code == 201
    assert api.get(f"/api/{user}/tasks", headers=headers).json() == [response.json()]


def test_a_request_that_gets_no_connection_changes_nothing(
    run_sql: RunSql, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BUDGET", 0.6)
    counter = f"attempts_{uuid.uuid4().hex}"
    database.query(f"CREATE SEQUENCE {counter}")
    database.query(f"GRANT ALL ON {counter} TO task_api")
    count: Any = f"SELECT nextval('{counter}')"

    async def crowd() -> Any:
        connections = get_pool(load_settings())
        acquired = [
            await connections.acquire(str(n), time.monotonic())
            for n in range(pool.POOL_SIZE["local"])
        ]
        late = [run_transaction(f"late {n}", (count, {}), writes=True) for n in range(8)]
        started = time.monotonic()
        refusals = await asyncio.gather(*late, return_exceptions=True)
        assert time.monotonic() - started < 0.6 + 0.3
        for n, each in enumerate(acquired):
            connections.release(str(n), each)
        return refusals

    refusals = asyncio.run(crowd())
    nothing = DatabaseUnavailable(outcome_unknown=False).detail
    assert [refusal.detail for refusal in refusals] == [nothing] * 8
    assert database.query(f"SELECT is_called FROM {counter}") == [(False,)]


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_outlasts_a_short_outage(
    start_api: StartApi, proxied_url: str, proxy: Proxy, method: str, *, connected: bool
) -> None:
    """The outage is longer than four attempts, and shorter than the budget."""
    user = f"outage-{uuid.uuid4().hex}"
    path, headers = f"/api/{user}/tasks", bearer(user)
    api = start_api(DATABASE_URL=proxied_url)
    if connected:
        api.get(path, headers=headers)
    proxy.refuse_connections()
    proxy.now(Fault.RESET)
    outage = threading.Timer(2.2, proxy.accept_connections)
    outage.start()
    body = {"title": "Late"} if method == "POST" else None
    response = api.request(method, path, headers=headers, json=body)
    outage.join()
    assert response.status_code == (200 if method == "GET" else 201)
    tasks = api.get(path, headers=headers).json()
    assert [task["title"] for task in tasks] == (["Late"] if method == "POST" else [])


def test_in_a_lasting_outage_a_request_ends_within_its_budget_and_then_sooner(
    run_sql: RunSql, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BUDGET", 2.5)
    proxy.refuse_connections()

    def refused_after() -> float:
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable) as refusal:
            run_sql("early", "SELECT 1")
        assert refusal.value.detail == DatabaseUnavailable(outcome_unknown=False).detail
        return time.monotonic() - started

    first = refused_after()
    # It ends when the next pause, of at most 0.75 s, would leave less than MIN_RETRY_TIME.
    assert 2.5 - 0.75 - 0.3 < first < 2.5 + 0.3
    connections = get_pool(load_settings())
    while not connections.is_unreachable:
        time.sleep(0.05)
    assert refused_after() < first / 2  # after four attempts, which take at most 0.4 s
    proxy.accept_connections()
    assert run_sql("early", "SELECT 1") == [(1,)]
    assert not connections.is_unreachable


def test_a_write_is_sent_once_however_long_the_retries_last(
    run_sql: RunSql, proxy: Proxy, database: Database
) -> None:
    """Only attempts without a connection are repeated: this one ends after the write is sent."""
    counter = f"sent_{uuid.uuid4().hex}"
    database.query(f"CREATE SEQUENCE {counter}")
    database.query(f"GRANT ALL ON {counter} TO task_api")
    proxy.refuse_connections()
    outage = threading.Timer(0.6, proxy.accept_connections)
    outage.start()
    cut = proxy.after(counter.encode(), Fault.DROP)
    count: Any = f"SELECT nextval('{counter}')"
    with pytest.raises(DatabaseUnavailable) as refusal:
        run_sql("once", count, writes=True)
    outage.join()
    assert cut.is_set()
    assert refusal.value.detail == DatabaseUnavailable(outcome_unknown=True).detail
    assert database.query(f"SELECT last_value FROM {counter}") == [(1,)]


def test_waking_a_database_does_not_use_the_time_budget_of_the_statement(
    start_api: StartApi, proxied_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BUDGET", 0.9)
    monkeypatch.setattr(pool, "COLD_BUDGET", 4.0)
    api, headers = start_api(DATABASE_URL=proxied_url), bearer("early")
    proxy.delay(0.2)  # each way, so the three round trips of the login are longer than the budget
    started = time.monotonic()
    assert api.post("/api/early/tasks", json={"title": "Up"}, headers=headers).status_code == 201
    assert 4 * 0.4 <= time.monotonic() - started < 4.0


def test_lambda_uses_one_connection_and_no_database_thread(
    start_api: StartApi, proxied_url: str, proxy: Proxy
) -> None:
    api = start_api(
        DATABASE_URL=proxied_url, AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001", CORS_ORIGINS=None
    )
    threads = {thread.name for thread in threading.enumerate()}
    for _ in range(3):
        assert api.get("/api/lambda/tasks", headers=bearer("lambda")).status_code == 200
    proxy.now(Fault.RESET)
    assert api.get("/api/lambda/tasks", headers=bearer("lambda")).status_code == 200
    assert proxy.connections == 2
    new = {thread.name for thread in threading.enumerate()} - threads
    assert not any(name.startswith("database") for name in new)


# --- Owner filters and row-level security --------------------------------------------------------


@pytest.fixture
def two_users(fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Alice and Bob, each with a task and a used key."""
    for user in ("alice", "bob"):
        fresh_database.query(
            "INSERT INTO users (id, name, email) VALUES (%s, 'n', %s)", user, f"{user}@example.com"
        )
        fresh_database.query("INSERT INTO tasks (user_id, title) VALUES (%s, %s)", user, user)
        fresh_database.query("INSERT INTO idempotency_keys VALUES (%s, 'k', 'h', '{}', 1, 1)", user)
    monkeypatch.setenv("DATABASE_URL", fresh_database.app_url)
    yield fresh_database
    close_pools()


@pytest.mark.parametrize("table", ["tasks", "idempotency_keys"])
def test_a_statement_without_an_owner_filter_reaches_only_the_users_rows(
    two_users: Database, table: str
) -> None:
    def run(user: str | None, statement: Any) -> list[tuple]:
        return asyncio.run(run_transaction(user, (statement, {})))[0]

    assert run("alice", f"SELECT user_id FROM {table}") == [("alice",)]
    assert run(None, f"SELECT user_id FROM {table}") == []
    assert run("", f"SELECT user_id FROM {table}") == []
    with pytest.raises(DatabaseNotPrepared) as refusal:
        run("alice", f"UPDATE {table} SET user_id = 'bob'")
    assert sqlstate_of(refusal.value) == "42501"
    assert run("alice", f"DELETE FROM {table} RETURNING user_id") == [("alice",)]
    assert two_users.query(f"SELECT user_id FROM {table}") == [("bob",)]


@pytest.mark.parametrize("protection", ["both", "owner filters only"])
def test_another_users_task_is_404_and_unchanged(
    two_users: Database, start_api: StartApi, protection: str
) -> None:
    if protection != "both":
        for table in ("tasks", "idempotency_keys"):
            two_users.query(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    [(task_id, before)] = two_users.query("SELECT id, t::text FROM tasks t WHERE user_id = 'bob'")
    api, alice = start_api(DATABASE_URL=two_users.app_url), bearer("alice")
    assert [task["user_id"] for task in api.get("/api/alice/tasks", headers=alice).json()] == [
        "alice"
    ]
    path = f"/api/alice/tasks/{task_id}"
    for method, suffix, body in (
        ("GET", "", None),
        ("PUT", "", {"title": "Mine"}),
        ("PATCH", "/complete", None),
        ("DELETE", "", None),
    ):
        for more in ({}, {"If-Match": '"1"'}, {"Idempotency-Key": f"{method}"}):
            response = api.request(method, path + suffix, json=body, headers=alice | more)
            assert response.status_code == 404, (method, more)
    assert two_users.query("SELECT t::text FROM tasks t WHERE user_id = 'bob'") == [(before,)]


# --- Query plans of large lists -------------------------------------------------------------------

MANY, OTHERS = 100_000, 20_000


@pytest.fixture(scope="module")
def grown_database(cluster: Cluster) -> Iterator[Database]:
    """A database with one user of many tasks, one of ten, and a third."""
    with cluster.clone() as grown:
        grown.query(
            "INSERT INTO users (id, name, email)"
            " SELECT u, u, u || '@x' FROM unnest('{many,few,others}'::text[]) AS u"
        )
        with psycopg.connect(grown.admin_url) as connection:
            # Skip the foreign key check of each task.
            connection.execute("SET session_replication_role = replica")
            connection.execute(
                """INSERT INTO tasks (user_id, title, created_at, updated_at)
                SELECT u, 'task ' || n, now() - n * interval '1 s', now() - n * interval '1 s'
                FROM (VALUES ('many', %s::int), ('few', 10), ('others', %s)) AS amount (u, total),
                    generate_series(1, total) AS n""",
                (MANY, OTHERS),
            )
        grown.query("VACUUM ANALYZE tasks")
        yield grown


def pages(plan: dict[str, Any]) -> int:
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.mark.parametrize("sort", ["created_at", "updated_at", "title"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_costs_the_same_for_ten_tasks_and_a_hundred_thousand(
    grown_database: Database, sort: str, order: str
) -> None:
    [(middle,)] = grown_database.query(
        "SELECT created_at::text FROM tasks WHERE user_id = 'many' AND title = 'task 50000'"
    )
    first: dict[str, Any] = {"limit": 9, "after": None, "after_id": None}
    after = first | {"after": "task 50000" if sort == "title" else middle, "after_id": MANY // 2}
    name = f"{sort} {order}"
    few = explain(grown_database, compiled.LIST_FIRST_PAGE[name], "few", **first)
    for statement, values in (
        (compiled.LIST_FIRST_PAGE[name], first),
        (compiled.LIST_NEXT_PAGE[name], after),
    ):
        plan = explain(grown_database, statement, "many", **values)
        assert not any("Sort" in node["Node Type"] for node in nodes(plan))
        [scan] = [node for node in nodes(plan) if node.get("Relation Name") == "tasks"][:1]
        index = "tasks_by_title_key" if sort == "title" else f"tasks_by_{sort}"
        assert scan["Index Name"] == index
        assert scan["Actual Rows"] == 10
        assert pages(plan) <= pages(few) + 8


@pytest.mark.parametrize("user", ["few", "many"])
def test_a_complete_list_reads_only_one_users_tasks(grown_database: Database, user: str) -> None:
    plan = explain(grown_database, compiled.LIST_WHOLE["created_at desc"], user, max_bytes=10**9)
    scans = [node for node in nodes(plan) if node.get("Relation Name") == "tasks"]
    owned = {"few": 10, "many": MANY}[user]
    # Once for their size, once for the documents.
    assert [scan["Actual Rows"] * scan["Actual Loops"] for scan in scans] == [owned, owned]
    if user == "few":
        assert all("Index" in scan["Node Type"] for scan in scans)
        assert pages(plan) <= 40


def test_only_a_page_with_count_reads_the_complete_list(
    grown_database: Database,
) -> None:
    position = {"limit": 9, "after": None, "after_id": None}
    without = explain(
        grown_database, compiled.LIST_FIRST_PAGE["created_at desc"], "many", **position
    )
    counted = explain(grown_database, compiled.COUNTED_PAGE["created_at desc"], "many", **position)
    assert pages(without) < 50 < pages(counted)


@pytest.mark.parametrize("kind", ["FILTERED_WHOLE", "FILTERED_PAGE", "COUNTED_PAGE"])
def test_each_task_is_searched_once(grown_database: Database, kind: str) -> None:
    statement = getattr(compiled, kind)["created_at desc"]
    values = {"limit": 9, "after": None, "after_id": None, "max_bytes": 10**9, "q": "not found"}
    plan = explain(grown_database, statement, "many", **values)
    searches = [node for node in nodes(plan) if "POSITION" in node.get("Filter", "")]
    # A page has two ways to find its tasks, of which one runs.
    assert sum(node["Actual Loops"] for node in searches) == 1
    # The searched text is converted once, not for each task.
    conversions = [node for node in nodes(plan) if node["Node Type"] == "Result"]
    assert all(node["Actual Loops"] <= 1 for node in conversions)


# Characters that change with case, have several bytes, or share bytes with others.
ALPHABET = st.sampled_from(list("aAbB %_\\'\"éÉßßſsKÄäяЯ😀😁\u0130\u0101\u0140\x01"))
TEXTS = st.lists(ALPHABET, max_size=8).map("".join)


@given(texts=st.lists(TEXTS, min_size=1, max_size=20), searched=TEXTS.filter(bool))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_search_finds_what_contains_the_text_in_any_case(
    search: psycopg.Connection, texts: list[str], searched: str
) -> None:
    search.execute("DELETE FROM tasks WHERE user_id = 'few'")
    search.execute(
        "INSERT INTO tasks (user_id, title, description)"
        " SELECT 'few', n, text FROM unnest(%s::text[]) WITH ORDINALITY AS t (text, n)",
        [texts],
    )
    values = {"owner": "few", **NO_FILTER, "q": searched, "max_bytes": 10**6}
    row = search.execute(compiled.FILTERED_WHOLE["created_at asc"].encode(), values).fetchone()
    assert row
    found = [task["description"] for task in json.loads(f"[{row[0]}]")]
    lower = search.execute(
        "SELECT lower(text COLLATE pg_c_utf8), lower(%s COLLATE pg_c_utf8)"
        " FROM unnest(%s::text[]) WITH ORDINALITY AS t (text, n) ORDER BY n",
        [searched, texts],
    ).fetchall()
    expected = [text for text, (low, q) in zip(texts, lower, strict=True) if q in low]
    assert sorted(found) == sorted(expected)


@pytest.fixture
def search(grown_database: Database) -> Iterator[psycopg.Connection]:
    """A connection whose changes are rolled back."""
    with psycopg.connect(grown_database.admin_url, prepare_threshold=None) as connection:
        yield connection
        connection.rollback()


def _replace_tasks(search: psycopg.Connection, text: str, sizes: tuple[int, ...]) -> None:
    """Give the user `few` a task for each size, which repeats the text as its description."""
    search.execute("DELETE FROM tasks WHERE user_id = 'few'")
    for size in sizes:
        search.execute(
            "INSERT INTO tasks (user_id, title, description) VALUES ('few', %s, %s)",
            [text, text * size or None],
        )


@pytest.mark.parametrize("text", ["plain", "\x01", '"\\', "é"])
@pytest.mark.parametrize("sizes", [(), (5,), (30, 0, 200)])
def test_a_list_is_refused_before_its_documents_are_built(
    search: psycopg.Connection, text: str, sizes: tuple[int, ...]
) -> None:
    """Exactly where the documents and the commas between them exceed the limit."""
    _replace_tasks(search, text, sizes)
    statement = compiled.FILTERED_WHOLE["created_at asc"].encode()

    def bytes_of_list(max_bytes: int) -> int | None:
        values = {"owner": "few", **NO_FILTER, "max_bytes": max_bytes}
        row = search.execute(statement, values).fetchone()
        return len(row[0].encode()) if row else None

    complete = bytes_of_list(10**9)
    assert complete is not None
    exact = complete + 1 if sizes else 0
    assert bytes_of_list(exact) == complete
    if sizes:
        assert bytes_of_list(exact - 1) is None
        assert bytes_of_list(0) is None


@pytest.mark.parametrize("text", ["plain", "\x01", '"\\', "é"])
@pytest.mark.parametrize("sizes", [(), (5,), (30, 0, 200), (3,) * 50])
def test_a_list_without_filters_has_documents_only_if_they_fit(
    search: psycopg.Connection, text: str, sizes: tuple[int, ...]
) -> None:
    """Where they may exceed the limit, they are null. They are not where six times fewer fit."""
    _replace_tasks(search, text, sizes)

    def documents(max_bytes: int) -> list[str | None]:
        values = {"owner": "few", "max_bytes": max_bytes}
        rows = search.execute(compiled.LIST_WHOLE["title asc"].encode(), values).fetchall()
        return [document for (document,) in rows]

    values = {"owner": "few", **NO_FILTER, "max_bytes": 10**9}
    exact = search.execute(compiled.FILTERED_WHOLE["title asc"].encode(), values).fetchone()
    assert exact
    whole = documents(10**9)
    assert (",".join(map(str, whole)), len(whole)) == exact
    size = len(exact[0].encode())
    assert documents(6 * size) == whole
    for limit in {0, 1, size // 7, size // 2, size - 1} - {-1}:
        refused = documents(limit)
        assert len(refused) <= len(sizes)
        assert bool(refused) == bool(sizes)
        assert set(refused) <= {None}
