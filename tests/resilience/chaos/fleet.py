"""Runs the processes that serve requests, which can be frozen and killed.

There are sandboxes, which handle one event at a time, and one instance, which serves many requests
at once.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, Any

MAX_RESPONSE_BYTES = 1 << 24


class TransportError(Exception):
    """The call was sent and no response came. Whether it had an effect is not known."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any = None
    query: str = ""

    @property
    def content(self) -> str | None:
        return None if self.body is None else json.dumps(self.body)

    def event(self) -> dict[str, Any]:
        """The event of an API Gateway HTTP API, payload format 2.0."""
        return {
            "version": "2.0",
            "routeKey": "ANY /api/{user_id}/tasks",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": {"content-type": "application/json", **self.headers},
            "requestContext": {
                "http": {
                    "method": self.method,
                    "path": self.path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "203.0.113.7",
                    "userAgent": "chaos",
                },
                "requestId": "UcJ0fjC5liAEPvA=",
                "routeKey": "ANY /api/{user_id}/tasks",
                "stage": "$default",
                "timeEpoch": int(time.time() * 1000),
            },
            "body": self.content,
            "isBase64Encoded": False,
        }

    def http(self) -> bytes:
        content = (self.content or "").encode()
        query = f"?{self.query}" if self.query else ""
        lines = [f"{self.method} {self.path}{query} HTTP/1.1", "host: chaos", "connection: close"]
        lines += (f"{name}: {value}" for name, value in self.headers.items())
        if content:
            lines += ["content-type: application/json"]
        lines += [f"content-length: {len(content)}", "", ""]
        return "\r\n".join(lines).encode() + content


@dataclass(frozen=True)
class Response:
    """`headers` have lower-case names; `body` is None where there is none."""

    status: int
    headers: Mapping[str, str]
    body: Any


class ForkServer:
    """The process whose forks serve: see tests/resilience/chaos/sandbox.py."""

    def __init__(
        self, module: str, mutant: str, environment: Mapping[str, str], log: IO[bytes]
    ) -> None:
        self.transport = environment.get("DATABASE_TRANSPORT", "")
        self._commands, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.resilience.chaos.sandbox",
                    module,
                    mutant,
                    str(theirs.fileno()),
                ],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
            )
        self._commands.setblocking(False)
        self._lock = asyncio.Lock()

    async def ready(self) -> None:
        await self._reply()

    async def _reply(self) -> bytes:
        reply = await asyncio.get_running_loop().sock_recv(self._commands, 64)
        if not reply:
            raise RuntimeError("The application did not load.")
        return reply

    async def fork(self, link: socket.socket) -> int:
        """Start a process that serves this socket. Returns its pid."""
        async with self._lock:
            socket.send_fds(self._commands, [b"fork"], [link.fileno()])
            return int(await self._reply())

    async def reap(self, pid: int) -> None:
        """Wait for the end of a process that was killed. Until then its pid is not used again."""
        async with self._lock:
            self._commands.send(str(pid).encode())
            await self._reply()

    def close(self) -> None:
        self._commands.close()
        self._process.kill()
        self._process.wait()


