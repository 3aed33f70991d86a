"""`make dev`: what it prints works, it serves without delay, and it leaves no process behind."""

import contextlib
import http.client
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import watchfiles

from dev import running_server, serve, smoke, token
from dev.local_database import local_database
from dev.postgres import free_port

# What `python -m dev.serve` does, with its data in another folder.
COMMAND = """
import sys
from pathlib import Path
from dev import serve
serve.LOCAL = Path(sys.argv[1])
serve.main()
"""


@contextlib.contextmanager
def serving(folder: Path, **variables: str) -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """Run `make dev`'s program with data in `folder`. Returns the process and its lines so far."""
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


def printed(lines: list[str], label: str) -> str:
    """The value that the banner shows behind `label`."""
    [value] = [line.split()[1] for line in lines if line.startswith(f"{label}:")]
    return value


def address(lines: list[str]) -> str:
    return printed(lines, "API").removesuffix("/api")


def run_curls(lines: list[str]) -> list[subprocess.CompletedProcess[str]]:
    commands = [line for line in lines if line.startswith("curl ")]
    return [
        subprocess.run(["sh", "-c", f"{command} -sS"], capture_output=True, text=True, check=True)
        for command in commands
    ]


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_the_printed_commands_work_and_the_data_survives_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, lines):
        ready, created, listed = (json.loads(done.stdout) for done in run_curls(lines))
    assert ready == {"status": "ok"}
    assert listed == [created]
    with serving(tmp_path) as (_, lines):
        _, _, after = (json.loads(done.stdout) for done in run_curls(lines))
    assert created in after
    assert len(after) == 2


def test_a_migration_that_requests_do_not_fit_is_named_at_the_start(tmp_path: Path) -> None:
    with local_database(tmp_path) as urls, psycopg.connect(urls.admin) as connection:
        connection.execute("ALTER TABLE tasks ADD estimate int NOT NULL")
        connection.execute("ALTER TABLE deleted_tasks ADD estimate int")
    with serving(tmp_path) as (process, lines):
        assert process.wait(30) == 1
    assert lines[-1].startswith(
        "The migrations do not fit what requests need (missing: a default for tasks.estimate"
    )
    assert lines[-1].endswith(
        f"and delete {tmp_path / 'postgres'}, with all local data, so that make dev applies it"
        " again."
    )


def test_every_printed_page_exists(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, lines):
        url = address(lines)
        assert printed(lines, "Docs") == f"{url}/api/docs"
        printed_urls = set(re.findall(r"http://[^\s']+", "\n".join(lines))) | {f"{url}/"}
        statuses = {}
        for each in printed_urls:
            connection = http.client.HTTPConnection(urlsplit(each).netloc, timeout=60)
            connection.request("GET", urlsplit(each).path)
            statuses[urlsplit(each).path] = connection.getresponse().status
            connection.close()
    assert statuses == {
        "/": 307, "/api": 307, "/api/docs": 200, "/api/health/ready": 200, "/api/demo/tasks": 401,
    }  # fmt: skip


def test_the_printed_psql_command_shows_rows_in_spite_of_row_level_security(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, lines):
        run_curls(lines)
        [command] = [line for line in lines if "SET app.user_id" in line]
        assert printed(lines, "Database") in command
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60
        )
    assert "Buy milk" in done.stdout


def test_responses_on_a_kept_alive_connection_are_not_delayed(tmp_path: Path) -> None:
    """Without TCP_NODELAY a response with a body waits 40 ms for the client's acknowledgement."""
    with serving(tmp_path) as (_, lines):
        connection = http.client.HTTPConnection(urlsplit(address(lines)).netloc, timeout=60)
        seconds = []
        for _ in range(60):
            started = time.perf_counter()
            connection.request("GET", "/api/health")
            assert connection.getresponse().read()
            seconds.append(time.perf_counter() - started)
        connection.close()
    # The kernel acknowledges a connection's first segments at once: only later ones show the delay.
    assert sorted(seconds[20:])[10] < 0.03


