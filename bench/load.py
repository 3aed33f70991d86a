"""Sends requests to a server: many at once with wrk, a load generator in C, or one at a time."""

import http.client
import json
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import ComparisonError, pinned

SCRIPT = Path(__file__).with_name("load.lua")
MAX_SECONDS = 16


@dataclass(frozen=True)
class Load:
    """Times are in seconds; `cpu` is what wrk itself used."""

    requests: int
    seconds: float
    p50: float
    p99: float
    cpu: float


def run_load(
    port: int, events: Sequence[dict[str, Any]], connections: int, seconds: int, cpus: set[int]
) -> Load:
    """Send the events in turn, over each connection, for so many seconds, as wrk counts them.

    For longer where a connection would get no response. Raises ComparisonError if a request fails.
    """
    load = _run_wrk(port, events, connections, seconds, cpus)
    while load.requests < connections and seconds < MAX_SECONDS:
        seconds *= 2
        load = _run_wrk(port, events, connections, seconds, cpus)
    if not load.requests:
        raise ComparisonError(f"No response within {seconds} seconds.")
    return load


def _run_wrk(
    port: int, events: Sequence[dict[str, Any]], connections: int, seconds: int, cpus: set[int]
) -> Load:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0".join(request_bytes(event) for event in events))
        file.flush()
        before = _children_cpu()
        completed = subprocess.run(
            pinned(
                [
                    *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"),
                    *("-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--", file.name),
                ],
                cpus,
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        cpu = _children_cpu() - before
    if completed.returncode:
        raise ComparisonError(f"wrk failed: {completed.stdout}{completed.stderr}")
    result = json.loads(completed.stdout.splitlines()[-1])
    if result["failed"]:
        raise ComparisonError(f"Requests failed under load: {completed.stdout}")
    return Load(result["requests"], result["seconds"], result["p50"], result["p99"], cpu)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def request_bytes(event: dict[str, Any]) -> bytes:
    """The event of API Gateway as the request that a browser sent."""
    method, target, headers = _parts(event)
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + (event["body"] or "")).encode()


class Client:
    """One connection to a server. `send` returns responses as a Lambda handler does, and opens the
    connection again after `close`.
    """

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(self, event: dict[str, Any]) -> dict[str, Any]:
        method, target, headers = _parts(event)
        self._connection.request(method, target, event["body"], headers)
        response = self._connection.getresponse()
        return {"statusCode": response.status, "body": response.read()}

    def close(self) -> None:
        self._connection.close()


def _parts(event: dict[str, Any]) -> tuple[str, str, dict[str, str]]:
    """Return method, target and headers."""
    method, query = event["requestContext"]["http"]["method"], event["rawQueryString"]
    target = f"{event['rawPath']}?{query}" if query else event["rawPath"]
    headers = event["headers"]
    if method == "GET":  # API Gateway adds a length of 0
        headers = {name: value for name, value in headers.items() if name != "content-length"}
    return method, target, headers