@dataclass
class Process:
    """A process that can be frozen and killed."""

    pid: int = 0
    alive: bool = False

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.alive = False

    async def freeze(self, seconds: float) -> None:
        """Stop it for some seconds."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            if self.pid == pid and self.alive:
                os.kill(pid, signal.SIGCONT)


@dataclass
class Sandbox(Process):
    fork_server: ForkServer | None = None
    busy: bool = False
    _link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def transport(self) -> str:
        assert self.fork_server
        return self.fork_server.transport

    async def start(self) -> None:
        assert self.fork_server
        ours, theirs = socket.socketpair()
        with theirs:
            self.pid = await self.fork_server.fork(theirs)
        self.alive = True
        self._link = await asyncio.open_connection(sock=ours, limit=MAX_RESPONSE_BYTES)

    async def handle(self, event: dict[str, Any]) -> dict[str, Any]:
        """Raises TransportError if the sandbox is killed meanwhile."""
        if not self.alive:
            await self._replace()
        assert self._link
        reader, writer = self._link
        self.busy = True
        try:
            writer.write(json.dumps(event).encode() + b"\n")
            line = await reader.readline()
        except ConnectionError:
            line = b""
        finally:
            self.busy = False
        if not line.endswith(b"\n"):
            self.alive = False
            raise TransportError("the sandbox was killed")
        return json.loads(line)

    async def _replace(self) -> None:
        assert self.fork_server
        self.disconnect()
        await self.fork_server.reap(self.pid)
        await self.start()

    def disconnect(self) -> None:
        if self._link:
            self._link[1].close()
            self._link = None


@dataclass
class Fleet:
    """The sandboxes of one application, and its instance if there is one."""

    sandboxes: list[Sandbox] = field(default_factory=list)
    instance: "Instance | None" = None
    _idle: asyncio.Queue[Sandbox] = field(default_factory=asyncio.Queue)
    _running: set[asyncio.Task[Response]] = field(default_factory=set)

    async def invoke(self, request: Request, seconds: float, transport: str = "") -> Response:
        """The response of an idle sandbox, within some seconds. Raises TransportError.

        After a timeout the sandbox continues, so that the effect may come late. `transport` is that
        of the sandbox, if it matters.
        """
        sandbox = await self._idle.get()
        while transport and sandbox.transport != transport:
            self._idle.put_nowait(sandbox)
            await asyncio.sleep(0.001)
            sandbox = await self._idle.get()
        return await self._within(seconds, self._exchange(sandbox, request))

    async def call(self, request: Request, seconds: float) -> Response:
        """The response of the instance, within some seconds. Raises TransportError."""
        assert self.instance
        return await self._within(seconds, self.instance.handle(request))

    async def _within(self, seconds: float, work: Coroutine[Any, Any, Response]) -> Response:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.wait_for(asyncio.shield(task), seconds)
        except TimeoutError:
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise TransportError("the client timed out") from None

    async def _exchange(self, sandbox: Sandbox, request: Request) -> Response:
        try:
            raw = await sandbox.handle(request.event())
        finally:
            self._idle.put_nowait(sandbox)
        return Response(raw["statusCode"], raw.get("headers", {}), _content(raw.get("body")))

    async def finish_calls(self) -> None:
        """Wait for every call, also for those whose client timed out."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def settle(self) -> None:
        """Wait for every call, and end all processes.

        Work that a sandbox postponed is lost, because it gets no further event.
        """
        await self.finish_calls()
        for sandbox in self.sandboxes:
            if sandbox.alive:
                sandbox.kill()
        if self.instance:
            await self.instance.stop()

    async def _start(self, fork_servers: Sequence[ForkServer], sandboxes: int) -> None:
        for number in range(sandboxes):
            sandbox = Sandbox(fork_server=fork_servers[number % len(fork_servers)])
            await sandbox.start()
            self.sandboxes.append(sandbox)
            self._idle.put_nowait(sandbox)


@asynccontextmanager
async def running_fleet(
    module: str,
    environments: Sequence[Mapping[str, str]],
    of_instance: Mapping[str, str] | None,
    log: IO[bytes],
    *,
    sandboxes: int,
    mutant: str = "",
) -> AsyncGenerator[Fleet]:
    """Start the sandboxes, which use the environments in turn, and the instance if it has one."""
    of_sandboxes = [
        ForkServer(module, mutant, {**each, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9"}, log)
        for each in environments
    ]
    fork_servers = [*of_sandboxes]
    if of_instance is not None:
        fork_servers.append(ForkServer(module, mutant, {**of_instance, "VERCEL": "1"}, log))
    fleet = Fleet()
    try:
        for fork_server in fork_servers:
            await fork_server.ready()
        await fleet._start(of_sandboxes, sandboxes)
        if of_instance is not None:
            fleet.instance = Instance(fork_servers[-1])
            await fleet.instance.start()
        yield fleet
    finally:
        for sandbox in fleet.sandboxes:
            sandbox.disconnect()
        if fleet.instance:
            fleet.instance.listener.close()
        for fork_server in fork_servers:
            fork_server.close()


class Instance(Process):
    """One process, on a port that stays open while the process is replaced.

    `peak` is the most requests that were under way at once.
    """

    def __init__(self, fork_server: ForkServer) -> None:
        super().__init__()
        self._fork_server = fork_server
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._address = self.listener.getsockname()
        self._under_way = self.peak = 0

    async def start(self) -> None:
        self.pid = await self._fork_server.fork(self.listener)
        self.alive = True

    async def replace(self) -> None:
        """Start a new process after a kill."""
        await self._fork_server.reap(self.pid)
        await self.start()

    async def stop(self) -> None:
        """Let it finish the requests under way, and end."""
        os.kill(self.pid, signal.SIGTERM)
        self.alive = False
        await self._fork_server.reap(self.pid)

    async def handle(self, request: Request) -> Response:
        self._under_way += 1
        self.peak = max(self.peak, self._under_way)
        try:
            reader, writer = await asyncio.open_connection(*self._address, limit=MAX_RESPONSE_BYTES)
            try:
                writer.write(request.http())
                raw = await reader.read(-1)
            finally:
                writer.close()
        except OSError as error:
            raise TransportError("the connection broke") from error
        finally:
            self._under_way -= 1
        return _parse(raw)


def _parse(raw: bytes) -> Response:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    if not first.startswith("HTTP/1.1 ") or int(headers.get("content-length", 0)) != len(body):
        raise TransportError("the instance was killed")
    return Response(int(first.split()[1]), headers, _content(body.decode()))


def _content(body: str | None) -> Any:
    """The JSON document, or the text if it is not JSON."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body
