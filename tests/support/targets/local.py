"""The local target: every endpoint group in one uvicorn process.

`make dev` has the same application and server, and adds what tests/tooling/test_serve.py tests.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from dev.postgres import free_port


@contextmanager
def serve(
    environment: Mapping[str, str], application: str = "dev.app:app", port: int | None = None
) -> Generator[str]:
    """Run the application `module:name` with these variables; gives its base URL."""
    port = port or free_port()
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
    """Return once a program listens on the port.

    Raises RuntimeError if the process ends before that, or after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode} before it listened")
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args} did not listen within {seconds} s")
