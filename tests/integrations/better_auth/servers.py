"""Starts the real Better Auth and the real API as processes."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from dev import unprivileged
from dev.postgres import free_port

HERE = Path(__file__).parent
MCP = HERE / "mcp"
ROOT = HERE.parents[2]
EXAMPLE = ROOT / "examples" / "nextjs"
# Used by these tests only.
SECRET = "a-secret-for-the-better-auth-tests-only-0123456789"
AUDIENCE = "todo-api"
READY_SECONDS = 60


class FixtureError(Exception):
    """A required program is missing or failed. The message says what to do."""


def node() -> str:
    """Return the path of Node.js. Raises FixtureError if it or npm is missing."""
    path = shutil.which("node")
    if path is None or shutil.which("npm") is None:
        raise FixtureError("Install Node.js 22 with npm: the Better Auth tests run it.")
    return path


def install_packages(folder: Path = HERE) -> None:
    """Install the npm packages of a folder once per package-lock.json. Safe in parallel.

    Raises FixtureError if Node.js is missing or npm fails.
    """
    node()
    wanted = sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    lock = ROOT / ".cache" / "better-auth-install.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        sys.stderr.write("Installing Better Auth and its test tools (npm ci) ...\n")
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        npm = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if npm.returncode:
            raise FixtureError(
                f"npm ci failed: is the npm registry reachable?\n{npm.stderr[-2000:]}"
            )
        stamp.write_text(wanted)


def install_example() -> None:
    """Install the npm packages of the example and generate its types. Safe in parallel.

    Raises FixtureError.
    """
    install_packages(EXAMPLE)
    generator = EXAMPLE / "node_modules" / "openapi-typescript" / "bin" / "cli.js"
    document = ROOT / "lib" / "static" / "openapi.json"
    with TemporaryDirectory(dir=ROOT / ".cache") as folder:
        output = Path(folder) / "openapi.ts"
        command = [node(), str(generator), str(document), "--default-non-nullable=false"]
        command += ["-o", str(output)]
        generated = subprocess.run(command, capture_output=True, text=True, check=False)
        if generated.returncode:
            raise FixtureError(f"openapi-typescript failed:\n{generated.stderr}")
        output.replace(EXAMPLE / "lib" / "openapi.ts")


@contextmanager
def process(command: list[str], env: Mapping[str, str], log: Path) -> Generator[subprocess.Popen]:
    """Run a program inside the `with` block, with its output in `log`.

    It also ends if this process is killed.
    """
    with log.open("wb") as output:
        started = unprivileged.start(
            command,
            identity=unprivileged.SELF,
            stop_signal=signal.SIGTERM,
            output=output,
            env={"PATH": os.environ["PATH"], "HOME": str(log.parent), **env},
        )
        try:
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def wait_for_start(started: subprocess.Popen, log: Path, deadline: float) -> None:
    """Sleep briefly. Raises FixtureError if the process has ended or the deadline has passed."""
    if started.poll() is not None or time.monotonic() > deadline:
        what = "did not start" if started.poll() is not None else "was not ready in time"
        raise FixtureError(f"{log.stem} {what}:\n{log.read_text(errors='replace')[-3000:]}")
    time.sleep(0.05)


@dataclass
class Person:
    """A user of Better Auth, and a client with their session cookie."""

    id: str
    email: str
    browser: httpx2.Client
    token_path: str

    def token(self) -> str:
        """Get a new access token for the API."""
        response = self.browser.get(self.token_path)
        response.raise_for_status()
        return response.json()["token"]


@dataclass
class BetterAuth:
    """A running Better Auth. `created` and `added` name the tables that its migrations changed."""

    way: str
    url: str
    created: list[str]
    added: list[str]
    log: Path
    browsers: list[httpx2.Client] = field(default_factory=list)

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/api/auth/jwks"

    @property
    def token_path(self) -> str:
        return "/api/token" if self.way == "hs256-route" else "/api/auth/token"

    @property
    def audience(self) -> str:
        """The expected `aud`: Better Auth's default is its own URL."""
        return self.url if self.way == "eddsa-plain" else AUDIENCE

    @property
    def algorithm(self) -> str:
        return {"hs": "HS256", "ed": "EdDSA", "es": "ES256", "rs": "RS256"}[self.way[:2]]

    def browser(self) -> httpx2.Client:
        """Create a client with its own cookies and the origin of Better Auth."""
        client = httpx2.Client(base_url=self.url, headers={"origin": self.url}, timeout=20)
        self.browsers.append(client)
        return client

    def sign_up(self, email: str, password: str = "a-password-of-a-test") -> Person:  # noqa: S107
        """Create an account, which is then signed in."""
        browser = self.browser()
        body = {"name": email.partition("@")[0], "email": email, "password": password}
        response = browser.post("/api/auth/sign-up/email", json=body)
        response.raise_for_status()
        return Person(response.json()["user"]["id"], email, browser, self.token_path)

    def set_clock(self, seconds: float) -> None:
        """Set Better Auth's clock to the real time plus this many seconds."""
        httpx2.post(f"{self.url}/fixture/clock", json={"seconds": seconds}).raise_for_status()

    def environment_of_api(self) -> dict[str, str]:
        """Return the variables with which the API accepts the tokens of this Better Auth."""
        env = {
            "JWT_ALGORITHM": self.algorithm,
            "JWT_ISSUER": self.url,
            "JWT_AUDIENCE": self.audience,
            "CORS_ORIGINS": self.url,
        }
        if self.algorithm == "HS256":
            return {**env, "BETTER_AUTH_SECRET": SECRET}
        return {**env, "JWKS_URL": self.jwks_url}


@contextmanager
def better_auth(
    way: str, database_url: str, log: Path, settings: Mapping[str, str] | None = None
) -> Generator[BetterAuth]:
    """Run Better Auth on this database. server.mjs lists the ways to issue tokens.

    The way "eddsa-mcp" is the server in mcp/, with packages of its own.
    settings: more variables of server.mjs, such as {"TOKEN_LIFE": "1h"}.
    """
    folder = MCP if way == "eddsa-mcp" else HERE
    install_packages(folder)
    if "PAGE" in (settings or {}):
        install_packages(EXAMPLE)  # the page imports its files
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        "WAY": way,
        "PORT": str(port),
        "DATABASE_URL": database_url,
        "BETTER_AUTH_URL": url,
        "BETTER_AUTH_SECRET": SECRET,
        "BETTER_AUTH_TELEMETRY": "0",
        **(settings or {}),
    }
    deadline = time.monotonic() + READY_SECONDS
    with process([node(), str(folder / "server.mjs")], env, log) as started:
        while not (ready := [x for x in log.read_text().splitlines() if x.startswith('{"ready"')]):
            wait_for_start(started, log, deadline)
        output = json.loads(ready[0])
        running = BetterAuth(way, url, output["created"], output["added"], log)
        try:
            yield running
        finally:
            for browser in running.browsers:
                browser.close()


@contextmanager
def api(
    database_url: str, log: Path, settings: Mapping[str, str], *, port: int = 0
) -> Generator[str]:
    """Run the API in a process as the local server does, and yield its base URL."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "dev.app:app", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "2"]
    env = {"DATABASE_URL": database_url, "PYTHONPATH": str(ROOT), **settings}
    deadline = time.monotonic() + READY_SECONDS
    with process(command, env, log) as started:
        while not _is_healthy(f"{url}/api/health"):
            wait_for_start(started, log, deadline)
        yield url


def _is_healthy(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).status_code == 200
    except httpx2.TransportError:
        return False
