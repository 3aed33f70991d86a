"""`make demo`: what it starts, when it installs and builds, and that it leaves no process behind.

A small program stands in for the page, with the scripts and variables of examples/nextjs."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from dev import demo
from dev.postgres import free_port
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
def running(page: Path, *, api_port: int = 0, **variables: str) -> Generator[Terminal]:
    """Run the demo until the end of the `with` block."""
    variables = {"PORT": str(free_port())} | variables
    data = page.parent / "data"
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(page), str(data), str(api_port or free_port())],
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
        lines = [line for line in terminal.lines if not line.startswith("{")]
        assert lines == [
            "Installing the packages of the page (half a minute) ...",
            "Building the page (half a minute) ...",
            "Creating the database ...",
            "",
            f"Open {url}",
            "",
            "E-mail:   demo@example.com",
            f"Password: {demo.PASSWORD}",
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
