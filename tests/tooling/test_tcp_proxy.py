"""The TCP proxy of the tests: its counts, delays and faults, with psycopg."""

import dataclasses
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from dev.postgres import Server
from tests.support import tcp_proxy
from tests.support.tcp_proxy import Fault, Proxy, Way


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("drop table if exists marks")
        connection.execute("create table marks (n int)")
    with tcp_proxy.running(server.port) as proxy:
        yield proxy


@pytest.fixture
def url(server: Server, proxy: Proxy) -> str:
    return dataclasses.replace(server, port=proxy.port).url()


def marks(server: Server) -> list[int]:
    with psycopg.connect(server.url()) as connection:
        return [n for (n,) in connection.execute("select n from marks order by n")]


def wait_for_backends(server: Server, name: str, count: int) -> None:
    deadline = time.monotonic() + 10
    with psycopg.connect(server.url(), autocommit=True) as connection:
        while connection.execute(
            "select count(*) from pg_stat_activity where application_name = %s", (name,)
        ).fetchone() != (count,):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_round_trips_are_counted_as_psycopg_makes_them(url: str, proxy: Proxy) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        # The startup packet and two SCRAM messages; opening the TCP connection is the fourth.
        assert proxy.round_trips == 3
        assert proxy.connections == proxy.open_connections == 1

        connection.execute("select 1")
        assert proxy.round_trips == 4

        connection.execute("select %s::int, repeat('x', 500000)", (1,)).fetchall()
        assert proxy.round_trips == 5

        with connection.transaction():
            connection.execute("select 1")
        assert proxy.round_trips == 8

        with connection.pipeline():
            cursors = [connection.execute("select %s::int", (n,)) for n in range(10)]
        assert [cursor.fetchone() for cursor in cursors] == [(n,) for n in range(10)]
        assert proxy.round_trips == 9


def test_large_data_passes_unchanged_both_ways(url: str) -> None:
    text = "0123456789" * 500_000
    with psycopg.connect(url) as connection:
        assert connection.execute("select %s::text", (text,)).fetchone() == (text,)


def test_a_delay_applies_per_round_trip_not_per_piece(url: str, proxy: Proxy) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        proxy.delay(0.25)
        started = time.monotonic()
        connection.execute("select 1")
        once = time.monotonic() - started
        # Many pieces, one round trip.
        started = time.monotonic()
        connection.execute("select repeat('x', 5000000)").fetchone()
        many = time.monotonic() - started
        proxy.delay(0, way=Way.TO_CLIENT)
        started = time.monotonic()
        connection.execute("select 1")
        one_way = time.monotonic() - started
    assert once >= 0.5
    assert 0.5 <= many < 2
    assert 0.25 <= one_way < 0.5


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.RESET, Fault.END_OF_RESPONSES])
def test_a_broken_connection_fails_and_the_next_one_works(
    url: str, proxy: Proxy, fault: Fault
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        proxy.now(fault)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
        assert connection.broken
    with psycopg.connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert proxy.connections == 2


def test_the_server_notices_the_end_of_requests(url: str, proxy: Proxy, server: Server) -> None:
    connection = psycopg.connect(url, autocommit=True, application_name="half-closed")
    wait_for_backends(server, "half-closed", 1)
    proxy.now(Fault.END_OF_REQUESTS)
    wait_for_backends(server, "half-closed", 0)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("select 1")


def test_clients_have_the_end_of_responses_after_it_was_awaited(
    url: str, proxy: Proxy, server: Server
) -> None:
    with (
        closing(psycopg.connect(url, application_name="terminated")) as connection,
        closing(socket.socket(fileno=os.dup(connection.fileno()))) as received,
        psycopg.connect(server.url()) as other,
    ):
        received.setblocking(False)
        proxy.delay(0.2, way=Way.TO_CLIENT)
        other.execute("""select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = 'terminated'""")
        wait_for_backends(server, "terminated", 0)
        with pytest.raises(BlockingIOError):
            received.recv(1)
        proxy.await_end_of_responses()
        while received.recv(4096):
            pass


def test_closing_properly_leaves_no_connection_behind(
    url: str, proxy: Proxy, server: Server
) -> None:
    psycopg.connect(url, application_name="closing").close()
    wait_for_backends(server, "closing", 0)
    deadline = time.monotonic() + 10
    while proxy.open_connections:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("how", "way", "kept"),
    [
        ("before", Way.TO_SERVER, []),
        ("after", Way.TO_SERVER, [7]),
        ("before", Way.TO_CLIENT, [7]),
    ],
)
def test_a_connection_can_be_lost_around_a_commit(
    url: str, proxy: Proxy, server: Server, how: str, way: Way, kept: list[int]
) -> None:
    set_fault = {"before": proxy.before, "after": proxy.after}[how]
    triggered = set_fault(b"COMMIT", Fault.DROP, way=way)
    connection = psycopg.connect(url, application_name="interrupted")
    connection.execute("insert into marks values (7)")
    assert not triggered.is_set()
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    assert triggered.is_set()
    wait_for_backends(server, "interrupted", 0)
    assert marks(server) == kept
    # The fault occurs once: the same request works now.
    with psycopg.connect(url) as again:
        again.execute("insert into marks values (8)")
    assert marks(server) == [*kept, 8]


