"""`make demo`: what it starts, when it installs and builds, and that it leaves no process behind.

A small program stands in for the page, with the scripts and variables of examples/nextjs."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dev import demo
from dev.postgres import DISK_FULL, free_port
from tests.tooling.contributor.terminal import Terminal

# What `python -m dev.demo` does, with the page and the data in another folder.
COMMAND = """
import sys
from pathlib import Path
from dev import demo
demo.EXAMPLE, demo.DATA, demo.API_PORT = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
demo.main()
"""
BUILD = """
import { mkdirSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
if (process.env.FAULT === "build") { console.log("page.tsx:3: a mistake"); process.exit(1); }
mkdirSync(".next", { recursive: true });
writeFileSync(".next/BUILD_ID", String(Date.now()));
if (process.env.FAULT === "slow build") {
  const { pid } = spawn("sleep", ["600"], { stdio: "ignore" });
  writeFileSync(".next/pids", `${process.pid} ${pid}`);
  setTimeout(() => {}, 600_000);
}
"""
SERVE = """
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
const { BETTER_AUTH_URL, PORT, TASKS_API_URL } = process.env;
const users = new Set();
createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  if (request.url === "/environment") return response.end(JSON.stringify(process.env));
  if (request.url === "/end") process.exit(3);
  if (request.url !== "/api/auth/sign-up/email") return response.end("the page");
  if (process.env.FAULT === "sign-up") return response.writeHead(500).end("no table");
  if (request.headers.origin !== BETTER_AUTH_URL) return response.writeHead(403).end();
  const again = users.has(body);
  users.add(body);
  writeFileSync("user.json", body);
  response.writeHead(again ? 422 : 200).end(again ? '{"code":"USER_ALREADY_EXISTS"}' : "{}");
}).listen(Number(PORT), "127.0.0.1");
console.log("listening");
"""
GENERATE = """
import { writeFileSync } from "node:fs";
writeFileSync("openapi.ts", String(Date.now()));
"""
MIGRATE = """
import { appendFileSync } from "node:fs";
appendFileSync("migrations", `${process.env.DATABASE_URL}\\n`);
"""
SCRIPTS = {
    "build": "node generate.mjs && node build.mjs",
    "start": "node serve.mjs",
    "migrate": "node migrate.mjs",
}
# Changed by the stand-in itself, as Next.js changes next-env.d.ts.
DATA_OF_PAGE = ("migrations", "user.json")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The folder of the page, in which nothing is installed or built."""
    folder = tmp_path / "the page's $folder"
    folder.mkdir()
    # One package, which needs no registry.
    root = {"name": "page", "dependencies": {"one": "file:one"}, "engines": {"node": ">=20.1"}}
    link = {"resolved": "one", "link": True}
    packages = {"": root, "one": {"version": "1.0.0"}, "node_modules/one": link}
    lock = {"name": "page", "lockfileVersion": 3, "packages": packages}
    package = root | {"type": "module", "private": True, "scripts": SCRIPTS}
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "package-lock.json").write_text(json.dumps(lock))
    (folder / "one").mkdir()
    (folder / "one/package.json").write_text('{"name": "one", "version": "1.0.0"}')
    for name, text in (
        ("build", BUILD),
        ("serve", SERVE),
        ("migrate", MIGRATE),
        ("generate", GENERATE),
    ):
        (folder / f"{name}.mjs").write_text(text)
    return folder


