"""Starts the processes of partners and asks them; knows how a partner runs, and no figure."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import workload
from bench.partners import OURS, Partner
from bench.prepare import PYTHON, ROOT, SERVER, folder

WORKER = ROOT / "bench" / "worker.py"
# What Lambda sets besides: ours asks for the first, Powertools for the others.
LAMBDA = {
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
    "AWS_REGION": "eu-central-1",
    "_X_AMZN_TRACE_ID": "Root=1-69223b1d-3b7d2c5e1f0a4b6c8d9e0f1a;Sampled=0",
}


class Unfair(Exception):
    """A partner does not do what it is measured for: one sentence that says which and what."""


def environment(partner: Partner, urls: workload.Urls, *, platform: str) -> dict[str, str]:
    """The whole environment of a process: nothing of the caller's changes what is measured."""
    variables = {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        # Set and dictionary order, and so the number of instructions, would vary otherwise.
        "PYTHONHASHSEED": "0",
        # A function's folder is read-only.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(folder(partner)),
        **workload.environment(urls, ours=partner is OURS),
    }
    if platform == "vercel":
        variables["PYTHONPATH"] += f":{SERVER}"
    return variables | (LAMBDA if platform == "lambda" else {"VERCEL": "1"})


def _node() -> str:
    # The workers' own search path is short; make puts the Node.js of package.json into ours.
    return shutil.which("node") or "node"


def command(partner: Partner, events: Path, *words: str) -> list[str]:
    if partner.node:
        worker, module = folder(partner) / "worker.js", folder(partner) / partner.module
        return [_node(), str(worker), str(module), str(events), *words]
    return [str(PYTHON), "-P", str(WORKER), partner.module, str(events), *words]


def start_cold(partner: Partner, urls: workload.Urls, events: Path, name: str) -> dict[str, Any]:
    """One cold start: seconds of CPU and of waiting until its first answer, peak memory in MB."""
    began = time.monotonic()
    done = subprocess.run(
        command(partner, events, "cold", name),
        env=environment(partner, urls, platform="lambda"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unfair(f"{partner.name} does not start:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout)
    return {**told, "wall": told["done"] - began}


class Sandbox:
    """A warm process of a partner, answering one event after the other."""

    def __init__(self, process: subprocess.Popen[str], partner: Partner) -> None:
        self._process, self._partner = process, partner

    def answer(self, event: str | dict[str, Any], times: int = 1) -> dict[str, Any]:
        """Its last answer to an event (by name, or given), CPU seconds a time, each wall time."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps([event, times]) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError) as error:
            raise Unfair(f"{self._partner.name} ended at {event!r}.") from error


@contextmanager
def sandbox(partner: Partner, urls: workload.Urls, events: Path) -> Iterator[Sandbox]:
    """A process that has been started and imported its partner, and answered nothing yet."""
    with subprocess.Popen(
        command(partner, events, "warm"),
        env=environment(partner, urls, platform="lambda"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Sandbox(process, partner)
        finally:
            process.kill()


@contextmanager
def server(partner: Partner, urls: workload.Urls) -> Iterator[tuple[int, int]]:
    """Port and pid of a server of many requests at once: one process, one loop."""
    assert partner.application
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if partner.node:
        words = [_node(), str(folder(partner) / partner.application), str(port)]
    else:
        words = [str(PYTHON), "-P", "-m", "uvicorn", partner.application, "--port", str(port)]
        words += ["--loop", "asyncio", "--http", "h11", "--log-level", "error"]
    with subprocess.Popen(
        words,
        env=environment(partner, urls, platform="vercel"),
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_until_up(partner, process, port)
            yield port, process.pid
        finally:
            process.kill()


def _wait_until_up(partner: Partner, process: subprocess.Popen[bytes], port: int) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Unfair(f"{partner.name} does not serve.")


def cpu_seconds(pid: int) -> float:
    """What a process has used until now, its threads included."""
    after_name = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