def test_the_server_comes_back_with_an_error_after_its_process_was_killed(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, lines):
        [worker] = [pid for pid in children(process.pid) if "dev.worker" in command_of(pid)]
        os.kill(worker, signal.SIGKILL)
        connection = http.client.HTTPConnection(urlsplit(address(lines)).netloc, timeout=30)
        status, detail = 200, ""
        until = time.monotonic() + 30
        while status != 500 and time.monotonic() < until:
            try:
                connection.request("GET", "/api/health")
                response = connection.getresponse()
                status, detail = response.status, json.load(response)
            except OSError:
                connection.close()
        connection.close()
    assert status == 500
    assert detail == {
        "detail": "The server process ended (SIGKILL): see the terminal. "
        "It starts again when you save a change."
    }


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def test_a_second_start_names_the_server_that_runs(tmp_path: Path) -> None:
    with serving(tmp_path) as (first, lines), serving(tmp_path) as (second, output):
        assert second.wait(30) == 1
    assert output == [
        f"make dev already runs at {address(lines)} (pid {first.pid}): use that server, or stop "
        "it with Ctrl-C in its terminal or with kill and its pid."
    ]


def test_other_commands_find_the_server_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert running_server.find_server(tmp_path) is None
    with serving(tmp_path) as (process, lines):
        found = running_server.find_server(tmp_path)
        assert found == running_server.RunningServer(address(lines), process.pid)
        monkeypatch.setattr(smoke, "find_server", lambda: found)
        monkeypatch.setattr(smoke, "ENV_FILE", tmp_path / "no.env")
        monkeypatch.setattr(os, "environ", {})
        smoke._complete_environment(None, None)
        assert os.environ["SMOKE_BASE_URL"] == address(lines)
        smoke._complete_environment("https://api.example", None)
        assert os.environ["SMOKE_BASE_URL"] == "https://api.example"