def test_after_delivers_the_response_before_the_fault(url: str, proxy: Proxy) -> None:
    proxy.after(b"the response", Fault.DROP, way=Way.TO_CLIENT)
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("select 'the ' || 'response'").fetchone() == ("the response",)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


def test_silence_neither_responds_nor_closes(url: str, proxy: Proxy) -> None:
    with (
        # psycopg's own context manager commits, which fails while the lost query is in progress.
        closing(psycopg.connect(url, autocommit=True)) as connection,
        psycopg.connect(url, autocommit=True) as other,
        ThreadPoolExecutor(1) as threads,
    ):
        triggered = proxy.before(b"select 'lost'", Fault.SILENCE)
        response = threads.submit(connection.execute, "select 'lost'")
        assert triggered.wait(10)
        time.sleep(0.3)
        assert not response.done()
        assert other.execute("select 1").fetchone() == (1,)
        proxy.now(Fault.RESET)
        with pytest.raises(psycopg.OperationalError):
            response.result(timeout=10)


def test_refused_connections_are_refused_until_accepted_again(url: str, proxy: Proxy) -> None:
    port = proxy.port
    with psycopg.connect(url, autocommit=True) as connection:
        proxy.refuse_connections()
        with pytest.raises(psycopg.OperationalError, match="Connection refused"):
            psycopg.connect(url)
        assert connection.execute("select 1").fetchone() == (1,)
    proxy.accept_connections()
    assert proxy.port == port
    psycopg.connect(url).close()


def test_ignored_connections_hang_until_accepted_again(url: str, proxy: Proxy) -> None:
    proxy.ignore_connections()
    started = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="timeout expired"):
        psycopg.connect(url, connect_timeout=2)
    assert time.monotonic() - started > 1.5
    proxy.accept_connections()
    psycopg.connect(url).close()


def test_without_a_server_the_client_is_disconnected() -> None:
    with socket.socket() as unused:
        unused.bind((tcp_proxy.HOST, 0))
        with (
            tcp_proxy.running(unused.getsockname()[1]) as proxy,
            pytest.raises(psycopg.OperationalError),
        ):
            psycopg.connect(f"postgresql://u:p@{tcp_proxy.HOST}:{proxy.port}/d?sslmode=disable")


def test_a_pattern_in_two_pieces_is_found() -> None:
    with (
        socket.create_server((tcp_proxy.HOST, 0)) as listener,
        tcp_proxy.running(listener.getsockname()[1]) as proxy,
        socket.create_connection((tcp_proxy.HOST, proxy.port)) as client,
    ):
        server, _ = listener.accept()
        with server:
            triggered = proxy.after(b"COMMIT", Fault.DROP)
            client.sendall(b"..COM")
            assert server.recv(100) == b"..COM"
            assert not triggered.is_set()
            client.sendall(b"MIT..")
            assert server.recv(100) == b"MIT.."
            assert server.recv(100) == b""
            assert client.recv(100) == b""
            assert triggered.is_set()


def test_half_closed_streams_still_carry_the_other_way() -> None:
    with (
        socket.create_server((tcp_proxy.HOST, 0)) as listener,
        tcp_proxy.running(listener.getsockname()[1]) as proxy,
        socket.create_connection((tcp_proxy.HOST, proxy.port)) as client,
    ):
        server, _ = listener.accept()
        with server:
            proxy.now(Fault.END_OF_RESPONSES)
            assert client.recv(100) == b""
            client.sendall(b"still received")
            assert server.recv(100) == b"still received"
            client.shutdown(socket.SHUT_WR)
            assert server.recv(100) == b""
