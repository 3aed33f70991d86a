"""`make dev`: serves the API on this machine with a local database, and reloads it on changes.

Unlike uvicorn's --reload and `fastapi dev`, this command starts PostgreSQL, and stops it however
the command ends. While the code has an error, it responds with the file and line of the error
instead of leaving requests waiting.

Reads HOST (an IP address, default 127.0.0.1), PORT (default 8000) and the settings of the API from
the environment or .env.
"""

import asyncio
import ctypes
import errno
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from textwrap import shorten
from typing import IO

if __name__ == "__main__":
    # Ctrl-C during the imports below ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import watchfiles
from dotenv import dotenv_values

from dev import unprivileged
from dev.local_database import local_database
from dev.postgres import DISK_FULL, PostgresError, find_program
from dev.running_server import LOCAL, AlreadyRunning, recorded
from dev.token import make_token
from dev.worker import WATCHED
from lib.db.pool import close_pools
from lib.db.readiness import check_ready
from lib.errors import DatabaseUnavailable, Unavailable
from lib.settings import EXAMPLE_SECRET, PLATFORM_VARIABLES, Settings, SettingsError, read_settings

ROOT = Path(__file__).parent.parent
PR_SET_PDEATHSIG = 1
# What `make sql` compiles, and the command that reports what is not compiled yet.
SOURCES_OF_SQL = {str(ROOT / "lib" / "db" / name) for name in ("models.py", "queries.py")}
CHECK_SQL = [sys.executable, "-m", "dev.compile_statements", "--check"]


class CannotServe(Exception):
    """The server cannot start. The text is one sentence that says what to do."""


def main() -> None:
    end_with_parent()
    end_on_signals()
    os.environ.update(
        {k: v for k, v in dotenv_values(ROOT / ".env").items() if v and k not in os.environ}
    )
    try:
        serve(_listen_address(os.environ.get("HOST", "")), os.environ.get("PORT", "8000"))
    except (CannotServe, PostgresError, SettingsError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(explain_write_error(error))
    except KeyboardInterrupt:  # watchfiles replaces the SystemExit of a signal
        sys.exit(0)


def explain_write_error(error: OSError) -> str:
    """What the user can do. Raises the error again if it has another cause."""
    if error.errno == errno.ENOSPC:
        return DISK_FULL
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} and error.filename:
        # For example after a first run with sudo.
        return (
            f"{error.filename} cannot be written ({error.strerror}): correct the owner or the "
            "permissions of this folder and try again."
        )
    raise error


def end_on_signals() -> None:
    """End this process when a signal arrives, with the programs that it has started."""
    signals = [signal.SIGINT, signal.SIGTERM]
    # nohup ignores SIGHUP, which a terminal sends when it is closed.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)

    def end(*_: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)  # a second one must not interrupt the clean-up
        sys.exit(0)

    for each in signals:
        signal.signal(each, end)


def serve(host: str, port: str) -> None:
    """Serve until a signal arrives. Raises CannotServe, PostgresError or SettingsError.

    host: an IP address.
    """
    url = _url(host, parse_port(port))
    with ExitStack() as stack:
        try:
            stack.enter_context(recorded("dev", url, LOCAL))
        except AlreadyRunning as error:
            other = error.server
            at = f" at {other.url} (pid {other.pid})" if other else ""
            raise CannotServe(
                f"make dev already runs{at}: use that server, or stop it with Ctrl-C in its "
                "terminal or with kill and its pid."
            ) from None
        listener = stack.enter_context(listen(host, int(port)))
        os.environ.setdefault("BETTER_AUTH_SECRET", EXAMPLE_SECRET)
        given = bool(os.environ.get("DATABASE_URL"))
        if not given:
            _drop_marks_of_deployments()
        read_settings(os.environ)  # reports an invalid setting before PostgreSQL starts
        if not given:
            print("Starting PostgreSQL ...", flush=True)
            os.environ["DATABASE_URL"] = stack.enter_context(local_database(LOCAL)).app
        settings = read_settings(os.environ)
        _check_database(given=given)
        token = None
        if settings.JWT_ALGORITHM == "HS256":
            token = make_token("demo", settings.shared_secrets[0], settings)
        _run(listener, _banner(url, token, settings, given=given))


def parse_port(port: str) -> int:
    """Return the number of a port. Raises CannotServe."""
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise CannotServe(f"PORT is {port!r}: it must be a number from 1 to 65535.")
    return int(port)


def _drop_marks_of_deployments() -> None:
    """Remove the variables that mark a deployment.

    With its own PostgreSQL this command is always local use, even in a workspace on Kubernetes or
    with the variables of a deployment in .env.
    """
    for name in (*PLATFORM_VARIABLES, "DATABASE_URL_UNPOOLED"):
        os.environ.pop(name, None)


def _listen_address(value: str) -> str:
    """`value` if it is an IP address, else 127.0.0.1.

    Shells and conda set HOST to the name of the machine or of its architecture.
    """
    try:
        return str(ip_address(value))
    except ValueError:
        return "127.0.0.1"


