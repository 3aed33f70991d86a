"""`make dev` as a newcomer meets it: what it prints works, and nothing of it stays behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev import serve
from dev.postgres import free_port

COMMAND = """
import sys
from pathlib import Path
from dev import serve
serve.LOCAL = Path(sys.argv[1])
serve.main()
"""


@contextmanager
def serving(folder: Path, **variables: str) -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """Run what `make dev` runs, with data in `folder`; gives it and the lines it printed."""
    variables = {"PORT": str(free_port())} | variables
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder)],
        env=os.environ | {"PYTHONPATH": str(serve.ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout
    try:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("Ctrl-C"):
                break
        yield process, lines
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stdout.close()


def curls(lines: list[str]) -> list[subprocess.CompletedProcess[str]]:
    commands = [line for line in lines if line.startswith("curl ")]
    return [
        subprocess.run(["sh", "-c", f"{command} -sS"], capture_output=True, text=True, check=True)
        for command in commands
    ]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_printed_lines_work_and_the_data_survives_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, lines):
        ready, created, listed = (json.loads(done.stdout) for done in curls(lines))
    assert ready == {"status": "ok"}
    assert listed == [created]
    assert any(line.startswith("The API runs at http://127.0.0.1:") for line in lines)
    assert any(line.endswith("/api/docs") for line in lines)
    with serving(tmp_path) as (_, lines):
        _, _, after = (json.loads(done.stdout) for done in curls(lines))
    assert created in after
    assert len(after) == 2


def test_a_second_start_says_that_one_runs(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, lines), serving(tmp_path) as (second, said):
        assert second.wait(30) == 1
    url = next(line for line in lines if line.startswith("The API runs")).split()[-1]
    assert len(said) == 1
    assert re.fullmatch(
        rf"It runs already, at {url} \(pid \d+\): use that, or end .* its pid\.", said[0]
    )


def test_a_port_in_use_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serving(tmp_path, PORT=str(port)) as (process, said):
            assert process.wait(30) == 1
    assert len(said) == 1
    assert said[0].startswith(f"Port {port} of 127.0.0.1 cannot be used")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_behind(tmp_path: Path, how: signal.Signals) -> None:
    with serving(tmp_path) as (process, lines):
        port = int(lines[1].rsplit(":", 1)[1])
        postgres_pid = int((tmp_path / "postgres/cluster/postmaster.pid").read_text().split()[0])
        assert listens(port)
        process.send_signal(how)
        process.wait(30)
        until = time.monotonic() + 15
        while time.monotonic() < until and (
            listens(port) or Path(f"/proc/{postgres_pid}").exists()
        ):
            time.sleep(0.1)
        assert not listens(port)
        assert not Path(f"/proc/{postgres_pid}").exists()


def test_given_variables_are_used_instead_of_local_defaults(tmp_path: Path) -> None:
    bad = {"DATABASE_URL": "mysql://nowhere", "BETTER_AUTH_SECRET": "x" * 40}
    with serving(tmp_path, **bad) as (process, said):
        assert process.wait(30) == 1
    assert said == ["DATABASE_URL: must be a postgresql:// URL."]
    assert not (tmp_path / "postgres").exists()


def test_of_two_that_want_one_port_one_has_it_and_the_other_says_so(tmp_path: Path) -> None:
    # At once: neither may say that it runs because the other one answers.
    environment = os.environ | {"PYTHONPATH": str(serve.ROOT), "PORT": str(free_port())}
    for name in "ab":
        (tmp_path / name).mkdir()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(tmp_path / name)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in "ab"
    ]
    said: dict[int, list[str]] = {process.pid: [] for process in both}

    def listen_to(process: subprocess.Popen[str]) -> None:
        assert process.stdout
        said[process.pid] += process.stdout

    threads = [threading.Thread(target=listen_to, args=[process]) for process in both]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 60
        while not any("Ctrl-C" in line for lines in said.values() for line in lines):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        for process in both:
            process.send_signal(signal.SIGINT)
        for process, thread in zip(both, threads, strict=True):
            process.wait(30)
            thread.join()
            assert process.stdout
            process.stdout.close()
    refused, served = sorted(said.values(), key=len)
    assert re.fullmatch(r"Port \d+ of 127\.0\.0\.1 cannot be used .*\n", refused[0])
    assert len(refused) == 1
    assert any(line.startswith("The API runs at") for line in served)
