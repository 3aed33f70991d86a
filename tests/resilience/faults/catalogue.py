"""The faults: how each begins and ends, and which response each kind of request must get."""

import ctypes
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import psycopg

from lib.db import transaction
from tests.resilience.faults import lab as labs
from tests.resilience.faults.lab import READS, REPEATABLE, Batch, Lab
from tests.support import tcp_proxy
from tests.support.tcp_proxy import Way

type Expected = Literal["done", "unchanged", "unknown"]


@dataclass(frozen=True)
class Case:
    """A fault, and what the responses to reads, to repeatable and to other writes must report.

    pooled: it needs a pooler. cold: responses may take as long as if a
    connection must be opened.
    """

    name: str
    fault: labs.Fault
    reads: Expected
    repeatable: Expected
    others: Expected
    pooled: bool
    cold: bool

    def expected(self, kind: str) -> Expected:
        if kind in READS:
            return self.reads
        return self.repeatable if kind in REPEATABLE else self.others

    def row(self) -> str:
        """The beginning of its row in docs/database.md."""
        shown = {"done": "done", "unchanged": "503 unchanged", "unknown": "503 unknown"}
        responses = [shown[each] for each in (self.reads, self.repeatable, self.others)]
        return f"| {self.name} | {' | '.join(responses)} |"


CASES: list[Case] = []


def case(
    name: str,
    reads: Expected,
    repeatable: Expected | None = None,
    others: Expected | None = None,
    *,
    pooled: bool = False,
    cold: bool = False,
) -> Callable[[Callable[[Lab, Batch], Generator[None]]], labs.Fault]:
    def register(begin: Callable[[Lab, Batch], Generator[None]]) -> labs.Fault:
        fault = contextmanager(begin)
        second = repeatable or reads
        CASES.append(Case(name, fault, reads, second, others or second, pooled, cold))
        return fault

    return register


# --- Connecting fails ----------------------------------------------------------------------------


@case("connections refused", "unchanged")
def refused(lab: Lab, _: Batch) -> Generator[None]:
    lab.proxy.refuse_connections()
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    lab.proxy.accept_connections()


@case("packets to the server are dropped (a SYN gets no response)", "unchanged", cold=True)
def unreachable(lab: Lab, _: Batch) -> Generator[None]:
    lab.proxy.refuse_connections()
    lab.proxy.now(tcp_proxy.Fault.DROP)
    with black_hole("127.0.0.1", lab.proxy.port):
        yield
    lab.proxy.accept_connections()


