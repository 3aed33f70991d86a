"""Builds examples/nextjs as `make demo` does, and runs it with the real API and Better Auth."""

import fcntl
import os
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2

from dev import demo
from dev.postgres import free_port
from tests.integrations.better_auth.servers import (
    EXAMPLE,
    READY_SECONDS,
    ROOT,
    SECRET,
    install_packages,
    node,
    process,
    wait_for_start,
)

NEXT = str(EXAMPLE / "node_modules" / "next" / "dist" / "bin" / "next")


def run_script(name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run an npm script of the example."""
    return subprocess.run(
        ["npm", "run", "--silent", name], cwd=EXAMPLE, capture_output=True, text=True, check=False,
        env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1", **variables}, timeout=600,
    )  # fmt: skip


def build() -> None:
    """Install the packages and build the example, unless this was done since the last change.

    Safe in parallel. Raises FixtureError or CannotServe.
    """
    install_packages(EXAMPLE)
    demo.DATA.mkdir(parents=True, exist_ok=True)
    # The page reads these when it starts; without them Better Auth warns during the build.
    variables = {"BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": "http://localhost"}
    with (ROOT / ".cache" / "example-build.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        demo.build(demo.environment_of_programs() | variables)


@contextmanager
def page(
    database_url: str, api_url: str, log: Path, variables: Mapping[str, str] | None = None
) -> Generator[str]:
    """Run the built example, and yield its origin. Its tables must exist."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        "PORT": str(port),
        "DATABASE_URL": database_url,
        "BETTER_AUTH_SECRET": SECRET,
        "BETTER_AUTH_URL": url,
        "BETTER_AUTH_TELEMETRY": "0",
        "NEXT_TELEMETRY_DISABLED": "1",
        "TASKS_API_URL": api_url,
        **(variables or {}),
    }
    deadline = time.monotonic() + READY_SECONDS
    with process([node(), NEXT, "start", str(EXAMPLE), "-H", "127.0.0.1"], env, log) as started:
        while not _responds(url):
            wait_for_start(started, log, deadline)
        yield url


def _responds(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=10).status_code == 200
    except httpx2.TransportError:
        return False
