"""A TCP proxy that counts round trips, delays and breaks connections; knows no protocol."""

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import cast, override

HOST = "127.0.0.1"
_ANSWER_SECONDS = 10


class Fault(Enum):
    """What can happen to a connection."""

    DROP = "both ends see an orderly end of the stream"
    RESET = "both ends get a TCP reset"
    SILENCE = "whatever either end sends is swallowed, and nothing is closed"
    END_OF_ANSWERS = "the client sees the end of the stream; its own bytes still pass"
    END_OF_REQUESTS = "the server sees the end of the stream; its own bytes still pass"


class Way(Enum):
    """Of the two ways through a connection, one."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"

    @property
    def back(self) -> "Way":
        return Way.TO_CLIENT if self is Way.TO_SERVER else Way.TO_SERVER


@contextmanager
def running(port: int, *, delay: float = 0.0) -> Generator["Proxy"]:
    """A proxy before 127.0.0.1:`port`, for the length of the `with`.

    delay: seconds for each way, so a round trip takes twice that; see Proxy.delay.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=f"proxy of {port}", daemon=True)
    thread.start()
    proxy = Proxy(loop, port)
    try:
        proxy.delay(delay)
        proxy.accept_connections()
        yield proxy
    finally:
        proxy._run(proxy._close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Proxy:
    """Its methods may be called from any thread; each has taken effect when it returns."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self.port = 0
        self._loop = loop
        self._target = target
        self._listener: asyncio.Server | None = None
        self._newcomers_are_silent = False
        self._connections: set[_Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._opened = 0
        self._flights = 0
        self._delays = dict.fromkeys(Way, 0.0)
        self._traps: list[_Trap] = []

    @property
    def flights(self) -> int:
        """How often clients sent something since the start, or since the server last answered them.

        Each is one network round trip if the client waits for the answer. Opening the TCP
        connection is one more, which a proxy cannot see; a goodbye without an answer counts too.
        """
        return self._flights

    @property
    def connections(self) -> int:
        """How many connections were opened since the start."""
        return self._opened

    @property
    def open_connections(self) -> int:
        """How many of them are open at either end."""
        return len(self._connections)

    def delay(self, seconds: float, *, way: Way | None = None) -> None:
        """How long bytes travel one way, or each; like a long line it delays but does not throttle.

        Opening the TCP connection is not delayed.
        """
        self._run(self._delay(seconds, [way] if way else list(Way)))

    def now(self, fault: Fault) -> None:
        """Do this to every open connection."""
        self._run(self._inflict_on_all(fault))

    def before(self, pattern: bytes, fault: Fault, *, way: Way = Way.TO_SERVER) -> threading.Event:
        """Do this to the next connection that carries the pattern; the piece with it never arrives.

        It happens once. The event says that it has happened.
        """
        return self._set_trap(pattern, fault, way, arrives=False)

    def after(self, pattern: bytes, fault: Fault, *, way: Way = Way.TO_SERVER) -> threading.Event:
        """The same, but the piece with the pattern still arrives."""
        return self._set_trap(pattern, fault, way, arrives=True)

    def refuse_connections(self) -> None:
        """Nobody listens on the port any more; open connections stay."""
        self._run(self._refuse())

    def ignore_connections(self) -> None:
        """New connections are accepted and never answered; open ones stay."""
        self._run(self._listen(silent=True))

    def accept_connections(self) -> None:
        """New connections reach the server (again), on the same port as ever."""
        self._run(self._listen(silent=False))

    def _set_trap(
        self, pattern: bytes, fault: Fault, way: Way, *, arrives: bool
    ) -> threading.Event:
        trap = _Trap(pattern, fault, way, arrives=arrives)
        self._run(self._add_trap(trap))
        return trap.sprung

    def _run[T](self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_SECONDS)

    # Everything below runs in the proxy's own thread.

    async def _delay(self, seconds: float, ways: list[Way]) -> None:
        self._delays |= dict.fromkeys(ways, seconds)

    async def _inflict_on_all(self, fault: Fault) -> None:
        for connection in list(self._connections):
            connection.inflict(fault)

    async def _add_trap(self, trap: "_Trap") -> None:
        self._traps.append(trap)

    async def _listen(self, *, silent: bool) -> None:
        self._newcomers_are_silent = silent
        if self._listener is None:
            listener = await self._loop.create_server(self._welcome, HOST, self.port)
            self._listener = listener
            self.port = listener.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _close(self) -> None:
        await self._refuse()
        for connection in list(self._connections):
            connection.inflict(Fault.RESET)
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        # The transports finish in the next turn of the loop.
        await asyncio.sleep(0)

    def _welcome(self) -> "_End":
        self._opened += 1
        connection = _Connection(self, silent=self._newcomers_are_silent)
        return _End(connection, Way.TO_SERVER)


@dataclass(frozen=True)
class _Trap:
    pattern: bytes
    fault: Fault
    way: Way
    arrives: bool
    sprung: threading.Event = field(default_factory=threading.Event)


class _End(asyncio.Protocol):
    """The socket whose bytes travel this way: TO_SERVER is the client's."""

    def __init__(self, connection: "_Connection", way: Way) -> None:
        self.connection = connection
        self.way = way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connection.opened(self.way, cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self.connection.received(self.way, data)

    def eof_received(self) -> bool:
        self.connection.ended(self.way)
        return True  # The other way stays open.

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.lost(self.way)


type _Piece = bytes | _Trap | None  # None is the end of the stream.


class _Connection:
    def __init__(self, proxy: Proxy, *, silent: bool) -> None:
        self.proxy = proxy
        self.silent = silent
        self.ends: dict[Way, asyncio.Transport] = {}
        # What is on its way, with the time it arrives.
        self.pieces: dict[Way, deque[tuple[float, _Piece]]] = {way: deque() for way in Way}
        self.seen = dict.fromkeys(Way, b"")
        self.shut: set[Way] = set()
        self.client_has_its_answer = True

    def opened(self, way: Way, end: asyncio.Transport) -> None:
        if way is Way.TO_CLIENT and Way.TO_SERVER not in self.ends:
            end.abort()  # The client has left meanwhile.
            return
        self.ends[way] = end
        self.proxy._connections.add(self)
        if way is Way.TO_CLIENT:
            self.deliver(Way.TO_SERVER)
        elif not self.silent:
            task = self.proxy._loop.create_task(self.connect())
            self.proxy._connecting.add(task)
            task.add_done_callback(self.proxy._connecting.discard)

    async def connect(self) -> None:
        loop, target = self.proxy._loop, self.proxy._target
        try:
            await loop.create_connection(lambda: _End(self, Way.TO_CLIENT), HOST, target)
        except OSError:
            self.inflict(Fault.RESET)

    def received(self, way: Way, data: bytes) -> None:
        if way is Way.TO_SERVER and self.client_has_its_answer:
            self.proxy._flights += 1
            self.client_has_its_answer = False
        if self.silent:
            return
        trap = self.find_trap(way, data)
        if trap is None or trap.arrives:
            self.send(way, data)
        if trap is not None:
            self.send(way, trap)

    def find_trap(self, way: Way, data: bytes) -> _Trap | None:
        stream = self.seen[way] + data
        traps = [trap for trap in self.proxy._traps if trap.way is way]
        for trap in traps:
            if trap.pattern in stream:
                self.proxy._traps.remove(trap)
                self.seen[way] = b""
                return trap
        # A pattern may come in two pieces: remember as much as could be its beginning.
        longest = max((len(trap.pattern) - 1 for trap in traps), default=0)
        self.seen[way] = stream[-longest:] if longest else b""
        return None

    def ended(self, way: Way) -> None:
        if not self.silent:
            self.send(way, None)

    def lost(self, way: Way) -> None:
        self.ends.pop(way, None)
        if not self.ends:
            self.proxy._connections.discard(self)
        elif not self.silent:
            # What it sent before still arrives, then the other end is closed.
            self.shut.add(way.back)
            self.send(way, None)

    def send(self, way: Way, piece: _Piece) -> None:
        pieces = self.pieces[way]
        arrival = self.proxy._loop.time() + self.proxy._delays[way]
        # A shorter delay than before must not overtake.
        arrival = max(arrival, pieces[-1][0]) if pieces else arrival
        pieces.append((arrival, piece))
        if len(pieces) == 1:
            self.deliver(way)

    def deliver(self, way: Way) -> None:
        pieces, loop = self.pieces[way], self.proxy._loop
        while pieces and (end := self.ends.get(way.back)):
            arrival, piece = pieces[0]
            if arrival > loop.time():
                loop.call_at(arrival, self.deliver, way)
                return
            pieces.popleft()
            if isinstance(piece, _Trap):
                self.inflict(piece.fault)
                piece.sprung.set()
            elif piece is None:
                self.shut_down(way)
            elif way not in self.shut:
                # Before the bytes go: the client may be quicker than the next line.
                self.client_has_its_answer |= way is Way.TO_CLIENT
                end.write(piece)

    def shut_down(self, way: Way) -> None:
        self.shut.add(way)
        end = self.ends.get(way.back)
        if end is None or end.is_closing():
            return
        if len(self.shut) == len(Way):
            for each in list(self.ends.values()):
                each.close()
        else:
            end.write_eof()

    def inflict(self, fault: Fault) -> None:
        match fault:
            case Fault.END_OF_ANSWERS:
                self.shut_down(Way.TO_CLIENT)
            case Fault.END_OF_REQUESTS:
                self.shut_down(Way.TO_SERVER)
            case Fault.SILENCE:
                self.forget()
            case Fault.DROP:
                self.forget()
                for end in list(self.ends.values()):
                    end.close()
            case Fault.RESET:
                self.forget()
                for end in list(self.ends.values()):
                    _reset(end)

    def forget(self) -> None:
        self.silent = True
        for pieces in self.pieces.values():
            pieces.clear()


def _reset(end: asyncio.Transport) -> None:
    raw = end.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.abort()
