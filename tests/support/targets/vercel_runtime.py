"""The Vercel target: the built functions in Vercel's Python runtime, behind a model of its edge."""

import base64
import http.client
import json
import mimetypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from dev.deploy import vercel_build

START_TIMEOUT = 60
RESPONSE_TIMEOUT = 60
STOP_TIMEOUT = 10
REGION = "iad1"
# Only the edge sets these headers; it does not forward a client's.
EDGE_HEADERS = ("x-vercel-", "x-forwarded-", "x-real-ip")
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"}
)
REPLACED_HEADERS = HOP_BY_HOP | {"content-length"}
# The runtime reports its cold start in this header, which the edge removes.
TIMING_HEADER = "x-vercel-internal-timing"
# Vercel runs on AWS and sets AWS_LAMBDA_FUNCTION_NAME: code that concludes from this variable that
# it runs on Lambda must fail here.
PLATFORM_ENVIRONMENT = {
    "VERCEL": "1",
    "VERCEL_ENV": "preview",
    "VERCEL_TARGET_ENV": "preview",
    "VERCEL_REGION": REGION,
    "VERCEL_GIT_COMMIT_SHA": "0123456789abcdef0123456789abcdef01234567",
    "VERCEL_DEPLOYMENT_ID": "dpl_local",
    "AWS_REGION": "us-east-1",
    "AWS_LAMBDA_FUNCTION_NAME": "vercel-owns-this-name",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "2048",
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
}


@dataclass(frozen=True)
class LogLine:
    """A log message of a function. `request_id` is 0 outside of requests."""

    request_id: int
    channel: str
    text: str


@dataclass
class Instance:
    """A running function: a process of Vercel's runtime, and the messages from its socket."""

    name: str
    process: subprocess.Popen[bytes]
    port: int = 0
    start_ms: float = 0.0
    lines: deque[LogLine] = field(default_factory=lambda: deque(maxlen=20_000))
    failure: str = ""
    ready: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> float:
        """Stop the process, by SIGKILL if need be; gives the seconds it took."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return time.monotonic() - started


class Deployment:
    """The functions of a build. An instance of each starts at its first request."""

    def __init__(self, built: vercel_build.Built, environment: Mapping[str, str]) -> None:
        """Start nothing. `environment` holds the variables of the Vercel project."""
        self.built = built
        self.environment = dict(environment)
        self.instances: dict[str, Instance] = {}
        self.url = ""
        self.routes = json.loads((built.output / "config.json").read_text())["routes"]
        self.names = set(vercel_build.function_names(built.output))
        self._starting = {name: threading.Lock() for name in self.names}
        self._sockets = Path(tempfile.mkdtemp(prefix="vercel-"))
        self._stopping = False
        self._counter_lock = threading.Lock()
        self._request_count = 0

    def instance(self, name: str) -> Instance:
        """The running instance of a function such as "api/tasks", started if need be."""
        with self._starting[name]:
            if self._stopping:
                raise RuntimeError("The deployment has stopped.")
            known = self.instances.get(name)
            if known is None or known.process.poll() is not None:
                self.instances[name] = self._start(name)
            return self.instances[name]

    def next_request_id(self) -> int:
        """The number of the next request, 1 for the first, as it appears in log messages."""
        with self._counter_lock:
            self._request_count += 1
            return self._request_count

    def stop(self) -> None:
        """Stop every instance, including those that are starting."""
        self._stopping = True
        for starting in self._starting.values():
            starting.acquire()
        with ThreadPoolExecutor() as pool:
            list(pool.map(Instance.stop, self.instances.values()))
        for starting in self._starting.values():
            starting.release()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _start(self, name: str) -> Instance:
        config = vercel_build.function_config(self.built, name)
        path = self._sockets / secrets.token_hex(4)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(START_TIMEOUT)
            started = time.monotonic()
            process = subprocess.Popen(
                [
                    str(Path(sys.base_prefix) / "bin" / config["runtime"]),
                    "-c",
                    "import vc__handler__python",
                ],
                cwd=self.built.function_folder(name),
                env=self._instance_environment(config, path),
                stdin=subprocess.DEVNULL,
            )
            instance = Instance(name, process)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                instance.stop()
                raise RuntimeError(f"{name} did not connect to Vercel's socket.") from None
        threading.Thread(target=_read_messages, args=(connection, instance), daemon=True).start()
        if not instance.ready.wait(START_TIMEOUT) or not instance.port:
            instance.stop()
            raise RuntimeError(f"{name} did not start.\n{instance.failure}")
        instance.start_ms = (time.monotonic() - started) * 1000
        return instance

    def _instance_environment(self, config: dict, ipc_path: Path) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._sockets),
            **PLATFORM_ENVIRONMENT,
            "VERCEL_URL": self.url.removeprefix("http://"),
            **self.environment,
            **config["environment"],
            "VERCEL_IPC_PATH": str(ipc_path),
        }


@contextmanager
def serve(environment: Mapping[str, str]) -> Generator[str]:
    """Build if need be, and serve with these variables; gives the base URL."""
    with deploy(environment) as deployment:
        yield deployment.url


@contextmanager
def deploy(
    environment: Mapping[str, str], built: vercel_build.Built | None = None
) -> Generator[Deployment]:
    """Serve `built`, or else a build of this tree; gives the deployment with its instances."""
    deployment = Deployment(built or vercel_build.build(), environment)

    handler = type("Handler", (EdgeHandler,), {"deployment": deployment})
    with EdgeServer(("127.0.0.1", 0), handler) as server:
        deployment.url = f"http://127.0.0.1:{server.server_address[1]}"
        listening = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        listening.start()
        try:
            yield deployment
        finally:
            server.shutdown()
            listening.join()
            deployment.stop()


class EdgeServer(ThreadingHTTPServer):
    """The edge's listener, with a thread for each client connection."""

    request_queue_size = 1024
    daemon_threads = True
    block_on_close = False


