"""The pooler of the tests: it behaves as Neon's does, verifies TLS and has a console."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from dev import postgres
from tests.support import pgbouncer
from tests.support.certificate import write_certificate
from tests.support.pgbouncer import PgBouncerError, Pooler
from tests.tooling.conftest import PASSWORD


@pytest.fixture(scope="module")
def pooler(server: postgres.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooler]:
    with pgbouncer.running(
        server,
        users={"app": PASSWORD},
        folder=tmp_path_factory.mktemp("pooler"),
        settings={"default_pool_size": "5"},
    ) as pooler:
        yield pooler


@pytest.fixture
def url(pooler: Pooler) -> str:
    return pooler.url("postgres", user="app", password=PASSWORD)


def test_it_is_recent_enough_for_prepared_statements(pooler: Pooler) -> None:
    with psycopg.connect(pooler.admin_url, autocommit=True) as console:
        row = console.execute("show version").fetchone()
    assert row is not None
    major, minor = row[0].removeprefix("PgBouncer ").split(".")[:2]
    assert (int(major), int(minor)) >= pgbouncer.OLDEST


def test_a_client_that_verifies_tls_in_full_can_connect(url: str) -> None:
    assert "sslmode=verify-full" in url
    with psycopg.connect(url) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("select current_user").fetchone() == ("app",)


def test_localhost_is_in_the_certificate_too(url: str) -> None:
    with psycopg.connect(url, host="localhost", hostaddr="127.0.0.1") as connection:
        assert connection.pgconn.ssl_in_use


def test_another_host_name_another_ca_and_no_tls_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        psycopg.connect(url, host="elsewhere.example", hostaddr="127.0.0.1")
    other = write_certificate(tmp_path)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(url, sslrootcert=str(other.ca))
    with pytest.raises(psycopg.OperationalError, match="SSL required"):
        psycopg.connect(url, sslmode="disable", sslrootcert="")


def test_a_wrong_password_is_refused(url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        psycopg.connect(url, password="wrong")


@pytest.mark.parametrize("prepare_threshold", [None, 0])
def test_thirty_clients_share_five_backends(url: str, prepare_threshold: int | None) -> None:
    all_are_connected = threading.Barrier(30, timeout=60)

    def client(number: int) -> set[int]:
        backends = set()
        with psycopg.connect(url, prepare_threshold=prepare_threshold) as connection:
            all_are_connected.wait()
            for turn in range(20):
                row = connection.execute(
                    "select %s::int * 1000 + %s::int, pg_backend_pid()", (number, turn)
                ).fetchone()
                assert row is not None
                assert row[0] == number * 1000 + turn
                backends.add(row[1])
                connection.commit()
        return backends

    with ThreadPoolExecutor(30) as threads:
        backends = set().union(*threads.map(client, range(30)))
    assert 1 < len(backends) <= 5


def test_the_console_pauses_and_resumes(url: str, pooler: Pooler) -> None:
    with (
        psycopg.connect(pooler.admin_url, autocommit=True) as console,
        psycopg.connect(url, autocommit=True) as connection,
        ThreadPoolExecutor(1) as threads,
    ):
        console.execute("PAUSE")
        try:
            result = threads.submit(lambda: connection.execute("select 1").fetchone())
            time.sleep(0.3)
            assert not result.done()
        finally:
            console.execute("RESUME")
        assert result.result(timeout=10) == (1,)


def test_waiting_for_a_free_backend_has_a_time_limit(
    server: postgres.Server, tmp_path: Path
) -> None:
    with (
        pgbouncer.running(
            server,
            users={"app": PASSWORD},
            folder=tmp_path,
            tls=False,
            settings={"default_pool_size": "1", "query_wait_timeout": "1"},
        ) as small,
        psycopg.connect(small.url("postgres", user="app", password=PASSWORD)) as first,
        psycopg.connect(small.url("postgres", user="app", password=PASSWORD)) as second,
    ):
        first.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
            second.execute("select 1")


def test_its_log_is_shown_if_it_cannot_start(server: postgres.Server, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(PgBouncerError, match="PgBouncer stopped while it started") as refusal:
        pgbouncer.running(
            server, users={}, folder=tmp_path, settings={"pool_mode": "nonsense"}
        ).__enter__()
    assert "pool_mode" in str(refusal.value)
    assert time.monotonic() - started < 10


def test_it_stops_when_its_parent_is_killed(server: postgres.Server, tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from tests.support import pgbouncer
from dev import postgres
server = postgres.Server({server.port}, "", 0, Path())
with pgbouncer.running(server, users={{}}, folder=Path({str(tmp_path)!r})) as pooler:
    print(pooler.pid, flush=True)
    time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as lines:
        process = Path("/proc") / lines.readline().strip()
    assert "pgbouncer" in (process / "cmdline").read_text()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while process.exists() and (process / "stat").read_text().split(") ")[1][0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)
