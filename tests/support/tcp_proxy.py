"""A TCP proxy that counts round trips, delays data and breaks connections, for any protocol."""

import asyncio
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import cast, override

HOST = "127.0.0.1"
_CALL_TIMEOUT = 10


class Fault(Enum):
    """A fault of a connection."""

    DROP = "both ends get the end of the stream"
    RESET = "both ends get a TCP reset"
    SILENCE = "data of both ends is discarded, and nothing is closed"
    END_OF_RESPONSES = "the client gets the end of the stream; its own data still passes"
    END_OF_REQUESTS = "the server gets the end of the stream; its own data still passes"


class Way(Enum):
    """A direction of a connection."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"

    @property
    def back(self) -> "Way":
        return Way.TO_CLIENT if self is Way.TO_SERVER else Way.TO_SERVER


@contextmanager
def running(port: int, *, delay: float = 0.0) -> Generator["Proxy"]:
    """Run a proxy for 127.0.0.1:`port`.

    delay: seconds for each direction, so a round trip takes twice that; see Proxy.delay.
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
    """A running proxy. Its methods are thread-safe, and take effect before they return."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self.port = 0
        self._loop = loop
        self._target = target
        self._listener: asyncio.Server | None = None
        self._ignores_new_connections = False
        self._connections: set[_Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._opened = 0
        self._round_trips = 0
        self._delays = dict.fromkeys(Way, 0.0)
        self._traps: list[_Trap] = []

    @property
    def round_trips(self) -> int:
        """The number of round trips: how often clients sent data after data from the server.

        The TCP handshake is one more, which a proxy cannot see. A last message without a response,
        such as Terminate of PostgreSQL, counts too.
        """
        return self._round_trips

    @property
    def connections(self) -> int:
        """The number of connections opened since the start."""
        return self._opened

    @property
    def open_connections(self) -> int:
        """The number of connections that are open at either end."""
        return len(self._connections)

    def delay(self, seconds: float, *, way: Way | None = None) -> None:
        """Delay data in one direction, or in both, without limiting the throughput.

        The TCP handshake is not delayed.
        """
        self._run(self._delay(seconds, [way] if way else list(Way)))

    def now(self, fault: Fault) -> None:
        """Cause this fault on every open connection."""
        self._run(self._inflict_on_all(fault))

    def await_end_of_responses(self) -> None:
        """Return when every open connection has the end of the stream at the client.

        A server that closes its connections does so before this proxy passes it on.
        """
        until = time.monotonic() + _CALL_TIMEOUT
        while not self._run(self._all_responses_ended()):
            assert time.monotonic() < until, "a connection to the server stays open"
            time.sleep(0.01)

    def before(self, pattern: bytes, fault: Fault, *, way: Way = Way.TO_SERVER) -> threading.Event:
        """Cause this fault once, on the next connection that carries the pattern.

        The data with the pattern is not delivered. The event is set after the fault.
        """
        return self._set_trap(pattern, fault, way, delivers=False)

    def after(self, pattern: bytes, fault: Fault, *, way: Way = Way.TO_SERVER) -> threading.Event:
        """Like `before`, but the data with the pattern is delivered first."""
        return self._set_trap(pattern, fault, way, delivers=True)

    def refuse_connections(self) -> None:
        """Stop listening on the port; open connections stay open."""
        self._run(self._refuse())

    def ignore_connections(self) -> None:
        """Accept new connections but send nothing on them; open connections are not affected."""
        self._run(self._listen(silent=True))

    def accept_connections(self) -> None:
        """Forward new connections to the server (again), on the same port."""
        self._run(self._listen(silent=False))

    def _set_trap(
        self, pattern: bytes, fault: Fault, way: Way, *, delivers: bool
    ) -> threading.Event:
        trap = _Trap(pattern, fault, way, delivers=delivers)
        self._run(self._add_trap(trap))
        return trap.triggered

    def _run[T](self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_TIMEOUT)

    # Everything below runs in the proxy's thread.

    async def _delay(self, seconds: float, ways: list[Way]) -> None:
        self._delays |= dict.fromkeys(ways, seconds)

    async def _inflict_on_all(self, fault: Fault) -> None:
        for connection in list(self._connections):
            connection.inflict(fault)

    async def _all_responses_ended(self) -> bool:
        return all(Way.TO_CLIENT in connection.shut for connection in self._connections)

    async def _add_trap(self, trap: "_Trap") -> None:
        self._traps.append(trap)

    async def _listen(self, *, silent: bool) -> None:
        self._ignores_new_connections = silent
        if self._listener is None:
            listener = await self._loop.create_server(self._accept, HOST, self.port)
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
        # The transports close in the next iteration of the loop.
        await asyncio.sleep(0)

    def _accept(self) -> "_End":
        self._opened += 1
        connection = _Connection(self, silent=self._ignores_new_connections)
        return _End(connection, Way.TO_SERVER)


@dataclass(frozen=True)
class _Trap:
    pattern: bytes
    fault: Fault
    way: Way
    delivers: bool
    triggered: threading.Event = field(default_factory=threading.Event)


class _End(asyncio.Protocol):
    """The socket that receives data of this direction: TO_SERVER is the client's."""

    def __init__(self, connection: "_Connection", way: Way) -> None:
        self.connection = connection
        self.way = way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connection.opened(self.way, cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self.connection.received(self.way, data)

    def eof_received(self) -> bool:
        self.connection.ended(self.way)
        return True  # The other direction stays open.

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.lost(self.way)


type _Piece = bytes | _Trap | None  # None is the end of the stream.


class _Connection:
    def __init__(self, proxy: Proxy, *, silent: bool) -> None:
        self.proxy = proxy
        self.silent = silent
        self.ends: dict[Way, asyncio.Transport] = {}
        # Data to deliver, with the time of delivery.
        self.pieces: dict[Way, deque[tuple[float, _Piece]]] = {way: deque() for way in Way}
        self.seen = dict.fromkeys(Way, b"")
        self.shut: set[Way] = set()
        self.server_has_responded = True

    def opened(self, way: Way, end: asyncio.Transport) -> None:
        if way is Way.TO_CLIENT and Way.TO_SERVER not in self.ends:
            end.abort()  # The client has disconnected.
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
        if way is Way.TO_SERVER and self.server_has_responded:
            self.proxy._round_trips += 1
            self.server_has_responded = False
        if self.silent:
            return
        trap = self.find_trap(way, data)
        if trap is None or trap.delivers:
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
        # A pattern may arrive in two pieces: keep as much as could be its beginning.
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
            # Deliver what it sent before, then close the other end.
            self.shut.add(way.back)
            self.send(way, None)

    def send(self, way: Way, piece: _Piece) -> None:
        pieces = self.pieces[way]
        arrival = self.proxy._loop.time() + self.proxy._delays[way]
        # A shorter delay than before must not change the order.
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
                piece.triggered.set()
            elif piece is None:
                self.shut_down(way)
            elif way not in self.shut:
                # Before the write: the client may send its next request before the next line runs.
                self.server_has_responded |= way is Way.TO_CLIENT
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
            case Fault.END_OF_RESPONSES:
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
