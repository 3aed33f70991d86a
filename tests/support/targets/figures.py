"""`make figures`: measures size, cold start and warm response of each function on both platforms.

The functions run on this machine, in the runtimes of AWS and Vercel: compare the times with one
another, not with times of those platforms. On a busy machine CPU time varies less than wall time.
"""

import http.client
import json
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from dev.deploy import vercel_build
from tests.platforms.aws.artifact import CACHE, arm64_artifact, unpacked_artifact
from tests.platforms.aws.sandbox import Sandbox
from tests.platforms.aws.stack import read_functions
from tests.support.targets.vercel_runtime import Deployment

STARTS, REQUESTS = 7, 200
EVENTS = {
    "tasks": "list_tasks",
    "mcp": "call_tool",
    "health": "health",
    "docs": "openapi",
    "smoke": "unknown_path",
    "retention": "unknown_path",
}
PATHS = {
    "tasks": "/api/ada/tasks",
    "mcp": "/api/mcp",
    "health": "/api/health",
    "docs": "/api/openapi.json",
    "smoke": "/api/smoke",
    "retention": "/api/retention",
}
# No database listens there: the responses, such as 401, need none.
ENVIRONMENT = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "BETTER_AUTH_SECRET": "figures-need-no-secret-0123456789abcdef",
    "LOG_LEVEL": "ERROR",
}
LINE = "{:<34}{:>8}{:>16}{:>18}{:>16}"


def main() -> None:
    """Measure, and print the table."""
    built = vercel_build.build()
    compiled = unpacked_artifact()
    sources = CACHE / "without-bytecode"
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(compiled, sources, ignore=shutil.ignore_patterns("__pycache__"))
    print(
        f"A start includes the first response. Minimum of {STARTS} starts, "
        f"median of {REQUESTS} warm responses."
    )
    print(LINE.format("", "MB", "start, CPU ms", "start, wall ms", "warm, wall ms"))
    zipped = arm64_artifact().stat().st_size / 1e6
    for name in read_functions():
        report(f"Lambda {name} (zip for arm64)", zipped, on_lambda(name, compiled))
    for name in read_functions():
        report(f"Lambda {name}, no bytecode", zipped, on_lambda(name, sources))
    for function in built.functions:
        name = f"Vercel {function.name.removeprefix('api/')} (unpacked)"
        report(name, function.megabytes, on_vercel(built, function.name))


def report(name: str, megabytes: float, figures: tuple[float, float, float]) -> None:
    cpu, wall, warm = figures
    cells = f"{megabytes:.1f}", f"{cpu:.0f}", f"{wall:.0f}", f"{warm:.2f}"
    print(LINE.format(name, *cells), flush=True)


def on_lambda(name: str, content: Path) -> tuple[float, float, float]:
    """Milliseconds: CPU and wall time of a cold start, and wall time of a warm response."""
    text = (
        Path(__file__).parents[2] / "platforms" / "aws" / "events" / f"{EVENTS[name]}.json"
    ).read_text()
    event: dict[str, Any] = json.loads(text)
    starts, warm = [], 0.0
    for _ in range(STARTS):
        sandbox = Sandbox(read_functions()[name], ENVIRONMENT, content)
        try:
            sandbox.connect().close()
            wall = timed(lambda sandbox=sandbox: sandbox.invoke(event))
            starts.append((cpu_of(child_of(sandbox.process.pid)), wall))
            if len(starts) == STARTS:
                warm = median(timed(lambda: sandbox.invoke(event)) for _ in range(REQUESTS))
        finally:
            sandbox.close()
    return min(cpu for cpu, _ in starts), min(wall for _, wall in starts), warm


def on_vercel(built: vercel_build.Built, name: str) -> tuple[float, float, float]:
    """The same for a function of Vercel's build, called without the edge."""
    starts, warm = [], 0.0
    path = PATHS[name.removeprefix("api/")]
    for _ in range(STARTS):
        deployment = Deployment(built, ENVIRONMENT)
        try:
            instance = deployment.instance(name)
            connection = http.client.HTTPConnection("127.0.0.1", instance.port)
            wall = instance.start_ms + timed(lambda: request(connection, path))
            starts.append((cpu_of(instance.process.pid), wall))
            if len(starts) == STARTS:
                warm = median(timed(lambda: request(connection, path)) for _ in range(REQUESTS))
        finally:
            deployment.stop()
    return min(cpu for cpu, _ in starts), min(wall for _, wall in starts), warm


def request(connection: http.client.HTTPConnection, path: str) -> None:
    # GET would be 405 there, before the token is looked for.
    connection.request("POST" if path == "/api/mcp" else "GET", path)
    # Vercel's server sends head and body in two segments, and delays the second by 40 ms unless
    # the first is acknowledged at once.
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    connection.getresponse().read()


def timed(action: Callable[[], object]) -> float:
    """Milliseconds that a call takes."""
    began = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - began)


def child_of(pid: int) -> int:
    """The pid of the only child of a process."""
    [child] = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return child


def cpu_of(pid: int) -> float:
    """Milliseconds of CPU time that a process has used."""
    # Nanoseconds of every thread; /proc/<pid>/stat counts ticks of 10 ms.
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


if __name__ == "__main__":
    sys.exit(main())
