"""dev/postgres.py: rows survive, no server is left running, and each error is one sentence."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from dev import unprivileged
from dev.postgres import PostgresError, running
from tests.support.databases import FOLDER_PREFIX, remove_leftovers

OTHER_PROCESS = """
import sys, time
from pathlib import Path
from dev.postgres import running
with running(Path(sys.argv[1]), durable=sys.argv[2] == "durable") as server:
    print(server.pid, server.port, server.password, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of all tests here: created, and without a running server."""
    data = tmp_path_factory.mktemp("postgres") / "data"
    with running(data, durable=False):
        return data


def start_in_other_process(data: Path, how: str) -> tuple[subprocess.Popen[str], int, str]:
    """Start a server in another process: returns that process, the server's pid and its URL."""
    parent = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, data, how],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout as lines:
        pid, port, password = lines.readline().split()
    url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres?sslmode=disable"
    return parent, int(pid), url


def wait_for_end(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.01)


def test_rows_survive_a_restart(data: Path) -> None:
    with running(data, durable=True) as server, psycopg.connect(server.url()) as connection:
        connection.execute("create table kept (n int)")
        connection.execute("insert into kept select generate_series(1, 1000)")
    wait_for_end(server.pid, 0)
    with running(data, durable=True) as server, psycopg.connect(server.url()) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1000,)
        connection.execute("drop table kept")


def test_the_server_runs_as_the_owner_of_its_data(data: Path) -> None:
    owner = os.geteuid()
    if owner == 0:
        # As when root creates the data in a container, and another user serves it outside.
        owner = unprivileged.NOBODY
        for path in ((data / "cluster"), *(data / "cluster").rglob("*")):
            os.chown(path, owner, owner)
    with running(data, durable=True) as server, psycopg.connect(server.url()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        process = ["ps", "-o", "uid=", "-p", str(server.pid)]
        printed = subprocess.run(process, capture_output=True, text=True, check=True)
        assert int(printed.stdout) == owner


def test_the_password_is_required_and_only_its_owner_can_read_it(data: Path) -> None:
    with running(data, durable=False) as server:
        file = data / "password"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert server.password == file.read_text()
        assert server.password not in repr(server)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url(password="wrong"))


def test_case_and_order_of_non_ascii_letters_are_as_on_neon(data: Path) -> None:
    with running(data, durable=False) as server, psycopg.connect(server.url()) as connection:
        row = connection.execute("select 'été' ilike 'ÉT%', lower('ÀÉЖ'), upper('zoë')").fetchone()
        assert row == (True, "àéж", "ZOË")
        words = connection.execute("select w from unnest(array['é','b','B','a']) w order by w")
        assert [word for (word,) in words] == ["B", "a", "b", "é"]


def test_only_a_durable_server_writes_commits_to_the_disk(data: Path) -> None:
    def settings(durable: bool) -> list[str]:
        with running(data, durable=durable) as server, psycopg.connect(server.url()) as connection:
            rows = connection.execute(
                "select setting from pg_settings"
                " where name in ('fsync', 'synchronous_commit', 'full_page_writes')"
            )
            return [setting for (setting,) in rows]

    assert settings(durable=True) == ["on", "on", "on"]
    assert settings(durable=False) == ["off", "off", "off"]


def test_a_second_start_on_the_same_folder_is_refused_with_one_sentence(data: Path) -> None:
    parent, pid, url = start_in_other_process(data, "durable")
    try:
        started = time.monotonic()
        with pytest.raises(PostgresError) as refusal, running(data, durable=True):
            pass
        assert str(refusal.value) == (
            f"PostgreSQL already runs on {data} (pid {pid}): stop the make dev or make offline "
            "that started it."
        )
        assert time.monotonic() - started < 2
        psycopg.connect(url).close()
    finally:
        parent.kill()
        parent.wait()
    wait_for_end(pid, 10)


def test_killing_the_parent_stops_the_server_and_keeps_the_rows(data: Path) -> None:
    parent, pid, url = start_in_other_process(data, "durable")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept (n int)")
        connection.execute("insert into kept values (7)")
        parent.kill()
        parent.wait()
        # At once: the start must wait for the other server, which is still shutting down.
        with running(data, durable=True) as server, psycopg.connect(server.url()) as again:
            assert again.execute("select n from kept").fetchall() == [(7,)]
            again.execute("drop table kept")
    wait_for_end(pid, 0)


