"""The faults: how each begins and ends, and what each kind of request is answered then."""

import ctypes
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from lib.db import pool as database
from tests.resilience.faults import lab as labs
from tests.resilience.faults.lab import READS, REPEATABLE, REQUESTS, Lab, Volley
from tests.support import tcp_proxy
from tests.support.tcp_proxy import Way

type Answer = Literal["done", "unchanged", "unknown"]


@dataclass(frozen=True)
class Case:
    """A fault and what must be answered: to reads, to repeatable and to other writes.

    pooled: needs a pooler. cold: may take the time that making a connection may take.
    """

    name: str
    fault: labs.Fault
    reads: Answer
    repeatable: Answer
    others: Answer
    pooled: bool
    cold: bool

    def expected(self, request: str) -> Answer:
        if request in READS:
            return self.reads
        return self.repeatable if request in REPEATABLE else self.others


CASES: list[Case] = []


def case(
    name: str,
    reads: Answer,
    repeatable: Answer | None = None,
    others: Answer | None = None,
    *,
    pooled: bool = False,
    cold: bool = False,
) -> Callable[[Callable[[Lab, Volley], Generator[None]]], labs.Fault]:
    def register(begin: Callable[[Lab, Volley], Generator[None]]) -> labs.Fault:
        fault = contextmanager(begin)
        second = repeatable or reads
        CASES.append(Case(name, fault, reads, second, others or second, pooled, cold))
        return fault

    return register


# --- No connection can be had -------------------------------------------------------------------


@case("connections refused", "unchanged")
def refused(lab: Lab, _: Volley) -> Generator[None]:
    lab.proxy.refuse_connections()
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    lab.proxy.accept_connections()


@case("packets to the server vanish (no SYN is answered)", "unchanged", cold=True)
def unreachable(lab: Lab, _: Volley) -> Generator[None]:
    lab.proxy.refuse_connections()
    lab.proxy.now(tcp_proxy.Fault.DROP)
    with black_hole("127.0.0.1", lab.proxy.port):
        yield
    lab.proxy.accept_connections()


@contextmanager
def black_hole(host: str, port: int) -> Generator[None]:
    """A port whose queue of newcomers is full: Linux drops every further SYN."""
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


@case("accepts connections and never answers", "unchanged", cold=True)
def accepts_and_ignores(lab: Lab, _: Volley) -> Generator[None]:
    lab.proxy.ignore_connections()
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    lab.proxy.now(tcp_proxy.Fault.DROP)
    lab.proxy.accept_connections()


@case("the name server never answers", "unchanged", cold=True)
def name_server_is_silent(lab: Lab, _: Volley) -> Generator[None]:
    over = threading.Event()

    def resolve() -> list[Any]:
        over.wait(60)
        return labs.resolve_to_this_machine()

    lab.resolve = resolve
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    over.set()
    lab.resolve = labs.resolve_to_this_machine


@case("the name does not resolve", "unchanged")
def name_is_unknown(lab: Lab, _: Volley) -> Generator[None]:
    def resolve() -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    lab.resolve = resolve
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    lab.resolve = labs.resolve_to_this_machine


@case("the password is wrong", "unchanged")
def wrong_password(lab: Lab, _: Volley) -> Generator[None]:
    lab.as_owner("ALTER ROLE {role} PASSWORD 'another'")
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    lab.as_owner(f"ALTER ROLE {{role}} PASSWORD '{labs.PASSWORD}'")


@case("too many connections", "unchanged")
def too_many_connections(lab: Lab, _: Volley) -> Generator[None]:
    lab.as_owner("ALTER ROLE {role} CONNECTION LIMIT 0")
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield
    lab.as_owner("ALTER ROLE {role} CONNECTION LIMIT -1")


# --- A connection died while it was idle ---------------------------------------------------------


@case("backends killed while idle", "done")
def killed_while_idle(lab: Lab, _: Volley) -> Generator[None]:
    _kill(lab)
    lab.await_sessions(0, "true")
    yield


def _kill(lab: Lab) -> None:
    lab.as_owner("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")


@case("connections closed while idle", "done")
def closed_while_idle(lab: Lab, _: Volley) -> Generator[None]:
    lab.proxy.now(tcp_proxy.Fault.DROP)
    yield


@case("connections half closed while idle", "done")
def half_closed_while_idle(lab: Lab, _: Volley) -> Generator[None]:
    lab.proxy.now(tcp_proxy.Fault.END_OF_ANSWERS)
    yield


@case("connections reset while idle", "done")
def reset_while_idle(lab: Lab, _: Volley) -> Generator[None]:
    lab.proxy.now(tcp_proxy.Fault.RESET)
    yield


@case("connections forgotten by the network: reset when used", "done", "done", "unknown")
def forgotten(lab: Lab, volley: Volley) -> Generator[None]:
    for user in volley.users.values():
        lab.proxy.before(user.encode(), tcp_proxy.Fault.RESET)
    yield


@case("connections forgotten by the network: packets vanish", "done", "done", "unknown")
def swallowed(lab: Lab, _: Volley) -> Generator[None]:
    dead = [c.ends[Way.TO_SERVER].get_extra_info("socket") for c in lab.proxy._connections]
    # A filter that lets nothing pass, not even to be acknowledged.
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    drop_all = struct.pack("HL", 1, ctypes.addressof(instruction))
    for end in dead:
        end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, drop_all)
    yield
    for end in dead:
        end.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    lab.proxy.now(tcp_proxy.Fault.RESET)


SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27


# --- A request is on its way ---------------------------------------------------------------------


@case("connection closed before the statement arrives", "done", "done", "unknown")
def closed_before(lab: Lab, volley: Volley) -> Generator[None]:
    for user in volley.users.values():
        lab.proxy.before(user.encode(), tcp_proxy.Fault.DROP)
    yield


