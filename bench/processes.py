"""Starts the processes of an implementation and sends events to them."""

import ctypes
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import workload
from bench.implementations import OURS, Implementation, Server
from bench.prepare import PYTHON, ROOT, SERVER, folder

WORKER = ROOT / "bench" / "worker.py"
# Variables that Lambda sets: this API reads the first, Powertools the others.
LAMBDA = {
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
    "AWS_REGION": "eu-central-1",
    "_X_AMZN_TRACE_ID": "Root=1-69223b1d-3b7d2c5e1f0a4b6c8d9e0f1a;Sampled=0",
}


class ComparisonError(Exception):
    """An implementation fails or responds differently. The message names it and the cause."""


def environment(
    implementation: Implementation, urls: workload.Urls, *, platform: str
) -> dict[str, str]:
    """Return the complete environment of a process, independent of the caller's."""
    variables = {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        # Random hashes would change the number of instructions.
        "PYTHONHASHSEED": "0",
        # The folder of a deployed function is read-only.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(folder(implementation)),
        **workload.environment(urls, ours=implementation is OURS),
    }
    if platform == "vercel":
        variables["PYTHONPATH"] += f":{SERVER}"
    return variables | (LAMBDA if platform == "lambda" else {"VERCEL": "1"})


def _node() -> str:
    # The workers have a short PATH. make adds the required Node.js to the PATH of this process.
    return shutil.which("node") or "node"


def command(implementation: Implementation, events: Path, *arguments: str) -> list[str]:
    if implementation.node:
        worker, module = (
            folder(implementation) / "worker.js",
            folder(implementation) / implementation.module,
        )
        return [_node(), str(worker), str(module), str(events), *arguments]
    return [str(PYTHON), "-P", str(WORKER), implementation.module, str(events), *arguments]


def start_cold(
    implementation: Implementation, urls: workload.Urls, events: Path, name: str
) -> dict[str, Any]:
    """Run one cold start: CPU and wall seconds until the first response, peak memory in MB."""
    began = time.monotonic()
    completed = subprocess.run(
        command(implementation, events, "cold", name),
        env=environment(implementation, urls, platform="lambda"),
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode:
        raise ComparisonError(f"{implementation.name} does not start:\n{completed.stderr[-2000:]}")
    result = json.loads(completed.stdout)
    return {**result, "wall": result["done"] - began}


class Sandbox:
    """A warm process that handles one event at a time."""

    def __init__(self, process: subprocess.Popen[str], implementation: Implementation) -> None:
        self._process, self._implementation = process, implementation

    def send(self, event: str | dict[str, Any], times: int = 1) -> dict[str, Any]:
        """Send an event, given or by name, several times.

        Returns the last response, CPU seconds per request, all wall times in seconds, and the peak
        memory in MB. Raises ComparisonError if the process ends.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps([event, times]) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError) as error:
            raise ComparisonError(
                f"{self._implementation.name} ended while it handled {event!r}."
            ) from error


@contextmanager
def sandbox(implementation: Implementation, urls: workload.Urls, events: Path) -> Iterator[Sandbox]:
    """Start a warm process, which has handled no event yet."""
    with subprocess.Popen(
        command(implementation, events, "warm"),
        env=environment(implementation, urls, platform="lambda"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Sandbox(process, implementation)
        finally:
            process.kill()


@contextmanager
def server(
    chosen: Server,
    urls: workload.Urls,
    cpus: set[int],
    variables: Mapping[str, str] | None = None,
) -> Iterator[tuple[int, int]]:
    """Start a server for concurrent requests on the processors `cpus`; yield its port and pid."""
    implementation = chosen.implementation
    assert implementation.application
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if implementation.node:
        arguments = [_node(), str(folder(implementation) / implementation.application), str(port)]
    else:
        arguments = [str(PYTHON), "-P", "-m", "uvicorn", implementation.application]
        arguments += ["--port", str(port), "--log-level", "error", *chosen.options]
    with subprocess.Popen(
        pinned(arguments, cpus),
        cwd=folder(implementation),  # uvicorn imports from there first
        env=environment(implementation, urls, platform="vercel") | dict(variables or {}),
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_until_listening(implementation, process, port)
            yield port, process.pid
        finally:
            process.kill()


def _wait_until_listening(
    implementation: Implementation, process: subprocess.Popen[bytes], port: int
) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise ComparisonError(f"{implementation.name} does not start as a server.")


def pinned(arguments: list[str], cpus: set[int]) -> list[str]:
    """Return the command that runs another on these processors only, in the same process."""
    return ["taskset", "--cpu-list", ",".join(map(str, cpus)), *arguments]


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has used, including threads that have ended."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        return 0.0  # it has ended
    return time.clock_gettime(clock.value)


def postgres_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of all of PostgreSQL's processes, including those that have ended."""
    ended = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[13:15]
    return sum(map(cpu_seconds, [pid, *children(pid)])) + (
        sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
    )


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def peak_memory(pid: int) -> float:
    """Return the peak memory of a process in MB."""
    [line] = [
        line
        for line in Path("/proc", str(pid), "status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) / 1024
