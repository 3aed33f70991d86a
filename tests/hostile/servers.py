"""Serves an ASGI application of this repository on a port of its own; knows no test."""

import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from dev.postgres import free_port
from tests.targets.local import wait_until_listening


@contextmanager
def serving(application: str, environment: Mapping[str, str]) -> Generator[str]:
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
