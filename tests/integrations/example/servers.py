"""Builds examples/nextjs once and runs it with the real API and Better Auth on one database."""

import fcntl
import os
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import httpx2

from dev.postgres import free_port
from tests.integrations.better_auth.servers import (
    EXAMPLE,
    READY_SECONDS,
    ROOT,
    SECRET,
    FixtureError,
    install_packages,
    node,
    process,
    wait_for_start,
)

NEXT = str(EXAMPLE / "node_modules" / "next" / "dist" / "bin" / "next")
GENERATED = {"node_modules", ".next", "openapi.ts", "next-env.d.ts", "tsconfig.tsbuildinfo"}


def sources() -> list[Path]:
    """Return the files of the example that are written by hand."""
    files = (path for path in EXAMPLE.rglob("*") if path.is_file())
    return sorted(path for path in files if not GENERATED & set(path.relative_to(EXAMPLE).parts))


def run_script(name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run an npm script of the example."""
    return subprocess.run(
        ["npm", "run", "--silent", name], cwd=EXAMPLE, capture_output=True, text=True, check=False,
        env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1", **variables}, timeout=600,
    )  # fmt: skip


def build() -> None:
    """Install the packages and build the example, unless this was done since the last change.

    Safe in parallel. Raises FixtureError.
    """
    install_packages(EXAMPLE)
    document = ROOT / "lib" / "static" / "openapi.json"
    contents = b"".join(path.read_bytes() for path in [*sources(), document])
    wanted, stamp = sha256(contents).hexdigest(), EXAMPLE / ".next" / "built"
    with (ROOT / ".cache" / "example-build.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        built = run_script("build")
        if built.returncode:
            raise FixtureError(f"next build failed:\n{built.stdout}{built.stderr}")
        (EXAMPLE / ".next" / "build.log").write_text(built.stdout + built.stderr)
        stamp.write_text(wanted)


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
