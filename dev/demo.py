"""`make demo`: serves the page of examples/nextjs with the API, Better Auth and a database.

The demo has a database of its own, in .local/demo, and listens on 127.0.0.1 only. It reads neither
.env nor the settings of the API, so it never uses another database.

Reads PORT, the preferred port of the page (default 3000).
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

if __name__ == "__main__":
    # Ctrl-C during the imports below ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from dev import unprivileged
from dev.local_database import local_database
from dev.postgres import DISK_FULL, PostgresError, reports_full_disk
from dev.running_server import LOCAL, AlreadyRunning, recorded
from dev.serve import (
    ROOT,
    CannotServe,
    describe_exit,
    end_on_signals,
    end_with_parent,
    explain_write_error,
    listen,
    parse_port,
    start_worker,
    stop,
)
from lib.settings import EXAMPLE_SECRET, PLATFORM_VARIABLES, Settings

EXAMPLE = ROOT / "examples" / "nextjs"
DATA = LOCAL / "demo"
HOST, API_PORT = "127.0.0.1", 8000
EMAIL, PASSWORD = "demo@example.com", "try-the-demo"
START_TIMEOUT = 120.0  # seconds
# Written by npm, Next.js and this command.
GENERATED = {"node_modules", ".next", "next-env.d.ts", "openapi.ts", "tsconfig.tsbuildinfo"}
OFFLINE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH")


def main() -> None:
    end_with_parent()
    end_on_signals()
    try:
        serve(parse_port(os.environ.get("PORT", "3000")))
    except (CannotServe, PostgresError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(explain_write_error(error))


def serve(preferred_port: int) -> None:
    """Serve until a signal arrives. Raises CannotServe or PostgresError."""
    DATA.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        port = _free_port(preferred_port)
        url = f"http://127.0.0.1:{port}"
        try:
            stack.enter_context(recorded("demo", url, DATA))
        except AlreadyRunning as error:
            other = error.server
            at = f" at {other.url} (pid {other.pid})" if other else ""
            raise CannotServe(
                f"make demo already runs{at}: open that page, or stop it with Ctrl-C in its "
                "terminal or with kill and its pid."
            ) from None
        environment = environment_of_programs()
        _check_node(environment)
        _install(environment)
        # Better Auth warns without them. The build does not contain them: the page reads them when
        # it starts.
        of_auth = {"BETTER_AUTH_SECRET": EXAMPLE_SECRET, "BETTER_AUTH_URL": url}
        build(environment | of_auth)
        api_port = _free_port(API_PORT)
        listener = stack.enter_context(listen(HOST, api_port))
        if not (DATA / "postgres" / "cluster").exists():
            _say("Creating the database ...")
        database = stack.enter_context(local_database(DATA))
        origins = f"{url},http://localhost:{port}"
        of_api = {
            "DATABASE_URL": database.app,
            "BETTER_AUTH_SECRET": EXAMPLE_SECRET,
            "JWT_ISSUER": url,
            "JWT_AUDIENCE": "todo-api",
            "CORS_ORIGINS": origins,
            "PROVISION_USERS": "false",  # Better Auth creates them in the same database
        }
        of_page = of_auth | {
            "PORT": str(port),
            "DATABASE_URL": database.admin,
            "BETTER_AUTH_TRUSTED_ORIGINS": origins,
            "TASKS_API_URL": f"http://{HOST}:{api_port}",
            "DEMO": "1",
        }
        # Not to the terminal: every open page asks for changes every three seconds.
        log = stack.enter_context(_log("API").open("wb"))
        api = start_worker(listener, "", environment=environment | of_api, output=log)
        stack.callback(stop, api)
        page = stack.enter_context(_started(_script("start"), environment | of_page, "page"))
        _run(_script("migrate"), environment | of_page, "migrate")
        _wait_until_serving("API", api, api_port)
        _wait_until_serving("page", page, port)
        _create_user(port, url)
        for name, wanted, used in (("page", preferred_port, port), ("API", API_PORT, api_port)):
            if wanted != used:
                _say(f"Port {wanted} is in use: the {name} uses port {used}.")
        _say(f"\nOpen {url}\n\nE-mail:   {EMAIL}\nPassword: {PASSWORD}\n")
        logs = DATA.relative_to(Path.cwd(), walk_up=True)
        _say(f"Logs:     {logs}/api.log, {logs}/page.log\n\nCtrl-C ends the demo.")
        while True:
            time.sleep(0.5)
            _check_running("API", api)
            _check_running("page", page)


def _say(text: str) -> None:
    print(text, flush=True)


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with suppress(CannotServe), listen(HOST, port) as listener:
            return listener.getsockname()[1]
    raise CannotServe("This machine has no free port.")


def environment_of_programs() -> dict[str, str]:
    """The variables of this process, without those that would change the programs of the demo."""
    settings = {*Settings.model_fields, *PLATFORM_VARIABLES, "NODE_ENV"}
    prefixes = ("PG", "BETTER_AUTH_", "NEXT_", "AWS_")
    suffixes = ("_PARAMETER", "_SECRET_ARN")
    kept = {
        name: text
        for name, text in os.environ.items()
        if name not in settings and not name.startswith(prefixes) and not name.endswith(suffixes)
    }
    folders = [EXAMPLE / "node_modules" / ".bin", ROOT / "node_modules" / ".bin"]
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
    return kept | {"PATH": path, "NEXT_TELEMETRY_DISABLED": "1", "BETTER_AUTH_TELEMETRY": "0"}


def _check_node(environment: Mapping[str, str]) -> None:
    """Install the Node.js of the Makefile if this machine has an older one. Raises CannotServe."""
    if not EXAMPLE.exists():
        raise CannotServe(f"The page is missing: restore the folder {EXAMPLE.relative_to(ROOT)}.")
    path = environment["PATH"]
    if shutil.which("npm", path=path) is None:
        raise CannotServe("npm is missing: install Node.js 22 and run make demo again.")
    if not _is_new_enough(path):
        _say("Installing Node.js 22 with the npm packages of this folder (half a minute) ...")
        _run(["make", "-C", str(ROOT), "node_modules/.ready"], environment, "npm ci")
    if not _is_new_enough(path):
        raise CannotServe("Node.js is too old: install version 22 and run make demo again.")


def _is_new_enough(path: str) -> bool:
    node = shutil.which("node", path=path)
    if node is None:
        return False
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    engines = json.loads((EXAMPLE / "package.json").read_text())["engines"]
    return _numbers(done.stdout) >= _numbers(engines["node"])


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def _install(environment: Mapping[str, str]) -> None:
    """Install the packages of the page if its lock file has changed."""
    # npm ci removes the folder with this file first, so an interrupted run is repeated.
    stamp = EXAMPLE / "node_modules" / ".installed"
    wanted = sha256((EXAMPLE / "package-lock.json").read_bytes()).hexdigest()
    if _read(stamp) == wanted:
        return
    _say("Installing the packages of the page (half a minute) ...")
    command = ["npm", "ci", "--ignore-scripts", "--include=dev", "--no-audit", "--no-fund"]
    _run(command, environment, "npm ci")
    stamp.write_text(wanted)


def build(environment: Mapping[str, str]) -> None:
    """Build the page if its sources or packages have changed. Raises CannotServe."""
    stamp = EXAMPLE / ".next" / ".built"
    wanted = _digest_of_sources()
    if _read(stamp) == wanted:
        return
    _say("Building the page (half a minute) ...")
    stamp.unlink(missing_ok=True)
    _run(_script("build"), environment, "build")
    stamp.write_text(wanted)


def _digest_of_sources() -> str:
    digest = sha256()
    for folder, names, files in EXAMPLE.walk():
        names[:] = sorted(set(names) - GENERATED)
        for name in sorted(set(files) - GENERATED):
            file = folder / name
            digest.update(f"{file.relative_to(EXAMPLE)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _script(name: str) -> list[str]:
    """The command of a script in package.json.

    npm is not in between: it does not pass on every signal, and its script would survive.
    """
    command = json.loads((EXAMPLE / "package.json").read_text())["scripts"][name]
    return ["sh", "-c", command if "&&" in command else f"exec {command}"]


@contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str], name: str
) -> Generator[subprocess.Popen[bytes]]:
    """Run a program of the page until the end of the `with` block, with its output in a log."""
    with _log(name).open("wb") as output:
        program = shutil.which(command[0], path=environment["PATH"]) or command[0]
        process = unprivileged.start(
            [program, *command[1:]],
            identity=unprivileged.SELF,
            stop_signal=signal.SIGTERM,
            output=output,
            env=environment,
            cwd=EXAMPLE,
        )
        try:
            yield process
        finally:
            # npm and Next.js start more processes, which are in the process group of the first.
            for stop_signal in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, stop_signal)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(5)


def _run(command: Sequence[str], environment: Mapping[str, str], name: str) -> None:
    """Run a program of the page to its end. Raises CannotServe, with the output, if it fails."""
    with _started(command, environment, name) as process:
        code = process.wait()
    if code:
        raise CannotServe(f"{_last_lines(name)}\n{_reason(name)}")


def _reason(name: str) -> str:
    output = _log(name).read_text(errors="replace")
    if reports_full_disk(output):
        return DISK_FULL
    if name == "npm ci" and OFFLINE.search(output):
        return (
            "The npm registry cannot be reached: check the network, the proxy (HTTPS_PROXY) or the "
            "registry in npm's settings, and run make demo again."
        )
    return f"{name} failed for the reason above: correct it and run make demo again."


def _log(name: str) -> Path:
    return DATA / f"{name.replace(' ', '-').lower()}.log"


def _last_lines(name: str) -> str:
    return "\n".join(_log(name).read_text(errors="replace").rstrip().splitlines()[-40:])


def _check_running(name: str, process: subprocess.Popen[bytes]) -> None:
    """Raise CannotServe if this process of the demo has ended."""
    if process.poll() is not None:
        ending = describe_exit(process.returncode)
        raise CannotServe(f"{_last_lines(name)}\nThe {name} ended ({ending}): run make demo again.")


def _wait_until_serving(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        _check_running(name, process)
        with suppress(OSError, http.client.HTTPException):
            # The API redirects this path, and writes no line about it.
            if _request(port, "GET", "/")[0] < HTTPStatus.BAD_REQUEST:
                return
        if time.monotonic() > deadline:
            raise CannotServe(f"{_last_lines(name)}\nThe {name} does not respond.")
        time.sleep(0.05)


def _create_user(port: int, origin: str) -> None:
    """Sign the demo's user up, unless an earlier run did."""
    body = json.dumps({"name": "Demo", "email": EMAIL, "password": PASSWORD})
    headers = {"Content-Type": "application/json", "Origin": origin}
    status, text = _request(port, "POST", "/api/auth/sign-up/email", body, headers)
    if status != HTTPStatus.OK and "USER_ALREADY_EXISTS" not in text:
        raise CannotServe(f"Better Auth did not create the user of the demo ({status} {text}).")


def _request(
    port: int, method: str, path: str, body: str | None = None, headers: Mapping[str, str] = {}
) -> tuple[int, str]:
    """Send a request to this machine. Unlike urllib, http.client uses no proxy."""
    connection = http.client.HTTPConnection(HOST, port, timeout=START_TIMEOUT)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


if __name__ == "__main__":
    main()