@case("connection closed after the statement was done", "done", "done", "unknown")
def closed_after(lab: Lab, volley: Volley) -> Generator[None]:
    for user in volley.users.values():
        # The first of what comes back is the user id, when everything is committed.
        lab.proxy.before(user.encode(), tcp_proxy.Fault.DROP, way=Way.TO_CLIENT)
    yield


@case("connection half closed after the statement was done", "done", "done", "unknown")
def half_closed_after(lab: Lab, volley: Volley) -> Generator[None]:
    for user in volley.users.values():
        lab.proxy.before(user.encode(), tcp_proxy.Fault.END_OF_ANSWERS, way=Way.TO_CLIENT)
    yield


@case("the network goes silent before the statement arrives", "unchanged", "unknown")
def silent_before(lab: Lab, volley: Volley) -> Generator[None]:
    for user in volley.users.values():
        lab.proxy.before(user.encode(), tcp_proxy.Fault.SILENCE)
    yield
    lab.proxy.now(tcp_proxy.Fault.RESET)


@case("the network goes silent after the statement was done", "unchanged", "unknown")
def silent_after(lab: Lab, volley: Volley) -> Generator[None]:
    for user in volley.users.values():
        lab.proxy.before(user.encode(), tcp_proxy.Fault.SILENCE, way=Way.TO_CLIENT)
    yield
    lab.proxy.now(tcp_proxy.Fault.RESET)


@case("backends stand still (SIGSTOP)", "unchanged", "unknown")
def stopped(lab: Lab, _: Volley) -> Generator[None]:
    pids = lab.backends()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def tasks_locked(lab: Lab) -> Generator[psycopg.Connection]:
    """Nobody reads or writes tasks, as while a careless migration runs."""
    with psycopg.connect(lab.database.admin_url) as connection:
        connection.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        yield connection
        connection.rollback()


@case("backends killed in the middle of a statement", "done", "done", "unknown")
def killed_in_the_middle(lab: Lab, _: Volley) -> Generator[None]:
    with tasks_locked(lab) as locker:

        def kill_and_release() -> None:
            lab.await_sessions(len(REQUESTS), "wait_event_type = 'Lock'")
            _kill(lab)
            locker.rollback()

        lab.during.append(kill_and_release)
        yield


@case("the table is locked for long", "unchanged")
def locked_for_long(lab: Lab, _: Volley) -> Generator[None]:
    with tasks_locked(lab):
        yield


@case("the table is locked a little longer than a statement waits", "done")
def locked_for_a_moment(lab: Lab, _: Volley) -> Generator[None]:
    with tasks_locked(lab) as locker:

        def release() -> None:
            time.sleep(1.4 * database.LOCK_TIMEOUT)
            locker.rollback()

        lab.during.append(release)
        yield


@case("the database is read-only", "done", "unchanged")
def read_only(lab: Lab, _: Volley) -> Generator[None]:
    lab.as_owner("ALTER ROLE {role} SET default_transaction_read_only = on")
    _kill(lab)
    lab.await_sessions(0, "true")
    yield
    lab.as_owner("ALTER ROLE {role} RESET default_transaction_read_only")
    _kill(lab)


# --- PgBouncer ----------------------------------------------------------------------------------


@case("pooler paused", "unchanged", "unknown", pooled=True)
def pooler_paused(lab: Lab, _: Volley) -> Generator[None]:
    lab.console("PAUSE {database}")
    yield
    lab.console("RESUME {database}")


@case("pooler killed, and gone", "unchanged", pooled=True)
def pooler_gone(lab: Lab, _: Volley) -> Generator[None]:
    assert lab.pooler
    os.kill(lab.pooler.pid, signal.SIGKILL)
    lab.await_sessions(0, "true")
    yield
    lab.start_pooler()


@case("pooler stands still (SIGSTOP)", "unchanged", "unknown", pooled=True)
def pooler_stopped(lab: Lab, _: Volley) -> Generator[None]:
    assert lab.pooler
    os.kill(lab.pooler.pid, signal.SIGSTOP)
    yield
    os.kill(lab.pooler.pid, signal.SIGCONT)


@case("pooler drops everybody (KILL), then refuses", "unchanged", pooled=True, cold=True)
def pooler_drops(lab: Lab, _: Volley) -> Generator[None]:
    lab.console("KILL {database}")
    yield
    lab.console("RESUME {database}")


@case("pooler gives up waiting for a backend", "unchanged", "unknown", pooled=True)
def pooler_gives_up(lab: Lab, _: Volley) -> Generator[None]:
    lab.console("SET query_wait_timeout = 1", "PAUSE {database}")
    yield
    lab.console("RESUME {database}", "SET query_wait_timeout = 120")


@case("pooler full (max_client_conn)", "unchanged", pooled=True)
def pooler_full(lab: Lab, _: Volley) -> Generator[None]:
    assert lab.pooler
    # The console is the one client that may be there.
    with psycopg.connect(lab.pooler.admin_url, autocommit=True) as console:
        console.execute("SET max_client_conn = 1")
        lab.proxy.now(tcp_proxy.Fault.DROP)
        yield
        console.execute("SET max_client_conn = 1000")


@case("backends killed behind the pooler while idle", "done", pooled=True)
def killed_behind_the_pooler(lab: Lab, _: Volley) -> Generator[None]:
    _kill(lab)
    lab.await_sessions(0, "true")
    yield


@case("backends stand still behind the pooler", "unchanged", "unknown", pooled=True)
def stopped_behind_the_pooler(lab: Lab, volley: Volley) -> Generator[None]:
    lab.use_every_backend()
    with stopped(lab, volley):
        yield
