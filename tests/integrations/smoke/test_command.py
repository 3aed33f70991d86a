"""`make smoke`: a table for people, JSON for programs, and an exit code."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from dev import smoke
from lib.settings import forget_settings
from lib.smoke.run import STEPS
from tests.conftest import SECRET, bearer
from tests.integrations.smoke.breaking_proxy import Forward, Reply, Request, breaking
from tests.integrations.smoke.conftest import ORIGIN, Rows, Serve

COMMAND = [sys.executable, "-m", "dev.smoke"]


@pytest.fixture
def environment_of_command() -> dict[str, str]:
    """An environment that .env does not change: it only sets variables that are absent."""
    return {**os.environ, "BETTER_AUTH_SECRET": SECRET, "CORS_ORIGINS": ORIGIN}


type Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    environment_of_command: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """Run the command in this process. Gives its exit code, output and errors."""

    def call(*arguments: str, **variables: str) -> tuple[int, str, str]:
        monkeypatch.setattr(os, "environ", environment_of_command | variables)
        forget_settings()
        try:
            code = smoke.main(list(arguments))
        except SystemExit as error:  # of argparse
            code = int(error.code or 0)
        return code, *capsys.readouterr()

    return call


def test_the_table_has_a_plain_line_per_step(
    base_url: str, rows: Rows, environment_of_command: dict[str, str]
) -> None:
    done = subprocess.run(
        [*COMMAND, f"{base_url}/"],
        env=environment_of_command,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    title, blank, heading, *body = done.stdout.splitlines()
    assert title == f"Smoke test of {base_url}"
    assert blank == ""
    assert heading.split() == ["step", "expected", "actual", "ms"]
    assert [line[:15].rstrip() for line in body[: len(STEPS)]] == list(STEPS)
    assert body[-1].startswith("OK in ")
    assert not {"\r", "\x1b"} & set(done.stdout)
    assert rows.count() == 0


def test_a_failure_names_the_step_and_exits_with_1(closed_url: str, call: Call) -> None:
    code, output, _ = call(closed_url)
    assert code == 1
    assert "FAILED: the connection was refused" in output
    assert "\nNot tried: readiness, create, " in output
    assert "The step 'liveness' failed: expected 200, got -" in output
    assert "request id smoke-" in output


def test_a_user_without_a_row_is_told_where_to_read(
    serve: Serve, environment_of_command: dict[str, str]
) -> None:
    users = {"SMOKE_TOKEN": "without a row", "SMOKE_OTHER_TOKEN": "without a row either"}
    tokens = {name: bearer(user)["Authorization"][7:] for name, user in users.items()}
    done = subprocess.run(
        [*COMMAND, serve(PROVISION_USERS="false")],
        env=environment_of_command | tokens,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "The step 'create' failed: expected 201, got 403" in done.stdout
    assert "Insert the user of the smoke test into users (docs/smoke.md, Data)." in done.stdout


def test_json_output_is_the_report_only(base_url: str, call: Call) -> None:
    code, output, errors = call(f"{base_url}/api/", "--json")
    assert code == 0
    assert errors == ""
    report = json.loads(output)
    assert (report["ok"], report["url"]) == (True, base_url)
    assert [step["name"] for step in report["steps"]] == list(STEPS)


def test_a_terminal_shows_each_step_while_it_runs(
    base_url: str, environment_of_command: dict[str, str]
) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen([*COMMAND, base_url], env=environment_of_command, stdout=terminal) as job:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(controller, 4096)
            except OSError:  # the other end is closed
                break
    os.close(controller)
    assert job.returncode == 0
    assert b"toggle ...\r\x1b[Ktoggle  " in shown


def test_an_interrupted_run_cleans_up(
    base_url: str, rows: Rows, environment_of_command: dict[str, str]
) -> None:
    stored = threading.Event()

    def hang_when_stored(request: Request, forward: Forward) -> Reply:
        reply = forward(request)
        if request.headers["x-request-id"].endswith("-create"):
            stored.set()
            time.sleep(3)
        return reply

    with (
        breaking(base_url, hang_when_stored) as proxy,
        subprocess.Popen(
            [*COMMAND, proxy.url], env=environment_of_command, stdout=subprocess.DEVNULL
        ) as job,
    ):
        assert stored.wait(60)
        assert rows.count() == 1
        job.send_signal(signal.SIGINT)
        assert job.wait(60) == 130
    assert rows.count() == 0


@pytest.mark.parametrize(
    ("variables", "arguments", "sentence"),
    [
        ({"BETTER_AUTH_SECRET": ""}, ["https://api.invalid"], "set BETTER_AUTH_SECRET, or"),
        ({"LOG_LEVEL": "LOUD"}, ["https://api.invalid"], "LOG_LEVEL: "),
        ({}, ["not-a-url"], "SMOKE_BASE_URL: "),
        ({}, ["http://127.0.0.1:1", "--origin", "*"], "CORS_ORIGINS: "),
        ({}, ["http://127.0.0.1:1", "--no-such-option"], "unrecognized arguments"),
    ],
)
def test_a_test_that_cannot_start_exits_with_2(
    call: Call, variables: dict[str, str], arguments: list[str], sentence: str
) -> None:
    code, output, errors = call(*arguments, **variables)
    assert code == 2
    assert sentence in output + errors


def test_a_short_secret_causes_no_warning_of_python(base_url: str, call: Call) -> None:
    code, output, errors = call(base_url, BETTER_AUTH_SECRET="short")
    assert code == 1
    assert "Check that BETTER_AUTH_SECRET, JWT_ISSUER and JWT_AUDIENCE in this shell are" in output
    assert errors == ""


def test_a_deployment_has_no_default_origin(call: Call) -> None:
    _, output, _ = call("http://nowhere.invalid", CORS_ORIGINS="")
    assert "\nNot tried (CORS_ORIGINS is not set): preflight, cross-origin." in output
    _, output, _ = call("http://nowhere.invalid")
    assert "(CORS_ORIGINS is not set)" not in output


def test_the_defaults_of_make_dev_are_for_this_machine_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", {})
    smoke._complete_environment(None, None)
    assert os.environ["SMOKE_BASE_URL"] == "http://127.0.0.1:8000"
    assert os.environ["BETTER_AUTH_SECRET"] == smoke.EXAMPLE_SECRET
    monkeypatch.setattr(os, "environ", {})
    smoke._complete_environment("https://api.example/", "https://app.example")
    assert os.environ == {
        "SMOKE_BASE_URL": "https://api.example",
        "CORS_ORIGINS": "https://app.example",
    }
