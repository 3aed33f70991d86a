"""Emulates SnapStart: starts a function, holds it where a snapshot would be taken, and restores it.

It serves the Runtime API to AWS's runtime client, since AWS's emulator lacks the restore calls. It
cannot emulate a restore on another machine: the same process continues.
"""

import json
import queue
import subprocess
import threading
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import time

from tests.platforms.aws.sandbox import Function, interpreter, lambda_environment

API = "/2018-06-01/runtime"
WAIT_SECONDS = 60


class RuntimeFailed(Exception):
    """The runtime client reported an error, or its process ended."""


class FrozenFunction:
    """A function that waits at the point of its snapshot until `restore`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.at_snapshot = threading.Event()
        self.restored = threading.Event()
        self.waiting = threading.Event()
        self.events: queue.Queue[bytes] = queue.Queue()
        self.results: queue.Queue[bytes | RuntimeFailed] = queue.Queue()

    def wait_for_snapshot(self) -> None:
        self._wait(self.at_snapshot)

    def restore(self) -> None:
        """Continue as after a restore. Raises RuntimeFailed if a hook fails."""
        self.restored.set()
        self._wait(self.waiting)

    def invoke(self, event: object) -> object:
        self.events.put(json.dumps(event).encode())
        for _ in range(WAIT_SECONDS * 10):
            try:
                result = self.results.get(timeout=0.1)
                break
            except queue.Empty:
                if self.process.poll() is not None:
                    raise RuntimeFailed(f"It exited with {self.process.returncode}.") from None
        else:
            raise TimeoutError("The function returned no result.")
        if isinstance(result, RuntimeFailed):
            raise result
        return json.loads(result)

    def memory_holds(self, text: str) -> bool:
        """Return whether the text is anywhere in the memory of the process."""
        wanted = text.encode()
        maps = Path(f"/proc/{self.process.pid}/maps").read_text()
        with Path(f"/proc/{self.process.pid}/mem").open("rb", buffering=0) as memory:
            for line in maps.splitlines():
                addresses, rights, *_ = line.split()
                if not rights.startswith("rw"):
                    continue
                first, last = (int(address, 16) for address in addresses.split("-"))
                memory.seek(first)
                if wanted in memory.read(last - first):
                    return True
        return False

    def connections(self) -> int:
        """Return the number of its open TCP sockets, including the one to the Runtime API."""
        process = Path(f"/proc/{self.process.pid}")
        lines = [
            line
            for name in ("tcp", "tcp6")
            for line in (process / "net" / name).read_text().splitlines()[1:]
        ]
        tcp = {f"socket:[{line.split()[9]}]" for line in lines}
        return sum(str(descriptor.readlink()) in tcp for descriptor in (process / "fd").iterdir())

    def _wait(self, reached: threading.Event) -> None:
        for _ in range(WAIT_SECONDS * 10):
            if reached.wait(0.1):
                return
            if not self.results.empty():
                failed = self.results.get()
                raise failed if isinstance(failed, RuntimeFailed) else AssertionError(failed)
            if self.process.poll() is not None:
                raise RuntimeFailed(f"It exited with {self.process.returncode}.")
        raise TimeoutError("The function did not reach this point.")


@contextmanager
def frozen_function(
    function: Function, environment: Mapping[str, str], content: Path
) -> Generator[FrozenFunction]:
    """Start the function; when `wait_for_snapshot` returns, its initialization is complete."""
    runtime_api = type("RuntimeApi", (_RuntimeApi,), {})
    server = _Server(("127.0.0.1", 0), runtime_api)
    variables = {
        **lambda_environment(function, content),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        **environment,
    }
    command = [*interpreter(), "-m", "awslambdaric", function.handler]
    process = subprocess.Popen(command, cwd=content, env=variables, stdin=subprocess.DEVNULL)
    frozen = FrozenFunction(process)
    runtime_api.function = frozen
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield frozen
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore the connection that a killed function resets."""


class _RuntimeApi(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    function: FrozenFunction

    def do_GET(self) -> None:
        function = self.function
        if self.path == f"{API}/restore/next":
            function.at_snapshot.set()
            function.restored.wait()
            self._respond(200, b"")
        else:
            function.waiting.set()
            event = function.events.get()
            self._respond(
                200,
                event,
                # AWS's client crashes if one of them is missing.
                {
                    "Content-Type": "application/json",
                    "Lambda-Runtime-Trace-Id": "Root=1-6923a1f0-1c7b0e5d3a9f48627d15ce30",
                    "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
                    "Lambda-Runtime-Deadline-Ms": str(int(1000 * (time() + WAIT_SECONDS))),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:::function:it:1",
                },
            )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        failed = self.path.endswith("/error")
        kind = self.headers.get("Lambda-Runtime-Function-Error-Type", "")
        self.function.results.put(RuntimeFailed(f"{kind} {body.decode()}") if failed else body)
        self._respond(202, b"")

    def _respond(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
