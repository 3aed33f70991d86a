"""A fork server: loads the application once, and forks a process for each sandbox.

    python -m tests.resilience.chaos.sandbox MODULE MUTANT DESCRIPTOR

A forked process starts as a Lambda sandbox does from a snapshot: with the modules imported, and
without connections.
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
    # The parent handles Ctrl-C, and ends its processes in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module = import_module(name)
    if mutant:
        mutants.apply(mutant)
    with socket.socket(fileno=int(descriptor)) as commands:
        commands.send(b"ready")
        fork_processes(commands, module)


def fork_processes(commands: socket.socket, module: ModuleType) -> None:
    """Fork a process for each socket that is received, and wait for the end of each pid."""
    while True:
        command, descriptors, *_ = socket.recv_fds(commands, 64, 1)
        if not command:
            return
        if not descriptors:
            os.waitpid(int(command), 0)
            commands.send(b"gone")
            continue
        pid = os.fork()
        if pid == 0:
            commands.close()
            serve(socket.socket(fileno=descriptors[0]), module)
        os.close(descriptors[0])
        commands.send(str(pid).encode())


def end_with_parent() -> None:
    """End this process when its parent is killed, even while it is frozen."""
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
    """Serve HTTP requests, many at once, as an instance on Vercel does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = uvicorn.Config(module.app, log_level="critical", access_log=False, lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


def serve_events(link: socket.socket, module: ModuleType) -> None:
    """Handle events one after the other, as on Lambda. Each event and each response is a line."""
    # With the loop of the parent, all its children would wait on one selector.
    lambda_module._loop = asyncio.new_event_loop()
    with contextlib.suppress(ConnectionError), link.makefile("rwb") as stream:
        while line := stream.readline():
            mutants.before_event()
            response = module.lambda_handler(json.loads(line), None)
            stream.write(json.dumps(response).encode() + b"\n")
            stream.flush()


if __name__ == "__main__":
    main()
