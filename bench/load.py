"""Asks a server for one thing over some connections at once; knows no partner."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """`waits` in seconds, one for each request."""

    waits: list[float]
    seconds: float


def request_bytes(path: str, headers: dict[str, str]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def run_load(port: int, request: bytes, connections: int, seconds: float) -> Load:
    """Raises RuntimeError for an answer that is not 200."""
    return asyncio.run(_run_load(port, request, connections, seconds))


def ask_once(port: int, request: bytes) -> bytes:
    """The body of one answer."""

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        body = await _read_answer(reader)
        writer.close()
        return body

    return asyncio.run(ask())


async def _run_load(port: int, request: bytes, connections: int, seconds: float) -> Load:
    waits: list[float] = []
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    began = time.perf_counter()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (sent := time.perf_counter()) < began + seconds:
            writer.write(request)
            await _read_answer(reader)
            waits.append(time.perf_counter() - sent)

    await asyncio.gather(*(client(reader, writer) for reader, writer in streams))
    took = time.perf_counter() - began
    for _, writer in streams:
        writer.close()
    return Load(waits, took)


async def _read_answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in head[:15]:
        raise RuntimeError(f"the server answered {head.decode()}")
    if b"transfer-encoding: chunked" not in head:
        length = int(head.partition(b"content-length:")[2].split(b"\r", 1)[0])
        return await reader.readexactly(length)
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        body += await reader.readexactly(size + 2)
        body = body[:-2]
    await reader.readexactly(2)
    return body