def test_a_killed_server_recovers_at_the_next_start(data: Path) -> None:
    with running(data, durable=True) as server, psycopg.connect(server.url()) as connection:
        connection.execute("create table kept (n int)")
        connection.execute("insert into kept select generate_series(1, 1000)")
        connection.commit()
        os.kill(server.pid, signal.SIGKILL)
    # Its postmaster.pid still exists, and some of its processes may still run.
    assert (data / "cluster" / "postmaster.pid").exists()
    with running(data, durable=True) as server, psycopg.connect(server.url()) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1000,)
        connection.execute("drop table kept")


def test_it_starts_although_another_program_has_the_recorded_pid(data: Path) -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        pid_file = data / "cluster" / "postmaster.pid"
        with running(data, durable=True):
            lines = pid_file.read_text().split("\n")
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]))
        with running(data, durable=True) as server:
            psycopg.connect(server.url()).close()
    finally:
        other.kill()
        other.wait()


def test_a_server_that_cannot_start_shows_its_log_at_once(data: Path) -> None:
    settings = data / "cluster" / "postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text("shared_buffers = 'a lot'\n")
    started = time.monotonic()
    try:
        with pytest.raises(PostgresError, match="PostgreSQL stopped while it started") as refusal:
            running(data, durable=True).__enter__()
    finally:
        settings.write_text(before)
    assert 'invalid value for parameter "shared_buffers"' in str(refusal.value)
    assert time.monotonic() - started < 10


def test_a_port_in_use_is_named(data: Path) -> None:
    with running(data, durable=True) as server:
        taken = server.port
        other = data.with_name("other")
        with pytest.raises(PostgresError, match=f"Port {taken} is in use"):
            running(other, durable=False, port=taken).__enter__()
        # The new folder is complete: a server on another port can use it.
        with running(other, durable=False) as second:
            assert second.port != taken


def test_an_interrupted_initdb_leaves_no_incomplete_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    parent = subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, data, "throw-away"])
    while not list(data.glob("unfinished-*/global")):
        assert parent.poll() is None
        time.sleep(0.005)
    parent.kill()
    parent.wait()
    assert not (data / "cluster").exists()
    with running(data, durable=False) as server, psycopg.connect(server.url()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    # What the interrupted initdb wrote after that is removed by the next start.
    with running(data, durable=False):
        assert not list(data.glob("unfinished-*"))


def test_a_lost_or_wrong_password_file_is_explained(data: Path) -> None:
    file = data / "password"
    right = file.read_text()
    try:
        file.write_text("wrong")
        with pytest.raises(PostgresError, match="is not the password of this PostgreSQL"):
            running(data, durable=True).__enter__()
        file.unlink()
        with pytest.raises(PostgresError, match="password is missing: restore it"):
            running(data, durable=True).__enter__()
    finally:
        file.write_text(right)
        file.chmod(0o600)


def test_a_url_quotes_special_characters_of_names_and_passwords(data: Path) -> None:
    with running(data, durable=False) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("""create role "a/b@c" login password 'p:w/%#?'""")
            connection.execute('create database "d/é"')
        url = server.url("d/é", user="a/b@c", password="p:w/%#?")
        with psycopg.connect(url) as connection:
            row = connection.execute("select current_user, current_database()").fetchone()
        assert row == ("a/b@c", "d/é")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute('drop database "d/é"')
            connection.execute('drop role "a/b@c"')


def test_only_the_folders_of_test_runs_that_were_killed_are_removed(tmp_path: Path) -> None:
    ages = {"killed": 3600, "running": 3600, "starting": 10}
    for name, age in ages.items():
        cluster = tmp_path / f"{FOLDER_PREFIX}{name}" / "postgres" / "cluster"
        cluster.mkdir(parents=True)
        if name == "running":
            (cluster / "postmaster.pid").touch()
        created = time.time() - age
        os.utime(tmp_path / f"{FOLDER_PREFIX}{name}", (created, created))
    (tmp_path / "another").mkdir()
    remove_leftovers(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{FOLDER_PREFIX}running", f"{FOLDER_PREFIX}starting", "another"}