def test_make_smoke_without_a_server_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(smoke, "find_server", lambda: None)
    monkeypatch.setattr(smoke, "ENV_FILE", tmp_path / "no.env")
    monkeypatch.setattr(smoke, "DEFAULT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(os, "environ", {})
    assert smoke.main([]) == 1
    assert "Start the server with make dev" in capsys.readouterr().out


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_has_ended_is_not_found(tmp_path: Path, how: signal.Signals) -> None:
    with serving(tmp_path) as (process, _):
        process.send_signal(how)
        process.wait(30)
        assert (tmp_path / "server-dev.json").exists()
        assert running_server.find_server(tmp_path) is None


def _read_to_the_end(descriptor: int) -> str:
    text = b""
    # The end of a pseudo-terminal whose writer has closed it is an error.
    with contextlib.suppress(OSError):
        while chunk := os.read(descriptor, 65536):
            text += chunk
    return text.decode()


def test_make_token_shows_a_person_how_to_use_it_on_the_server_that_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a pipe it prints the token alone: scripts put it into a header."""
    server = running_server.RunningServer("http://127.0.0.1:8123", 1)
    monkeypatch.setattr(token, "find_server", lambda: server)
    monkeypatch.setattr(sys, "argv", ["token", "alice"])
    shown = {}
    for kind, (reading, writing) in {"terminal": pty.openpty(), "pipe": os.pipe()}.items():
        with os.fdopen(writing, "w") as output, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", output)
            token.main()
            output.flush()
        shown[kind] = _read_to_the_end(reading).split()
        os.close(reading)
    [alone] = shown["pipe"]
    assert alone.startswith("eyJ")
    assert "http://127.0.0.1:8123/api/alice/tasks" in shown["terminal"]


def test_make_token_says_if_the_server_that_runs_has_another_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, PROVISION_USERS="false") as (process, lines):
        assert "Only users who have signed up can create tasks (PROVISION_USERS=false)." in lines
        found = running_server.RunningServer(address(lines), process.pid)
        monkeypatch.setattr(token, "find_server", lambda: found)
        monkeypatch.setattr(sys, "argv", ["token", "alice"])
        for secret, beginning in (
            ("", "Try it on the running server:"),
            ("another secret, of 32 bytes or more", f"The server at {found.url} rejects it"),
        ):
            reading, writing = pty.openpty()
            with os.fdopen(writing, "w") as output, monkeypatch.context() as patch:
                if secret:
                    patch.setenv("BETTER_AUTH_SECRET", secret)
                patch.setattr(sys, "stdout", output)
                token.main()
                output.flush()
            assert f"\n{beginning}" in _read_to_the_end(reading).replace("\r", "")
            os.close(reading)


@pytest.mark.parametrize("command", [["dev.token", "alice"], ["dev.smoke", "http://127.0.0.1:1"]])
def test_a_command_whose_output_nothing_reads_ends_without_a_traceback(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", *command], cwd=serve.ROOT, stdout=writing, stderr=subprocess.PIPE,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(writing)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_is_named_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serving(tmp_path, PORT=str(port)) as (process, output):
            assert process.wait(30) == 1
    assert len(output) == 1
    assert output[0].startswith(f"Port {port} of 127.0.0.1 cannot be used")


@pytest.mark.parametrize("name", ["x86_64-conda-linux-gnu", "my-computer.local", ""])
def test_a_machine_name_in_host_is_no_listen_address(tmp_path: Path, name: str) -> None:
    """conda and some shells set HOST for purposes of their own."""
    with serving(tmp_path, HOST=name, DATABASE_URL="mysql://nowhere") as (_, output):
        # The address is taken before the settings are read.
        assert output == ["DATABASE_URL: must be a postgresql:// URL."]
    assert serve._listen_address(name) == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104
        ("127.0.0.2", "http://127.0.0.2:8000"),
        ("::1", "http://[::1]:8000"),
    ],
)
def test_an_ip_address_in_host_is_used(host: str, url: str) -> None:
    assert serve._listen_address(host) == host
    assert serve._url(host, 8000) == url


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(tmp_path: Path, how: signal.Signals) -> None:
    with serving(tmp_path) as (process, lines):
        port = int(address(lines).rsplit(":", 1)[1])
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


def test_variables_replace_the_local_defaults(tmp_path: Path) -> None:
    bad = {"DATABASE_URL": "mysql://nowhere", "BETTER_AUTH_SECRET": "x" * 40}
    with serving(tmp_path, **bad) as (process, output):
        assert process.wait(30) == 1
    assert output == ["DATABASE_URL: must be a postgresql:// URL."]
    assert not (tmp_path / "postgres").exists()


def test_a_workspace_on_kubernetes_is_local_use(tmp_path: Path) -> None:
    marks = {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "DATABASE_URL_UNPOOLED": "postgresql://owner:secret@db.example/app",
    }
    with serving(tmp_path, **marks) as (_, lines):
        ready, created, listed = (json.loads(done.stdout) for done in run_curls(lines))
    assert ready == {"status": "ok"}
    assert listed == [created]


@pytest.mark.parametrize(("name", "checked"), [("db/models.py", True), ("errors.py", False)])
def test_a_change_of_the_models_reports_sql_that_is_not_compiled(
    name: str, checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `make sql`, requests ignore a new field."""
    changes = {(watchfiles.Change.modified, str(serve.ROOT / "lib" / name))}
    monkeypatch.setattr("watchfiles.watch", lambda *_, **__: iter([changes]))
    monkeypatch.setattr(serve, "start_worker", lambda *_: None)
    monkeypatch.setattr(serve, "stop", lambda _: None)
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: ran.append(command))
    with socket.socket() as listener:
        serve._run(listener, "")
    assert ran == ([serve.CHECK_SQL] if checked else [])


def test_one_of_two_servers_on_the_same_port_is_refused(tmp_path: Path) -> None:
    # Started together: neither may take the other's response for its own.
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
    output: dict[int, list[str]] = {process.pid: [] for process in both}

    def read_lines(process: subprocess.Popen[str]) -> None:
        assert process.stdout
        output[process.pid] += process.stdout

    threads = [threading.Thread(target=read_lines, args=[process]) for process in both]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 60
        while not any("Ctrl-C" in line for lines in output.values() for line in lines):
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
    refused, served = sorted(output.values(), key=len)
    assert re.fullmatch(r"Port \d+ of 127\.0\.0\.1 cannot be used .*\n", refused[0])
    assert len(refused) == 1
    assert any(line.startswith("API:") for line in served)