@contextmanager
def black_hole(host: str, port: int) -> Generator[None]:
    """A port whose accept queue is full: Linux drops every further SYN."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


@case("connections are accepted, then nothing is sent", "unchanged", cold=True)
def accepts_and_ignores(lab: Lab, _: Batch) -> Generator[None]:
    lab.proxy.ignore_connections()
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    lab.proxy.now(tcp_proxy.Fault.DROP)
    lab.proxy.accept_connections()


@case("the name server does not respond", "unchanged", cold=True)
def name_server_is_silent(lab: Lab, _: Batch) -> Generator[None]:
    over = threading.Event()

    def resolve() -> list[Any]:
        over.wait(60)
        return labs.resolve_to_this_machine()

    lab.resolve = resolve
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    over.set()
    lab.resolve = labs.resolve_to_this_machine


@case("the host name does not resolve", "unchanged")
def name_is_unknown(lab: Lab, _: Batch) -> Generator[None]:
    def resolve() -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    lab.resolve = resolve
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    lab.resolve = labs.resolve_to_this_machine


@case("the password is wrong", "unchanged")
def wrong_password(lab: Lab, _: Batch) -> Generator[None]:
    lab.as_owner("ALTER ROLE {role} PASSWORD 'another'")
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    lab.as_owner(f"ALTER ROLE {{role}} PASSWORD '{labs.PASSWORD}'")


@case("too many connections", "unchanged")
def too_many_connections(lab: Lab, _: Batch) -> Generator[None]:
    lab.as_owner("ALTER ROLE {role} CONNECTION LIMIT 0")
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    lab.as_owner("ALTER ROLE {role} CONNECTION LIMIT -1")


# --- A connection broke while it was idle --------------------------------------------------------


@case("backends killed while idle", "done")
def killed_while_idle(lab: Lab, _: Batch) -> Generator[None]:
    _kill(lab)
    lab.await_closed_connections()
    yield


def _kill(lab: Lab) -> None:
    lab.as_owner("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")


@case("connections closed while idle", "done")
def closed_while_idle(lab: Lab, _: Batch) -> Generator[None]:
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield


@case("connections half closed while idle", "done")
def half_closed_while_idle(lab: Lab, _: Batch) -> Generator[None]:
    lab.proxy.now(tcp_proxy.Fault.END_OF_RESPONSES)
    yield


@case("connections reset while idle", "done")
def reset_while_idle(lab: Lab, _: Batch) -> Generator[None]:
    lab.proxy.now(tcp_proxy.Fault.RESET)
    yield


@case("connections forgotten by the network: reset when used", "done", "done", "unknown")
def forgotten(lab: Lab, batch: Batch) -> Generator[None]:
    for user in batch.users:
        lab.proxy.before(user.encode(), tcp_proxy.Fault.RESET)
    yield


@case("connections forgotten by the network: packets are dropped", "done", "done", "unknown")
def dropped_after_idle(lab: Lab, _: Batch) -> Generator[None]:
    broken = [c.ends[Way.TO_SERVER].get_extra_info("socket") for c in lab.proxy._connections]
    # A filter that drops every packet, so that none is acknowledged either.
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    drop_all = struct.pack("HL", 1, ctypes.addressof(instruction))
    for end in broken:
        end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, drop_all)
    yield
    for end in broken:
        end.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    lab.proxy.now(tcp_proxy.Fault.RESET)


SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27


# --- A request is under way ----------------------------------------------------------------------


@case("connection closed before the statement arrives", "done", "done", "unknown")
def closed_before(lab: Lab, batch: Batch) -> Generator[None]:
    for user in batch.users:
        lab.proxy.before(user.encode(), tcp_proxy.Fault.DROP)
    yield


@case("connection closed after the statement was done", "done", "done", "unknown")
def closed_after(lab: Lab, batch: Batch) -> Generator[None]:
    for user in batch.users:
        # The response begins with the user id, after the commit.
        lab.proxy.before(user.encode(), tcp_proxy.Fault.DROP, way=Way.TO_CLIENT)
    yield


@case("connection half closed after the statement was done", "done", "done", "unknown")
def half_closed_after(lab: Lab, batch: Batch) -> Generator[None]:
    for user in batch.users:
        lab.proxy.before(user.encode(), tcp_proxy.Fault.END_OF_RESPONSES, way=Way.TO_CLIENT)
    yield


@case("the network stops responding before the statement arrives", "unchanged", "unknown")
def silent_before(lab: Lab, batch: Batch) -> Generator[None]:
    for user in batch.users:
        lab.proxy.before(user.encode(), tcp_proxy.Fault.SILENCE)
    yield
    lab.proxy.now(tcp_proxy.Fault.RESET)


@case("the network stops responding after the statement was done", "unchanged", "unknown")
def silent_after(lab: Lab, batch: Batch) -> Generator[None]:
    for user in batch.users:
        lab.proxy.before(user.encode(), tcp_proxy.Fault.SILENCE, way=Way.TO_CLIENT)
    yield
    lab.proxy.now(tcp_proxy.Fault.RESET)


@case("backends stopped (SIGSTOP)", "unchanged", "unknown")
def stopped(lab: Lab, _: Batch) -> Generator[None]:
    pids = lab.backends()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def tasks_locked(lab: Lab) -> Generator[psycopg.Connection]:
    """Lock the table tasks exclusively, as an unsafe migration does."""
    with psycopg.connect(lab.database.admin_url) as connection:
        connection.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        yield connection
        connection.rollback()


@case("backends killed while a statement runs", "done", "done", "unknown")
def killed_while_running(lab: Lab, batch: Batch) -> Generator[None]:
    with tasks_locked(lab) as locker:

        def kill_and_release() -> None:
            lab.await_sessions(len(batch.requests), "wait_event_type = 'Lock'")
            _kill(lab)
            locker.rollback()

        lab.during.append(kill_and_release)
        yield


@case("the table is locked beyond the budget", "unchanged")
def locked_for_long(lab: Lab, _: Batch) -> Generator[None]:
    with tasks_locked(lab):
        yield


@case("the table is locked a little longer than the lock timeout", "done")
def locked_briefly(lab: Lab, _: Batch) -> Generator[None]:
    with tasks_locked(lab) as locker:

        def release() -> None:
            time.sleep(1.4 * transaction.LOCK_TIMEOUT)
            locker.rollback()

        lab.during.append(release)
        yield


@case("the database is read-only", "done", "unchanged")
def read_only(lab: Lab, _: Batch) -> Generator[None]:
    lab.as_owner("ALTER ROLE {role} SET default_transaction_read_only = on")
    _kill(lab)
    lab.await_closed_connections()
    yield
    lab.as_owner("ALTER ROLE {role} RESET default_transaction_read_only")
    _kill(lab)


# --- PgBouncer ----------------------------------------------------------------------------------


@case("pooler paused", "unchanged", "unknown", pooled=True)
def pooler_paused(lab: Lab, _: Batch) -> Generator[None]:
    lab.console("PAUSE {database}")
    yield
    lab.console("RESUME {database}")


@case("pooler killed, and gone", "unchanged", pooled=True)
def pooler_gone(lab: Lab, _: Batch) -> Generator[None]:
    assert lab.pooler
    os.kill(lab.pooler.pid, signal.SIGKILL)
    lab.await_closed_connections()
    yield
    lab.start_pooler()


@case("pooler stopped (SIGSTOP)", "unchanged", "unknown", pooled=True)
def pooler_stopped(lab: Lab, _: Batch) -> Generator[None]:
    assert lab.pooler
    os.kill(lab.pooler.pid, signal.SIGSTOP)
    yield
    os.kill(lab.pooler.pid, signal.SIGCONT)


@case("pooler closes all connections (KILL), then refuses", "unchanged", pooled=True, cold=True)
def pooler_drops(lab: Lab, _: Batch) -> Generator[None]:
    lab.console("KILL {database}")
    lab.await_closed_connections()
    yield
    lab.console("RESUME {database}")


@case("pooler times out waiting for a backend", "unchanged", "unknown", pooled=True)
def pooler_gives_up(lab: Lab, _: Batch) -> Generator[None]:
    lab.console("SET query_wait_timeout = 1", "PAUSE {database}")
    yield
    lab.console("RESUME {database}", "SET query_wait_timeout = 120")


@case("pooler full (max_client_conn)", "unchanged", pooled=True)
def pooler_full(lab: Lab, _: Batch) -> Generator[None]:
    assert lab.pooler
    # The one client that is allowed is the console.
    with psycopg.connect(lab.pooler.admin_url, autocommit=True) as console:
        console.execute("SET max_client_conn = 1")
        lab.proxy.now(tcp_proxy.Fault.DROP)
        yield
        console.execute("SET max_client_conn = 1000")


@case("backends killed behind the pooler while idle", "done", pooled=True)
def killed_behind_the_pooler(lab: Lab, _: Batch) -> Generator[None]:
    _kill(lab)
    lab.await_sessions(0, "true")
    yield


@case("backends stopped behind the pooler", "unchanged", "unknown", pooled=True)
def stopped_behind_the_pooler(lab: Lab, batch: Batch) -> Generator[None]:
    lab.open_all_backends()
    with stopped(lab, batch):
        yield


# --- Neon's serverless driver endpoint -----------------------------------------------------------

# Without TLS, the first bytes on a connection are those of the request.
OTHERWISE: dict[str, dict[str, Any]] = {
    "connections are accepted, then nothing is sent": {"repeatable": "unknown", "others": "unknown"}
}
ELSEWHERE = {
    # lib/db/addresses.py is the same for both transports.
    "the name server does not respond",
    "the host name does not resolve",
    # The endpoint logs in: see FAILURES in tests/unit/test_http_transport.py.
    "the password is wrong",
    "too many connections",
}
HTTP_CASES = [
    replace(case, **OTHERWISE.get(case.name, {}))
    for case in CASES
    if not case.pooled and case.name not in ELSEWHERE
]
