"""The inside of a sandbox: a process with the application loaded, which forks ready ones; knows no
client and no fault.

    python -m tests.resilience.chaos.sandbox MODULE PLANT DESCRIPTOR

Lambda's start from a snapshot is much like it: what was imported is there, connections are not.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
from importlib import import_module
from types import ModuleType

import uvicorn

from lib import lambda_handler as lambda_module
from tests.resilience.chaos import mutants

_PR_SET_PDEATHSIG = 1


def main() -> None:
    name, mutant, descriptor = sys.argv[1:]
    end_with_parent()
    # Ctrl-C is for the parent, which ends us in its own order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module = import_module(name)
    if mutant:
        mutants.MUTANTS[mutant]()
    with socket.socket(fileno=int(descriptor)) as orders:
        orders.send(b"ready")
        obey(orders, module)


def obey(orders: socket.socket, module: ModuleType) -> None:
    """Fork a sandbox onto each socket that is sent, and wait for the end of the pids that are."""
    while True:
        order, descriptors, *_ = socket.recv_fds(orders, 64, 1)
        if not order:
            return
        if not descriptors:
            os.waitpid(int(order), 0)
            orders.send(b"gone")
            continue
        pid = os.fork()
        if pid == 0:
            orders.close()
            serve(socket.socket(fileno=descriptors[0]), module)
        os.close(descriptors[0])
        orders.send(str(pid).encode())


def end_with_parent() -> None:
    """Also when this process is frozen and the parent is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def serve(link: socket.socket, module: ModuleType) -> None:
    end_with_parent()
    try:
        if link.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            serve_requests(link, module)
        else:
            serve_events(link, module)
    finally:
        sys.stdout.flush()
        os._exit(0)


def serve_requests(listener: socket.socket, module: ModuleType) -> None:
    """As on Vercel: many at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = uvicorn.Config(module.app, log_level="critical", access_log=False, lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


def serve_events(link: socket.socket, module: ModuleType) -> None:
    """As on Lambda: one after the other. Each event and each answer is a line."""
    # The loop of the parent is one for all its children: they would share its selector.
    lambda_module._loop = asyncio.new_event_loop()
    with contextlib.suppress(ConnectionError), link.makefile("rwb") as stream:
        while line := stream.readline():
            mutants.wake_up()
            answer = module.lambda_handler(json.loads(line), None)
            stream.write(json.dumps(answer).encode() + b"\n")
            stream.flush()


if __name__ == "__main__":
    main()
