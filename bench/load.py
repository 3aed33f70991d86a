"""Sends one request repeatedly to a server over several concurrent connections."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """The latency of each request and the duration of the run, in seconds."""

    latencies: list[float]
    seconds: float


def request_bytes(path: str, headers: dict[str, str]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def run_load(port: int, request: bytes, connections: int, seconds: float) -> Load:
    """Send the request over each connection for so many seconds.

    Raises RuntimeError for a response other than 200.
    """
    return asyncio.run(_run_load(port, request, connections, seconds))


def get_body(port: int, request: bytes) -> bytes:
    """Send the request once and return the body of the response."""

    async def send() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        body = await _read_response(reader)
        writer.close()
        return body

    return asyncio.run(send())


async def _run_load(port: int, request: bytes, connections: int, seconds: float) -> Load:
    latencies: list[float] = []
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    began = time.perf_counter()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (sent := time.perf_counter()) < began + seconds:
            writer.write(request)
            await _read_response(reader)
            latencies.append(time.perf_counter() - sent)

    await asyncio.gather(*(client(reader, writer) for reader, writer in streams))
    duration = time.perf_counter() - began
    for _, writer in streams:
        writer.close()
    return Load(latencies, duration)


async def _read_response(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in head[:15]:
        raise RuntimeError(f"The server responded with {head.decode()}")
    if b"transfer-encoding: chunked" not in head:
        length = int(head.partition(b"content-length:")[2].split(b"\r", 1)[0])
        return await reader.readexactly(length)
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        body += await reader.readexactly(size + 2)
        body = body[:-2]
    await reader.readexactly(2)
    return body
