"""Faults while 50 requests are under way in one event loop, with a pool of eight connections."""

import json
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from lib.db import pool as database
from lib.db import transaction
from lib.db import url as database_url
from lib.settings import load_settings
from tests.conftest import SECRET, StartApi, bearer
from tests.resilience.faults import lab as labs
from tests.resilience.faults.catalogue import _kill, tasks_locked
from tests.resilience.faults.lab import KINDS, Batch, Fault, Lab, Outcome, Request, running_lab
from tests.support import tcp_proxy
from tests.support.databases import Cluster
from tests.support.targets.local import serve

REQUESTS = 50
TOLERANCE = 1.0
POOL_SIZE = database.POOL_SIZE["local"]
SHARE = database.share_of(POOL_SIZE)


@pytest.fixture(autouse=True)
def _short_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUDGET", 2.4)
    monkeypatch.setattr(database, "COLD_BUDGET", 3.6)
    # No lock times out while the fault is prepared.
    monkeypatch.setattr(transaction, "LOCK_TIMEOUT", 2.0)
    monkeypatch.setattr(database_url, "TCP_USER_TIMEOUT_MS", 800)


@pytest.fixture(scope="module")
def lab(cluster: Cluster) -> Generator[Lab]:
    with running_lab(cluster) as lab:
        yield lab


def while_statements_run(inflict: Callable[[Lab], None]) -> Fault:
    """A fault that begins when every connection of the pool has a statement under way."""

    @contextmanager
    def fault(lab: Lab, _: Batch) -> Generator[None]:
        with tasks_locked(lab) as locker:

            def inflict_and_unlock() -> None:
                lab.await_sessions(POOL_SIZE, "wait_event_type = 'Lock'")
                inflict(lab)
                locker.rollback()

            lab.during.append(inflict_and_unlock)
            yield
        lab.proxy.accept_connections()
        lab.proxy.now(tcp_proxy.Fault.RESET)  # ends silent connections

    return fault


def send_fifty(
    lab: Lab, client: TestClient, fault: Fault, *, connects: bool = False
) -> list[Outcome]:
    """Send the requests; `connects` allows the time in which a connection may be opened."""
    budget = database.COLD_BUDGET if connects else database.BUDGET
    kinds = tuple(KINDS[number % len(KINDS)] for number in range(REQUESTS))
    outcomes = Batch(lab, client, kinds).send(fault)
    assert len(outcomes) == REQUESTS
    for outcome in outcomes:
        assert outcome.sound, outcome
        assert outcome.seconds < budget + TOLERANCE, outcome
        assert outcome.reported in ("done", "unchanged", "unknown"), outcome
        assert outcome.retry_after == (outcome.status == 503)
    pool = database.get_pool(load_settings())
    assert (pool._in_use, pool._waiting) == ({}, {})
    return outcomes


@pytest.mark.parametrize(
    "inflict",
    [_kill, lambda lab: lab.proxy.now(tcp_proxy.Fault.RESET)],
    ids=["backends are killed", "connections are reset"],
)
def test_broken_connections_fail_only_the_writes_under_way(
    inflict: Callable[[Lab], None], lab: Lab, start_api: StartApi
) -> None:
    client = start_api(DATABASE_URL=lab.url)
    outcomes = send_fifty(lab, client, while_statements_run(inflict))
    reported = Counter(outcome.reported for outcome in outcomes)
    failed = {outcome.kind for outcome in outcomes if outcome.reported != "done"}
    # Reads and writes with a key were repeated; the requests that waited got new connections.
    assert failed <= set(labs.UNREPEATABLE)
    assert 0 < reported["unknown"] <= POOL_SIZE
    assert reported["done"] == REQUESTS - reported["unknown"]


def test_a_silent_network_holds_no_request_beyond_its_budget(lab: Lab, start_api: StartApi) -> None:
    def silence(lab: Lab) -> None:
        lab.proxy.ignore_connections()
        lab.proxy.now(tcp_proxy.Fault.SILENCE)

    client = start_api(DATABASE_URL=lab.url)
    outcomes = send_fifty(lab, client, while_statements_run(silence), connects=True)
    reported = Counter(outcome.reported for outcome in outcomes)
    # A read changes nothing. The requests that waited for a connection were not sent.
    assert POOL_SIZE - REQUESTS // len(KINDS) <= reported["unknown"] <= POOL_SIZE, reported
    assert reported["unchanged"] == REQUESTS - reported["unknown"], reported


