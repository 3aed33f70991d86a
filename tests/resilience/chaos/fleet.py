"""Where calls go: many sandboxes that each answer one event at a time, and one busy instance; both
can be frozen and killed. Knows no task.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, Any

LONGEST_ANSWER = 1 << 24  # bytes


class TransportError(Exception):
    """The call was sent and no answer came. Whether it had an effect is not known."""


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
        """As an API Gateway HTTP API sends it, payload format 2.0."""
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

    def on_the_wire(self) -> bytes:
        content = (self.content or "").encode()
        query = f"?{self.query}" if self.query else ""
        lines = [f"{self.method} {self.path}{query} HTTP/1.1", "host: chaos", "connection: close"]
        lines += (f"{name}: {value}" for name, value in self.headers.items())
        if content:
            lines += ["content-type: application/json"]
        lines += [f"content-length: {len(content)}", "", ""]
        return "\r\n".join(lines).encode() + content


@dataclass(frozen=True)
class Answer:
    """`headers` have lower-case names; `body` is None where there is none."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Nursery:
    """The process whose forks serve: see tests/resilience/chaos/sandbox.py."""

    def __init__(
        self, module: str, mutant: str, environment: Mapping[str, str], log: IO[bytes]
    ) -> None:
        self._orders, theirs = socket.socketpair()
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
        self._orders.setblocking(False)
        self._turn = asyncio.Lock()

    async def ready(self) -> None:
        await self._reply()

    async def _reply(self) -> bytes:
        reply = await asyncio.get_running_loop().sock_recv(self._orders, 64)
        if not reply:
            raise RuntimeError("The application did not load.")
        return reply

    async def fork(self, link: socket.socket) -> int:
        """The pid of a new process that serves this socket."""
        async with self._turn:
            socket.send_fds(self._orders, [b"fork"], [link.fileno()])
            return int(await self._reply())

    async def bury(self, pid: int) -> None:
        """Wait for the end of a process that was killed. Until then its number stays its own."""
        async with self._turn:
            self._orders.send(str(pid).encode())
            await self._reply()

    def close(self) -> None:
        self._orders.close()
        self._process.kill()
        self._process.wait()


@dataclass
class Prey:
    """A process that can be frozen and killed."""

    pid: int = 0
    alive: bool = False

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.alive = False

    async def freeze(self, seconds: float) -> None:
        """Stop it for so long, unless it stands still already."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            if self.pid == pid and self.alive:
                os.kill(pid, signal.SIGCONT)


@dataclass
class Sandbox(Prey):
    busy: bool = False
    _link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def start(self, nursery: Nursery) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.pid = await nursery.fork(theirs)
        self.alive = True
        self._link = await asyncio.open_connection(sock=ours, limit=LONGEST_ANSWER)

    async def answer(self, event: dict[str, Any], nursery: Nursery) -> dict[str, Any]:
        """Raises TransportError when it ends in the middle."""
        if not self.alive:
            await self._replace(nursery)
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

    async def _replace(self, nursery: Nursery) -> None:
        self.hang_up()
        await nursery.bury(self.pid)
        await self.start(nursery)

    def hang_up(self) -> None:
        if self._link:
            self._link[1].close()
            self._link = None


@dataclass
class Fleet:
    """Sandboxes of one application, and perhaps an instance."""

    nursery: Nursery
    sandboxes: list[Sandbox]
    instance: "Instance | None" = None
    _idle: asyncio.Queue[Sandbox] = field(default_factory=asyncio.Queue)
    _running: set[asyncio.Task[Answer]] = field(default_factory=set)

    async def invoke(self, request: Request, patience: float) -> Answer:
        """The answer of a sandbox that is free. Raises TransportError.

        Whoever loses patience goes away; the sandbox works on, and its effect may come late.
        """
        sandbox = await self._idle.get()
        return await self._patiently(self._exchange(sandbox, request), patience)

    async def call(self, request: Request, patience: float) -> Answer:
        """The answer of the instance, which serves all calls at once. Raises TransportError."""
        assert self.instance
        return await self._patiently(self.instance.answer(request), patience)

    async def _patiently(self, work: Coroutine[Any, Any, Answer], patience: float) -> Answer:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.wait_for(asyncio.shield(task), patience)
        except TimeoutError:
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise TransportError("the client lost patience") from None

    async def _exchange(self, sandbox: Sandbox, request: Request) -> Answer:
        try:
            raw = await sandbox.answer(request.event(), self.nursery)
        finally:
            self._idle.put_nowait(sandbox)
        return Answer(raw["statusCode"], raw.get("headers", {}), _content(raw.get("body")))

    async def settle(self) -> None:
        """Return when every call has ended, those that nobody waits for too, and nobody serves.

        What a sandbox wanted to do after its answer never happens: no event wakes it again.
        """
        while self._running:
            await asyncio.wait(set(self._running))
        for sandbox in self.sandboxes:
            if sandbox.alive:
                sandbox.kill()
        if self.instance:
            await self.instance.stop()

    async def _start(self, sandboxes: int) -> None:
        for _ in range(sandboxes):
            sandbox = Sandbox()
            await sandbox.start(self.nursery)
            self.sandboxes.append(sandbox)
            self._idle.put_nowait(sandbox)


@asynccontextmanager
async def running_fleet(
    module: str,
    environment: Mapping[str, str],
    log: IO[bytes],
    *,
    sandboxes: int,
    mutant: str = "",
    instance: bool = True,
) -> AsyncGenerator[Fleet]:
    """Start the sandboxes, and the instance if it is wanted."""
    on_lambda = {**environment, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9"}
    nurseries = [Nursery(module, mutant, on_lambda, log)]
    if instance:
        nurseries.append(Nursery(module, mutant, {**environment, "VERCEL": "1"}, log))
    fleet = Fleet(nurseries[0], [])
    try:
        for nursery in nurseries:
            await nursery.ready()
        await fleet._start(sandboxes)
        if instance:
            fleet.instance = Instance(nurseries[1])
            await fleet.instance.start()
        yield fleet
    finally:
        for sandbox in fleet.sandboxes:
            sandbox.hang_up()
        if fleet.instance:
            fleet.instance.listener.close()
        for nursery in nurseries:
            nursery.close()


class Instance(Prey):
    """One process on a port that stays open while the process is replaced."""

    def __init__(self, nursery: Nursery) -> None:
        super().__init__()
        self._nursery = nursery
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._address = self.listener.getsockname()

    async def start(self) -> None:
        self.pid = await self._nursery.fork(self.listener)
        self.alive = True

    async def replace(self) -> None:
        """After a kill."""
        await self._nursery.bury(self.pid)
        await self.start()

    async def stop(self) -> None:
        """Let it finish what it has begun, and end."""
        os.kill(self.pid, signal.SIGTERM)
        self.alive = False
        await self._nursery.bury(self.pid)

    async def answer(self, request: Request) -> Answer:
        try:
            reader, writer = await asyncio.open_connection(*self._address, limit=LONGEST_ANSWER)
            try:
                writer.write(request.on_the_wire())
                raw = await reader.read(-1)
            finally:
                writer.close()
        except OSError as error:
            raise TransportError("the connection broke") from error
        return _parse(raw)


def _parse(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    if not first.startswith("HTTP/1.1 ") or int(headers.get("content-length", 0)) != len(body):
        raise TransportError("the instance was killed")
    return Answer(int(first.split()[1]), headers, _content(body.decode()))


def _content(body: str | None) -> Any:
    """The JSON, or the text where it is none."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body