class EdgeHandler(BaseHTTPRequestHandler):
    """A client connection at the edge, which forwards each request by the build's config.json."""

    deployment: Deployment
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle_one_request(self) -> None:
        """Read a request and send the response."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            return
        # parse_request() shortens a leading "//", but the function must receive the original path.
        self.path = self.raw_requestline.split()[1].decode("latin-1")
        with suppress(BrokenPipeError, ConnectionResetError):
            try:
                body = _read_body(self)
            except ValueError:
                self.close_connection = True
                self._send(400, [("content-type", "text/plain")], b"Bad Request\n")
            else:
                self._respond(body)
            self.wfile.flush()

    def _respond(self, body: bytes | None) -> None:
        path, _, _ = self.path.partition("?")
        destination = find_destination(self.deployment, path)
        if destination.function:
            self._forward(destination.function, body, destination.headers)
        elif destination.static_file and self.command in {"GET", "HEAD"}:
            kind = mimetypes.guess_type(destination.static_file)[0] or "application/octet-stream"
            headers = [("content-type", kind), *destination.headers]
            self._send(200, headers, destination.static_file.read_bytes())
        else:
            headers = [("content-type", "text/plain; charset=utf-8"), *destination.headers]
            status = 405 if destination.static_file else 404
            self._send(status, headers, b"The page could not be found\n\nNOT_FOUND\n")

    def _forward(self, name: str, body: bytes | None, route_headers: list[tuple[str, str]]) -> None:
        try:
            instance = self.deployment.instance(name)
            status, headers, content = self._call(instance, body)
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            sys.stderr.write(f"{name}: {error!r}\n")
            headers = [("content-type", "text/plain; charset=utf-8")]
            failure = b"A server error has occurred\n\nFUNCTION_INVOCATION_FAILED\n"
            self._send(500, [*headers, ("x-vercel-error", "FUNCTION_INVOCATION_FAILED")], failure)
            return
        names = {key.lower() for key, _ in headers}
        added = [header for header in route_headers if header[0].lower() not in names]
        self._send(status, headers + added, content)

    def _call(
        self, instance: Instance, body: bytes | None
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        # A new connection each time: on a kept-alive one vercel-runtime 0.23.2 takes 44 ms longer,
        # since it does not set TCP_NODELAY. That is no property of the functions.
        upstream = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=RESPONSE_TIMEOUT)
        try:
            target = quote(self.path, safe="".join(map(chr, range(0x21, 0x7F))), encoding="latin-1")
            upstream.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
            for key, value in self._request_headers():
                upstream.putheader(key, value.encode("latin-1"))
            if body is not None:
                upstream.putheader("content-length", str(len(body)))
            upstream.endheaders()
            # An application may respond, and close its end, before it has read the whole body.
            with suppress(BrokenPipeError, ConnectionResetError):
                upstream.send(body or b"")
            response = upstream.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            upstream.close()

    def _request_headers(self) -> list[tuple[str, str]]:
        kept = [
            (key, value)
            for key, value in self.headers.items()
            if key.lower() not in REPLACED_HEADERS and not key.lower().startswith(EDGE_HEADERS)
        ]
        client, now = self.client_address[0], time.time_ns() // 1_000_000
        invocation = f"{secrets.token_hex(3)}-{now}-{secrets.token_hex(6)}"
        return [
            *kept,
            ("x-forwarded-for", client),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", self.headers.get("host", "")),
            ("x-real-ip", client),
            ("x-vercel-id", f"{REGION}::{invocation}"),
            ("x-vercel-ip-country", "DE"),
            ("x-vercel-deployment-url", self.deployment.url.removeprefix("http://")),
            ("x-vercel-internal-invocation-id", invocation),
            ("x-vercel-internal-request-id", str(self.deployment.next_request_id())),
        ]

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        dropped = HOP_BY_HOP | {"server", TIMING_HEADER}
        names = set()
        for key, value in headers:
            if key.lower() not in dropped:
                names.add(key.lower())
                self.send_header(key, value)
        self.send_header("server", "Vercel")
        self.send_header("x-vercel-id", f"{REGION}::{REGION}::{secrets.token_hex(6)}")
        bodyless = status in {204, 304} or status < 200
        if "content-length" not in names and not bodyless and self.command != "HEAD":
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and not bodyless:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - overridden
        """Print nothing: the functions log their requests."""


@dataclass(frozen=True)
class Destination:
    """The function or static file of a path, if there is one, and the headers of its routes."""

    headers: list[tuple[str, str]]
    function: str = ""
    static_file: Path | None = None


def find_destination(deployment: Deployment, path: str) -> Destination:
    """Apply the routes of the build in order, as Vercel does, to a raw path without query."""
    headers: list[tuple[str, str]] = []
    for route in deployment.routes:
        phase = route.get("handle")
        if phase == "error":
            break
        if phase == "filesystem" and (found := _find_file(deployment, path, headers)):
            return found
        if phase or not (match := re.match(route["src"], path)):
            continue
        headers += route.get("headers", {}).items()
        if route.get("continue"):
            continue
        if "status" in route:
            break
        destination = re.sub(r"\$(\d+)", lambda group: match[int(group[1])] or "", route["dest"])
        if found := _find_file(deployment, destination, headers):
            return found
        if not route.get("check"):
            break
    return Destination(headers)


def _find_file(
    deployment: Deployment, path: str, headers: list[tuple[str, str]]
) -> Destination | None:
    name = path.removeprefix("/")
    if name in deployment.names:
        return Destination(headers, function=name)
    static = deployment.built.output / "static"
    published = {
        str(file.relative_to(static)): file for file in static.rglob("*") if file.is_file()
    }
    return Destination(headers, static_file=published[name]) if name in published else None


def _read_body(request: BaseHTTPRequestHandler) -> bytes | None:
    if "chunked" in request.headers.get("transfer-encoding", "").lower():
        chunks = []
        while size := int(request.rfile.readline().split(b";")[0], 16):
            chunks.append(request.rfile.read(size))
            request.rfile.readline()
        while request.rfile.readline().strip():
            pass
        return b"".join(chunks)
    length = request.headers.get("content-length")
    return request.rfile.read(int(length)) if length is not None else None


def _read_messages(connection: socket.socket, instance: Instance) -> None:
    # The runtime sends JSON messages, each followed by a NUL byte.
    rest = b""
    with connection:
        while data := connection.recv(65536):
            *messages, rest = (rest + data).split(b"\0")
            for message in messages:
                _record_message(json.loads(message), instance)
    instance.ready.set()


def _record_message(message: dict, instance: Instance) -> None:
    payload = message["payload"]
    request_id = int(payload.get("context", {}).get("requestId", 0))
    match message["type"]:
        case "server-started":
            instance.port = payload["httpPort"]
            instance.ready.set()
        case "log":
            text = base64.b64decode(payload["message"]).decode(errors="replace")
            channel = payload.get("stream") or payload.get("level", "")
            instance.lines.append(LogLine(request_id, channel, text))
        case "unrecoverable-error":
            instance.failure = payload["message"]
