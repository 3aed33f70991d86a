"""The local server: uvicorn with every endpoint group, as `make dev` runs it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from dev.postgres import free_port


@contextmanager
def serve(environment: Mapping[str, str], application: str = "dev.app:app") -> Generator[str]:
    """Run `module:name` under uvicorn with these variables. Gives its base URL."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "2"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until_listening(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def wait_until_listening(port: int, process: subprocess.Popen, seconds: float = 60) -> None:
    """Return when somebody listens on the port. Raises RuntimeError if the process ends first."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode} before it listened")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args} did not listen within {seconds} s")