def _url(host: str, port: int) -> str:
    if ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_database(*, given: bool) -> None:
    """Raise CannotServe if the database cannot serve the API.

    given: it is the one of DATABASE_URL, and not the local one, which has just been migrated.
    """
    try:
        asyncio.run(check_ready())
    except DatabaseUnavailable as error:
        if not given:  # PostgreSQL has just started, on a machine that may be busy
            return
        why = (error.reason or "it does not respond in time").splitlines()[0]
        raise CannotServe(
            f"DATABASE_URL does not work ({why}): correct it, or remove it from .env and the "
            "environment to use the database that make dev starts."
        ) from None
    except Unavailable as error:
        reason = shorten(str(error.reason), 300)
        if not given:
            raise CannotServe(
                f"The migrations do not fit what requests need ({reason}): correct the newest file "
                f"in migrations/versions and delete {LOCAL / 'postgres'}, with all local data, so "
                "that make dev applies it again."
            ) from None
        raise CannotServe(
            "The database of DATABASE_URL has not been migrated: run make migrate with its direct "
            f"URL as DATABASE_URL_UNPOOLED. ({reason})"
        ) from None
    finally:
        close_pools()


def _banner(url: str, token: str | None, settings: Settings, *, given: bool) -> str:
    lines = [f"API:      {url}/api", f"Docs:     {url}/api/docs"]
    if settings.DATABASE_URL and not given:
        lines += [
            f"Database: {settings.DATABASE_URL}",
            "",
            "Row-level security hides all rows until a session names a user. To see demo's tasks:",
            _psql_command(settings.DATABASE_URL),
        ]
    lines.append("")
    if token is None:
        return "\n".join(
            [*lines, "Your Better Auth server issues the tokens (JWT_ALGORITHM).", STOP_HINT]
        )
    if not settings.PROVISION_USERS:
        lines += ["Only users who have signed up can create tasks (PROVISION_USERS=false).", ""]
    authorization = f"-H 'Authorization: Bearer {token}'"
    return "\n".join(
        [
            *lines,
            "A token for the user demo, valid for 24 hours (make token USER=alice makes another):",
            token,
            "",
            "Try it:",
            f"curl {url}/api/health/ready",
            f"""curl {url}/api/demo/tasks {authorization} --json '{{"title": "Buy milk"}}'""",
            f"curl {url}/api/demo/tasks {authorization}",
            "",
            STOP_HINT,
        ]
    )


STOP_HINT = "Ctrl-C stops the server. It reloads when you save a change."


def _psql_command(database_url: str) -> str:
    psql = shutil.which("psql") and "psql"
    words = [psql or str(find_program("psql")), database_url, "-c", "SET app.user_id = 'demo'"]
    return shlex.join([*words, "-c", "SELECT * FROM tasks"])


def _run(listener: socket.socket, banner: str) -> None:
    changed = watchfiles.watch(
        *(ROOT / folder for folder in WATCHED),
        watch_filter=watchfiles.PythonFilter(extra_extensions=[".json"]),
        raise_interrupt=True,
        rust_timeout=500,
        yield_on_timeout=True,
    )
    worker, failed = start_worker(listener, banner), False
    try:
        for changes in changed:
            if changes:
                print("Code changed: reloading ...", flush=True)
                stop(worker)
                worker, failed = start_worker(listener, banner if failed else ""), False
                if SOURCES_OF_SQL & {path for _, path in changes}:
                    # Until then the API ignores a new field.
                    subprocess.run(CHECK_SQL, cwd=ROOT, check=False)
            elif worker.poll() is not None and not failed:
                failure = (
                    f"The server process ended ({describe_exit(worker.returncode)}): see the "
                    "terminal. It starts again when you save a change."
                )
                print(failure, flush=True)
                # Without a process that serves the socket, requests would wait.
                worker, failed = start_worker(listener, "", failure), True
    finally:
        stop(worker)


def describe_exit(code: int) -> str:
    """Describe how a process ended, by its `returncode`."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def start_worker(
    listener: socket.socket,
    banner: str,
    failure: str = "",
    environment: Mapping[str, str] = os.environ,
    output: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start dev/worker.py, which prints `banner` when it serves the API.

    output: for its standard output and errors, if not those of this process.
    """
    return unprivileged.start(
        [sys.executable, "-m", "dev.worker", str(listener.fileno()), failure],
        identity=unprivileged.SELF,
        stop_signal=signal.SIGTERM,
        output=output or sys.stdout.buffer,
        env={**environment, "PYTHONPATH": str(ROOT), "BANNER": banner},
        pass_fds=[listener.fileno()],
    )


def stop(worker: subprocess.Popen[bytes]) -> None:
    """End a worker, if necessary by force."""
    worker.terminate()
    try:
        worker.wait(5)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


@contextmanager
def listen(host: str, port: int) -> Generator[socket.socket]:
    """Open the listening socket. It outlives each worker, so requests wait during a reload.

    Raises CannotServe.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            raise CannotServe(
                f"Port {port} of {host} cannot be used ({error.strerror}): "
                f"choose another, for example PORT={port + 1 if port < 65535 else 8000} make dev."
            ) from None
        # Accepted connections inherit it. asyncio sets it too, but only where the system reports
        # the protocol of an inherited socket, which macOS does not.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def end_with_parent() -> None:
    """When make ends, even by SIGKILL, end this process, and PostgreSQL and the worker with it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


if __name__ == "__main__":
    main()
