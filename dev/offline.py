"""`make offline`: the functions of serverless.yml under the serverless-offline emulator, with a
database of their own; nothing of it is deployed.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from dotenv import dotenv_values

from dev import unprivileged
from dev.local_database import local_database
from dev.postgres import PostgresError
from dev.token import make_token
from lib.settings import EXAMPLE_SECRET, SettingsError, read_settings

ROOT = Path(__file__).parent.parent
COMMAND = ROOT / "node_modules" / ".bin" / "serverless"
START_SECONDS = 60
STOP_SECONDS = 10


class CannotEmulate(Exception):
    """One sentence that says what to do."""


@contextmanager
def emulator(
    environment: Mapping[str, str],
    port: int,
    lambda_port: int,
    output: IO[bytes],
    parameters: Sequence[str] = (),
) -> Generator[str]:
    """Run serverless-offline with these variables, and nothing else but the search path.

    `parameters` are of serverless.yml, each as `key=value`.
    Gives the base URL once it answers. Raises CannotEmulate. Call it from a thread that lives as
    long as the emulator should.
    """
    if not COMMAND.exists():
        raise CannotEmulate("The emulator is not installed: run make offline, or npm ci.")
    command: list[str | Path] = [COMMAND, "offline", "start", "--stage", "local"]
    command += ["--host", "127.0.0.1", "--httpPort", str(port), "--lambdaPort", str(lambda_port)]
    command += [option for each in parameters for option in ("--param", each)]
    process = unprivileged.start(
        command,
        identity=unprivileged.SELF,
        stop_signal=signal.SIGTERM,
        output=output,
        # The emulator takes the Python of VIRTUAL_ENV, and runs it in the current folder.
        env={
            "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/"),
            "VIRTUAL_ENV": str(ROOT / ".venv"),
            **environment,
        },
    )
    try:
        _wait_until_listening(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        # Its Python workers, should it have left any: they are in its process group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise CannotEmulate("The emulator ended before it listened: its own words stand above.")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise CannotEmulate(f"The emulator does not listen after {START_SECONDS} s: run it again.")


def serve(port: int) -> None:
    """Serve until a signal comes. Raises CannotEmulate, PostgresError or SettingsError."""
    _check_free(port)
    # The schedule of serverless.yml runs here too, and tests this emulator.
    environment = {
        "BETTER_AUTH_SECRET": EXAMPLE_SECRET,
        "SMOKE_BASE_URL": f"http://127.0.0.1:{port}",
        **os.environ,
    }
    with ExitStack() as stack:
        if not environment.get("DATABASE_URL"):
            print("Starting PostgreSQL ...", flush=True)
            environment["DATABASE_URL"] = stack.enter_context(local_database(ROOT / ".local")).app
        settings = read_settings(environment)
        print("Starting the emulator ...", flush=True)
        output = sys.stdout.buffer
        url = stack.enter_context(emulator(environment, port, _free_port(3002), output))
        print(f"\nThe emulator serves {url}, its docs are at {url}/api/docs")
        if settings.JWT_ALGORITHM == "HS256":
            token = make_token("demo", settings.shared_secrets[0], settings)
            print(f"A token of the user demo:\n{token}\n\nTry it:")
            print(f"curl {url}/api/demo/tasks -H 'Authorization: Bearer {token}'")
        print("\nCtrl-C stops it. It runs the code as it is now: start it again after a change.")
        sys.stdout.flush()
        signal.pause()


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CannotEmulate(
                f"Port {port} cannot be used ({error.strerror}): "
                f"choose another, as in PORT={port + 1} make offline."
            ) from None


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]
    raise CannotEmulate("This machine has no free port left.")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    given = os.environ.get("PORT", "8000")
    if not given.isdecimal() or not 0 < int(given) < 65535:
        sys.exit(f"PORT is {given!r}: it must be a number from 1 to 65534.")
    if shutil.which("node") is None:
        sys.exit("Node.js is missing: install version 20.19 or later and run it again.")
    file = {k: v for k, v in dotenv_values(ROOT / ".env").items() if v}
    os.environ.update({k: v for k, v in file.items() if k not in os.environ})
    try:
        serve(int(given))
    except (CannotEmulate, PostgresError, SettingsError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
