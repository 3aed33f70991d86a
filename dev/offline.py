"""`make offline`: serves the functions of serverless.yml under the serverless-offline emulator.

`npx serverless offline` alone provides no database and no token, cannot run functions if the path
of this folder contains a space, and leaves Python processes behind when it is killed.

Reads PORT (default 8000) and the settings of the API from the environment or .env.
"""

import http.client
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
from dev.running_server import AlreadyRunning, recorded
from dev.token import make_token
from lib.settings import EXAMPLE_SECRET, SettingsError, read_settings

ROOT = Path(__file__).parent.parent
COMMAND = ROOT / "node_modules" / ".bin" / "serverless"
PRELOADED = Path(__file__).with_name("spawn_without_shell.mjs")
START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 10.0  # seconds


class CannotEmulate(Exception):
    """The emulator cannot start. The text is one sentence that says what to do."""


@contextmanager
def emulator(
    environment: Mapping[str, str],
    port: int,
    lambda_port: int,
    output: IO[bytes],
    parameters: Sequence[str] = (),
) -> Generator[str]:
    """Run serverless-offline until the end of the `with` block. Yields its base URL when it serves.

    environment: all variables of the functions, except PATH, HOME and VIRTUAL_ENV.
    parameters: parameters of serverless.yml, each as `key=value`.

    Raises CannotEmulate. The emulator ends with the thread that enters the block.
    """
    node = shutil.which("node")
    if node is None or not COMMAND.exists():
        raise CannotEmulate("The emulator is not installed: run make offline, or npm ci.")
    command: list[str | Path] = [node, "--import", PRELOADED.as_uri(), COMMAND.resolve()]
    command += ["offline", "start", "--stage", "local"]
    command += ["--host", "127.0.0.1", "--httpPort", str(port), "--lambdaPort", str(lambda_port)]
    command += [option for each in parameters for option in ("--param", each)]
    process = unprivileged.start(
        command,
        identity=unprivileged.SELF,
        stop_signal=signal.SIGTERM,
        output=output,
        # The emulator runs the Python of VIRTUAL_ENV in the current folder.
        env={
            "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/"),
            "VIRTUAL_ENV": str(ROOT / ".venv"),
            **environment,
        },
    )
    try:
        _wait_until_serving(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
        # The emulator may leave Python processes, which are in its process group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_serving(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a function responds. The emulator also listens if it cannot run functions."""
    deadline = time.monotonic() + START_TIMEOUT
    while (seconds := deadline - time.monotonic()) > 0:
        if process.poll() is not None:
            raise CannotEmulate("The emulator stopped while it started: see its output above.")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
        try:
            connection.request("GET", "/api/health")
            status = connection.getresponse().status
        except ConnectionRefusedError:
            time.sleep(0.05)
        except (OSError, http.client.HTTPException):
            break
        else:
            if status == 200:
                return
            break
        finally:
            connection.close()
    raise CannotEmulate("The emulator cannot run the functions: see its output above.")


def serve(port: int) -> None:
    """Serve until a signal arrives.

    Raises CannotEmulate, also when the emulator ends, PostgresError or SettingsError.
    """
    _check_free(port)
    url = f"http://127.0.0.1:{port}"
    # The emulator also runs the schedule of the smoke test, which then tests the emulator.
    environment = {"BETTER_AUTH_SECRET": EXAMPLE_SECRET, "SMOKE_BASE_URL": url, **os.environ}
    with ExitStack() as stack:
        try:
            stack.enter_context(recorded("offline", url))
        except AlreadyRunning:
            raise CannotEmulate("make offline already runs: use that server, or stop it.") from None
        if not environment.get("DATABASE_URL"):
            print("Starting PostgreSQL ...", flush=True)
            environment["DATABASE_URL"] = stack.enter_context(local_database(ROOT / ".local")).app
        settings = read_settings(environment)
        print("Starting the emulator ...", flush=True)
        stack.enter_context(emulator(environment, port, _free_port(3002), sys.stdout.buffer))
        print(f"\nAPI:      {url}/api\nDocs:     {url}/api/docs")
        if settings.JWT_ALGORITHM == "HS256":
            token = make_token("demo", settings.shared_secrets[0], settings)
            print(f"\nA token for the user demo, valid for 24 hours:\n{token}\n\nTry it:")
            print(f"curl {url}/api/demo/tasks -H 'Authorization: Bearer {token}'")
        print("\nCtrl-C stops the emulator. Start it again after you change the code.")
        sys.stdout.flush()
        # Both the emulator and PostgreSQL are child processes. Their `with` blocks reap them.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        raise CannotEmulate("The emulator or its PostgreSQL ended: see the output above.")


def _check_free(port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise CannotEmulate(
                f"Port {port} cannot be used ({error.strerror}): "
                f"choose another, for example PORT={port + 1} make offline."
            ) from None


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as listener, suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            return listener.getsockname()[1]
    raise CannotEmulate("This machine has no free port.")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = os.environ.get("PORT", "8000")
    if not port.isdecimal() or not 0 < int(port) < 65535:
        sys.exit(f"PORT is {port!r}: it must be a number from 1 to 65534.")
    if shutil.which("node") is None:
        sys.exit("Node.js is missing: install version 22 or later and run make offline again.")
    file = {k: v for k, v in dotenv_values(ROOT / ".env").items() if v}
    os.environ.update({k: v for k, v in file.items() if k not in os.environ})
    try:
        serve(int(port))
    except (CannotEmulate, PostgresError, SettingsError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