def test_one_user_cannot_take_the_instance_from_others_during_a_fault(
    lab: Lab, start_api: StartApi
) -> None:
    client = start_api(DATABASE_URL=lab.url)
    greedy, other = (Request(lab.database, client, "toggle") for _ in range(2))
    with ThreadPoolExecutor(REQUESTS) as threads:
        with tasks_locked(lab) as locker:
            futures = [threads.submit(greedy.send) for _ in range(REQUESTS)]
            lab.await_sessions(SHARE, "wait_event_type = 'Lock'")
            lab.proxy.now(tcp_proxy.Fault.SILENCE)
            locker.rollback()
        outcome = other.send()
        assert outcome.reported == "done"
        assert outcome.seconds < database.BUDGET / 2
        # On a slow machine some have ended by now, but none before it had waited.
        ended = [future.result() for future in futures if future.done()]
        assert all(each.seconds > database.BUDGET / 2 for each in ended)
        outcomes = [future.result(30) for future in futures]
    lab.proxy.now(tcp_proxy.Fault.RESET)
    lab.await_sessions(0, "state <> 'idle'")
    reported = Counter(each.reported for each in outcomes)
    assert all(each.seconds < database.BUDGET + TOLERANCE for each in outcomes)
    # New connections work: on a slow machine the last requests wait only for others of their user.
    assert reported.keys() <= {"done", "unchanged", "unknown", "429"}
    assert reported["done"] or not reported["429"], "a fault is not reported as the user's load"
    assert reported["unknown"] >= SHARE
    applied = greedy.applied()
    assert reported["done"] <= applied <= reported["done"] + reported["unknown"]


def post(url: str, user: str, key: str) -> bytes:
    """An HTTP request that creates a task."""
    body = json.dumps({"title": "New"}).encode()
    headers = bearer(user) | {
        "Host": url.removeprefix("http://"),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        "Idempotency-Key": key,
    }
    lines = [f"POST /api/{user}/tasks HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_clients_that_disconnect_from_a_server_leave_it_intact(lab: Lab) -> None:
    """Half of the clients disconnect while their requests run or wait. Then all repeat them."""
    users = [f"user-{uuid.uuid4().hex}" for _ in range(REQUESTS)]
    environment = {
        "DATABASE_URL": lab.url.replace(lab.host, "127.0.0.1"),
        "BETTER_AUTH_SECRET": SECRET,
    }
    with serve(environment) as url, tasks_locked(lab) as locker:
        host, port = url.removeprefix("http://").split(":")

        def connect(user: str) -> socket.socket:
            connection = socket.create_connection((host, int(port)), timeout=20)
            connection.sendall(post(url, user, "key"))
            return connection

        def read(connection: socket.socket) -> str:
            with connection, connection.makefile("rb") as stream:
                return stream.read().decode().partition("\r\n")[0]

        connections = [connect(user) for user in users]
        lab.await_sessions(POOL_SIZE, "wait_event_type = 'Lock'")
        for connection in connections[::2]:
            connection.close()
        locker.rollback()
        assert {read(each) for each in connections[1::2]} == {"HTTP/1.1 201 Created"}
        with ThreadPoolExecutor(REQUESTS) as threads:
            with tasks_locked(lab) as locker_again:
                # A repeat finds the effect of the first attempt.
                responses = threads.map(lambda user: read(connect(user)), users)
                lab.await_sessions(POOL_SIZE, "wait_event_type = 'Lock'")  # no slot was lost
                locker_again.rollback()
            assert set(responses) == {"HTTP/1.1 201 Created"}
        lab.await_sessions(0, "state <> 'idle'")
        # A server process ends a moment after its connection was closed.
        until = time.monotonic() + 20
        while len(lab.backends()) > POOL_SIZE:
            assert time.monotonic() < until, "more connections than the pool has"
            time.sleep(0.01)
        created = "SELECT count(*) FROM tasks WHERE user_id = ANY (%s)"
        assert lab.database.query(created, users) == [(REQUESTS,)]
