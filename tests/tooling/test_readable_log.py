"""The log of the local server in a terminal: one line for people for each request."""

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import httpx2
import pytest

from dev import serve
from dev.readable_log import ReadableLog, describe, wants_colors
from lib import log
from tests.conftest import bearer

REQUEST = {
    "level": "INFO",
    "message": "request",
    "timestamp": "2026-11-29T03:00:00.000Z",
    "service": "task-api",
    "request_id": "7c1e",
    "method": "GET",
    "route": "/api/{user_id}/tasks",
    "status": 200,
    "milliseconds": 3.25,
    "cold_start": False,
    "user_id": "demo",
}


def test_a_request_has_one_line() -> None:
    assert describe(REQUEST, "/api/demo/tasks").split() == [
        *("GET", "/api/demo/tasks", "200", "3.2", "ms", "demo")
    ]


def test_a_refusal_names_its_reason() -> None:
    refused = REQUEST | {"status": 401, "reason": "ExpiredToken"}
    del refused["user_id"]
    assert describe(refused, "/api/demo/tasks").endswith("401     3.2 ms  -  ExpiredToken")


def test_a_client_cannot_control_the_terminal() -> None:
    """It chooses the origin, which the reason names, and an issuer chooses the user's id."""
    refused = REQUEST | {"reason": "http://a\x9b2J is not allowed", "user_id": "a\x1b[2Jb\nc"}
    line = describe(refused, "/api")
    assert line.isprintable()
    assert "a\\x1b[2Jb\\x0ac  http://a\\x9b2J is not allowed" in line


def test_an_error_names_its_causes_and_where_they_were_raised() -> None:
    frame = f"{serve.ROOT}/lib/db/tasks.py:12 create"
    cause = {"error": "UndefinedTable", "sqlstate": "42P01", "where": [frame]}
    record = REQUEST | {"level": "ERROR", "message": "Unexpected error.", "causes": [cause]}
    for name in ("method", "route", "status", "milliseconds", "cold_start", "user_id"):
        del record[name]
    assert describe(record, "/api").splitlines() == [
        "ERROR Unexpected error.",
        "  UndefinedTable (SQLSTATE 42P01)",
        "    lib/db/tasks.py:12 create",
    ]


@pytest.mark.parametrize(("status", "color"), [(200, 32), (304, 36), (404, 33), (503, 31)])
def test_the_status_has_a_color(status: int, color: int) -> None:
    record = REQUEST | {"status": status}
    assert f" \033[{color}m{status}\033[0m " in describe(record, "/api", colored=True)
    assert "\033" not in describe(record, "/api")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),  # as no-color.org defines it
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_colors_can_be_refused(environment: dict[str, str], expected: bool) -> None:
    assert wants_colors(environment) is expected


@contextlib.contextmanager
def serving_to(
    output: int, environment: dict[str, str], **variables: str
) -> Generator[httpx2.Client]:
    """Run the server process of `make dev` with this output. Yields a client of it."""
    with serve.listen("127.0.0.1", 0) as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "dev.worker", str(listener.fileno())],
            env=os.environ | environment | {"PYTHONPATH": str(serve.ROOT)} | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            pass_fds=[listener.fileno()],
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx2.Client(base_url=url, timeout=120) as client:
                yield client
        finally:
            process.terminate()
            process.wait(30)


def shown_in_terminal(
    requests: Callable[[httpx2.Client], None], environment: dict[str, str], **variables: str
) -> str:
    """What a terminal shows while `requests` runs."""
    reading, writing = pty.openpty()
    try:
        with serving_to(writing, environment, TERM="xterm", **variables) as client:
            requests(client)
        return os.read(reading, 65536).decode()
    finally:
        os.close(reading)
        os.close(writing)


def send_requests(client: httpx2.Client) -> None:
    path = "/api/demo/tasks"
    assert client.get(f"{path}?q=a-secret-search", headers=bearer("demo")).status_code == 200
    assert client.get("/api/%1b%5B2J%0Ahello?q=a-secret-search").status_code == 404
    refused = client.get(path, headers={"Authorization": "Bearer not-a-token"})
    assert refused.status_code == 401


def test_a_terminal_shows_a_line_for_each_request(environment: dict[str, str]) -> None:
    shown = shown_in_terminal(send_requests, environment, NO_COLOR="")
    listed, unknown, refused = shown.splitlines()
    assert re.fullmatch(
        r"GET    /api/demo/tasks {25} \033\[32m200\033\[0m +\d+\.\d ms  demo", listed
    )
    assert "/api/%1B%5B2J%0Ahello" in unknown
    assert unknown.replace("\033[33m404\033[0m", "").isprintable()
    assert re.search(
        r"\033\[33m401\033\[0m +\d+\.\d ms  -  the token is not a JSON Web Token", refused
    )
    for secret in ("secret-search", "not-a-token", bearer("demo")["Authorization"].split()[1][:20]):
        assert secret not in shown


def test_a_terminal_without_colors_gets_plain_lines(environment: dict[str, str]) -> None:
    shown = shown_in_terminal(send_requests, environment, NO_COLOR="1")
    assert len(shown.splitlines()) == 3
    assert "\033" not in shown


def test_a_pipe_gets_json(environment: dict[str, str], tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as output:
        with serving_to(output.fileno(), environment) as client:
            send_requests(client)
        output.seek(0)
        records = [json.loads(line) for line in output]
    assert [record["status"] for record in records] == [200, 404, 401]


def test_what_lib_log_writes_about_an_error_is_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stdout", ReadableLog(screen, colored=False))
    try:
        json.loads("a title")
    except ValueError as error:
        log.log_failure("Unexpected error.", error)
    first, cause, *frames = screen.getvalue().splitlines()
    assert first == "ERROR Unexpected error."
    assert cause == "  JSONDecodeError"
    assert frames[0].startswith("    tests/tooling/test_readable_log.py:")
    assert "a title" not in screen.getvalue()


def test_other_output_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stdout", ReadableLog(screen, colored=False))
    others = ["Code changed: reloading ...", '{"not": "a line of the log"}', "{not JSON", "[]", ""]
    for other in others:
        sys.stdout.write(f"{other}\n")
    assert screen.getvalue() == "\n".join([*others, ""])
