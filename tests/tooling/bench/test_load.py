"""The measurements of servers: what is sent, what counts as a failure, and whose CPU is counted."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from bench import equivalence, load, prepare, processes, workload

LIST = workload.event("GET", "/api/a/tasks", "a", query="limit=50")
TOGGLE = workload.event("PATCH", "/api/a/tasks/1/complete", "a")
CREATE = workload.event("POST", "/api/b/tasks", "b", body={"title": "Milk"})


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    paths: list[str] = []  # noqa: RUF012 - emptied by each test

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(500 if self.path == "/fails" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    do_PATCH = do_GET  # noqa: N815 - the name is given by the standard library

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Application.paths = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


def test_a_request_has_the_method_the_query_and_the_length_of_its_event() -> None:
    assert load.request_bytes(LIST).startswith(b"GET /api/a/tasks?limit=50 HTTP/1.1\r\n")
    assert b"content-length" not in load.request_bytes(LIST)
    assert b"\r\ncontent-length: 0\r\n" in load.request_bytes(TOGGLE)
    assert load.request_bytes(CREATE).endswith(b'\r\n\r\n{"title": "Milk"}')
    assert b"\r\ncontent-length: 17\r\n" in load.request_bytes(CREATE)


def test_a_client_sends_events_over_one_connection(port: int) -> None:
    client = load.Client(port)
    assert [client.send(event) for event in (LIST, TOGGLE)] == [
        {"statusCode": 200, "body": b"[]"}
    ] * 2
    client.close()
    assert Application.paths == ["/api/a/tasks?limit=50", "/api/a/tasks/1/complete"]


@pytest.fixture
def wrk() -> None:
    assert prepare.install_with_apt("wrk"), "wrk not found"


@pytest.mark.verify
@pytest.mark.usefixtures("wrk")
def test_wrk_sends_the_requests_in_turn_and_counts_them(port: int) -> None:
    result = load.run_load(port, [LIST, TOGGLE], 1, 1, {0})
    assert set(Application.paths) == {"/api/a/tasks?limit=50", "/api/a/tasks/1/complete"}
    counts = [Application.paths.count(path) for path in set(Application.paths)]
    assert abs(counts[0] - counts[1]) <= 1
    # wrk probes the connection, and stops while a response is under way.
    assert result.requests <= len(Application.paths) <= result.requests + 2
    assert 0 < result.p50 <= result.p99
    assert result.cpu > 0


@pytest.mark.verify
@pytest.mark.usefixtures("wrk")
def test_a_response_with_an_error_ends_the_benchmark(port: int) -> None:
    with pytest.raises(processes.ComparisonError, match="failed under load"):
        load.run_load(port, [workload.event("GET", "/fails", "a")], 1, 1, {0})


def test_the_cpu_of_a_process_includes_threads_and_children_that_have_ended() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    program = (
        "import subprocess, sys, threading, time\n"
        "def burn():\n while time.thread_time() < 0.3: pass\n"
        "thread = threading.Thread(target=burn); thread.start(); thread.join()\n"
        f"subprocess.run([sys.executable, '-c', {burn!r}])\n"
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        own = processes.cpu_seconds(process.pid)
        assert own >= 0.3
        # 0.01 s: ended children are counted in ticks of the clock.
        assert processes.postgres_cpu_seconds(process.pid) >= own + 0.3 - 0.01
        process.communicate(b"\n")


def test_a_different_list_is_not_equivalent() -> None:
    task = '{"id": 1, "completed": false, "created_at": "2026-01-01T08:00:00.123Z"}'
    bodies = {"list": f"[{', '.join([task] * 10)}]", "page 10": "[]", "get": task}
    expected: dict[str, object] = {}

    def send(name: str) -> dict[str, object]:
        return {
            "statusCode": {"unauthorized": 401, "create": 201}.get(name, 200),
            "body": bodies.get(name, task),
        }

    with pytest.raises(processes.ComparisonError, match="does not toggle"):
        equivalence.check("same toggle", send, expected)
    bodies["list"] = bodies["list"].replace("08:00:00.123Z", "08:00:00.124Z", 1)
    with pytest.raises(processes.ComparisonError, match="the response to list differs"):
        equivalence.check("another time", send, expected)
