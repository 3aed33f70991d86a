"""`make dev`: the API on this machine with its own database, reloaded on change."""

import asyncio
import ctypes
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

if __name__ == "__main__":
    # Ctrl-C while the rest is imported ends it, and shows no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import watchfiles
from dotenv import dotenv_values

from dev import unprivileged
from dev.local_database import local_database
from dev.postgres import DISK_FULL, PostgresError
from dev.token import make_token
from lib.db.pool import close_pools
from lib.db.tasks import check_ready
from lib.errors import DatabaseUnavailable, Unavailable
from lib.settings import EXAMPLE_SECRET, SettingsError, read_settings

ROOT = Path(__file__).parent.parent
LOCAL = ROOT / ".local"
WATCHED = ("api", "lib", "dev")
PR_SET_PDEATHSIG = 1


class CannotServe(Exception):
    """One sentence that says what to do."""


def main() -> None:
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ.update(
        {k: v for k, v in dotenv_values(ROOT / ".env").items() if v and k not in os.environ}
    )
    try:
        serve(os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8000"))
    except (CannotServe, PostgresError, SettingsError) as error:
        sys.exit(str(error))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(DISK_FULL)
    except KeyboardInterrupt:
        sys.exit(0)


def serve(host: str, port: str) -> None:
    """Serve until a signal comes. Raises CannotServe, PostgresError or SettingsError."""
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise CannotServe(f"PORT is {port!r}: it must be a number from 1 to 65535.")
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 - as shown
    with ExitStack() as stack:
        stack.enter_context(_only_one(url))
        listener = stack.enter_context(_listen(host, int(port)))
        os.environ.setdefault("BETTER_AUTH_SECRET", EXAMPLE_SECRET)
        read_settings(os.environ)  # a mistake is told before PostgreSQL is started
        given = bool(os.environ.get("DATABASE_URL"))
        if not given:
            print("Starting PostgreSQL ...", flush=True)
            os.environ["DATABASE_URL"] = stack.enter_context(local_database(LOCAL)).app
        settings = read_settings(os.environ)
        if given:
            _check_database()
        token = None
        if settings.JWT_ALGORITHM == "HS256":
            token = make_token("demo", settings.shared_secrets[0], settings)
        _run(listener, _banner(url, token, None if given else settings.DATABASE_URL))


def _check_database() -> None:
    """What the functions would find out at the first request. Raises CannotServe."""
    try:
        asyncio.run(check_ready())
    except DatabaseUnavailable as error:
        why = (error.reason or "it does not answer in time").splitlines()[0]
        raise CannotServe(
            f"DATABASE_URL does not work ({why}): correct it, or take it out of .env and the "
            "environment, and make dev brings a database of its own."
        ) from None
    except Unavailable:
        raise CannotServe(
            "The database of DATABASE_URL is not prepared: run make migrate with its direct URL as "
            "DATABASE_URL_UNPOOLED."
        ) from None
    finally:
        close_pools()


def _banner(url: str, token: str | None, database_url: str | None) -> str:
    lines = [f"The API runs at {url}", f"Its docs are at {url}/api/docs"]
    if database_url:
        lines.append(f"Its database is at {database_url}")
    lines.append("")
    if token is None:
        return "\n".join([*lines, "Tokens come from your Better Auth server (JWT_ALGORITHM)."])
    return "\n".join(
        [
            *lines,
            "A token of the user demo, for 24 hours (make token USER=alice makes another):",
            token,
            "",
            "Try it:",
            f"curl {url}/api/health/ready",
            f"curl {url}/api/demo/tasks -H 'Authorization: Bearer {token}' --json '"
            '{"title": "Buy milk"}\'',
            f"curl {url}/api/demo/tasks -H 'Authorization: Bearer {token}'",
            "",
            "Ctrl-C stops it. Changes to the code are taken up at once.",
        ]
    )


def _run(listener: socket.socket, banner: str) -> None:
    command = [sys.executable, "-m", "uvicorn", "dev.app:app", "--fd", str(listener.fileno())]
    command += ["--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "2"]
    changed = watchfiles.watch(
        *(ROOT / folder for folder in WATCHED),
        watch_filter=watchfiles.PythonFilter(extra_extensions=[".json"]),
        raise_interrupt=True,
        rust_timeout=500,
        yield_on_timeout=True,
    )
    server, ended = _start(command, listener, banner), False
    try:
        for changes in changed:
            if changes:
                print("Changed: reloading ...", flush=True)
                _stop(server)
                server, ended = _start(command, listener, banner if ended else ""), False
            elif server.poll() is not None and not ended:
                print("The server ended; it starts again when the code changes.", flush=True)
                ended = True
    finally:
        _stop(server)


def _start(command: list[str], listener: socket.socket, banner: str) -> subprocess.Popen[bytes]:
    return unprivileged.start(
        command,
        identity=unprivileged.SELF,
        stop_signal=signal.SIGTERM,
        output=sys.stdout.buffer,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BANNER": banner},
        pass_fds=[listener.fileno()],
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def _only_one(url: str) -> Generator[None]:
    LOCAL.mkdir(exist_ok=True)
    with (LOCAL / "server").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CannotServe(
                f"It runs already, at {lock.read() or 'another address'}: use that, or end it:"
                " Ctrl-C where it runs, or kill and its pid."
            ) from None
        lock.truncate(0)
        lock.write(f"{url} (pid {os.getpid()})")
        lock.flush()
        yield


@contextmanager
def _listen(host: str, port: int) -> Generator[socket.socket]:
    """Take the port for as long as this runs: what comes while code is reloaded waits for it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            raise CannotServe(
                f"Port {port} of {host} cannot be used ({error.strerror}): "
                f"choose another, as in PORT={port + 1 if port < 65535 else 8000} make dev."
            ) from None
        yield listener


def _end_with_parent() -> None:
    # Whatever ends make, even SIGKILL, ends this: and PostgreSQL and uvicorn end with it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


if __name__ == "__main__":
    main()