@contextlib.contextmanager
def running(
    page: Path,
    *,
    api_port: int = 0,
    data: Path | None = None,
    prefix: Sequence[str] = (),
    **variables: str,
) -> Generator[Terminal]:
    """Run the demo until the end of the `with` block."""
    variables = {"PORT": str(free_port())} | variables
    data = data or page.parent / "data"
    process = subprocess.Popen(
        [
            *prefix,
            sys.executable,
            "-c",
            COMMAND,
            str(page),
            str(data),
            str(api_port or free_port()),
        ],
        env=os.environ | {"PYTHONPATH": str(demo.ROOT)} | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    terminal = Terminal(process)
    try:
        yield terminal
    finally:
        process.send_signal(signal.SIGINT)
        terminal.wait()
        assert process.stdout
        process.stdout.close()


def url_of(terminal: Terminal) -> str:
    terminal.wait_for("Ctrl-C ends the demo.")
    [url] = [line.removeprefix("Open ") for line in terminal.lines if line.startswith("Open ")]
    return url


def get(url: str, path: str) -> str:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def processes_in(page: Path) -> list[str]:
    """The command lines of the processes that work in the folder of the page or of its data."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            folder = (process / "cwd").readlink()
            if folder.is_relative_to(page.parent):
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def wait_until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def last_line(terminal: Terminal) -> str:
    """The last line of a demo that does not start."""
    assert terminal.wait() == 1
    assert not any("Traceback" in line for line in terminal.lines)
    return terminal.lines[-1]


def test_the_first_run_shows_its_steps_and_the_second_is_quiet(page: Path) -> None:
    with running(page) as terminal:
        url = url_of(terminal)
        assert get(url, "/") == "the page"
        build = (page / ".next/BUILD_ID").read_text()
        logs = (page.parent / "data").relative_to(Path.cwd(), walk_up=True)
        assert terminal.lines == [
            "Installing the packages of the page (half a minute) ...",
            "Building the page (half a minute) ...",
            "Creating the database ...",
            "",
            f"Open {url}",
            "",
            "E-mail:   demo@example.com",
            f"Password: {demo.PASSWORD}",
            "",
            f"Logs:     {logs}/api.log, {logs}/page.log",
            "",
            "Ctrl-C ends the demo.",
        ]
        user = json.loads((page / "user.json").read_text())
        assert user["email"] == "demo@example.com"
        assert user["password"] == demo.PASSWORD
    for name in DATA_OF_PAGE:
        (page / name).unlink()
    with running(page) as terminal:
        url = url_of(terminal)
        assert terminal.lines[:2] == ["", f"Open {url}"]
        assert (page / ".next/BUILD_ID").read_text() == build
        # Requests to the API are in its log.
        api = json.loads(get(url, "/environment"))["TASKS_API_URL"]
        assert "Authentication required" in get(api, "/api/tasks")
        wait_until(lambda: '"status":401' in (page.parent / "data/api.log").read_text())


def test_a_changed_source_is_built_and_a_changed_lock_file_is_installed(page: Path) -> None:
    with running(page) as terminal:
        url_of(terminal)
    for name in DATA_OF_PAGE:
        (page / name).unlink()
    (page / "serve.mjs").write_text(SERVE.replace("the page", "the new page"))
    with running(page) as terminal:
        assert get(url_of(terminal), "/") == "the new page"
        assert terminal.lines[0] == "Building the page (half a minute) ..."
    for name in DATA_OF_PAGE:
        (page / name).unlink()
    lock = page / "package-lock.json"
    lock.write_text(lock.read_text() + "\n")
    with running(page) as terminal:
        url_of(terminal)
        assert terminal.lines[0] == "Installing the packages of the page (half a minute) ..."


def test_settings_of_other_deployments_do_not_reach_the_demo(page: Path) -> None:
    other: dict[str, Any] = {
        "DATABASE_URL": "postgresql://elsewhere/production",
        "PGHOST": "elsewhere",
        "BETTER_AUTH_SECRET": "of-production",
        "BETTER_AUTH_URL": "https://app.example.com",
        "NEXT_PUBLIC_API": "https://api.example.com",
        "NODE_ENV": "test",
        "JWT_ISSUER": "https://app.example.com",
        "VERCEL": "1",
        "AWS_LAMBDA_FUNCTION_NAME": "tasks",
    }
    with running(page, **other) as terminal:
        url = url_of(terminal)
        seen = json.loads(get(url, "/environment"))
        assert {name for name, value in other.items() if seen.get(name) == value} == set()
        assert seen["BETTER_AUTH_URL"] == url
        assert "@127.0.0.1:" in seen["DATABASE_URL"]
        # The API is ready only with a database and a secret.
        assert get(seen["TASKS_API_URL"], "/api/health/ready") == '{"status":"ok"}'


def test_ports_in_use_are_replaced(page: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = [server.getsockname()[1] for server in (one, two)]
        with running(page, PORT=str(ports[0]), api_port=ports[1]) as terminal:
            url = url_of(terminal)
            page_port = url.rpartition(":")[2]
            assert f"Port {ports[0]} is in use: the page uses port {page_port}." in terminal.lines
            assert any(f"Port {ports[1]} is in use: the API" in line for line in terminal.lines)
            assert get(url, "/") == "the page"


def test_a_second_demo_names_the_first(page: Path) -> None:
    with running(page) as first:
        url = url_of(first)
        with running(page) as second:
            assert f"make demo already runs at {url} (pid {first.process.pid})" in last_line(second)
        assert get(url, "/") == "the page"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("build", "build failed for the reason above"),
        ("sign-up", "Better Auth did not create the user of the demo (500 no table)."),
    ],
)
def test_a_failure_is_explained_and_nothing_is_left(page: Path, fault: str, reason: str) -> None:
    with running(page, FAULT=fault) as terminal:
        assert reason in last_line(terminal)
        assert fault != "build" or "page.tsx:3: a mistake" in terminal.lines
    assert processes_in(page) == []
    with running(page) as terminal:
        assert get(url_of(terminal), "/") == "the page"


def test_a_folder_that_cannot_be_written_is_named(page: Path) -> None:
    # Not even root may create folders there.
    with running(page, data=Path("/sys/demo")) as terminal:
        assert last_line(terminal).startswith("/sys/demo cannot be written (")


# In initdb, with two messages of PostgreSQL, and in the creation of the database.
@pytest.mark.parametrize("size", ["12m", "20m", "40m"])
def test_a_full_disk_is_reported(page: Path, size: str) -> None:
    data = page.parent / "data"
    data.mkdir()
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mount = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@"'
    prefix = ["unshare", *user, "--mount", "sh", "-c", mount, str(data)]
    with running(page, prefix=prefix) as terminal:
        assert last_line(terminal) == DISK_FULL


def test_a_page_that_ends_is_reported(page: Path) -> None:
    with running(page) as terminal:
        url = url_of(terminal)
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            get(url, "/end")
        assert last_line(terminal) == "The page ended (exit code 3): run make demo again."
        assert "listening" in terminal.lines


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left(page: Path, stop: signal.Signals) -> None:
    with running(page) as terminal:
        url = url_of(terminal)
        assert len(processes_in(page)) >= 2  # the page and PostgreSQL
        terminal.process.send_signal(stop)
        terminal.wait()
        wait_until(lambda: processes_in(page) == [])
        with pytest.raises(ConnectionRefusedError):
            get(url, "/")


def test_ctrl_c_during_the_build_ends_it(page: Path) -> None:
    with running(page, FAULT="slow build") as terminal:
        wait_until(lambda: (page / ".next/pids").exists() and (page / ".next/pids").read_text())
        pids = [int(pid) for pid in (page / ".next/pids").read_text().split()]
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait()
        assert not any("Traceback" in line for line in terminal.lines)
        wait_until(lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in pids))
    with running(page) as terminal:
        url_of(terminal)
        assert "Building the page (half a minute) ..." in terminal.lines
