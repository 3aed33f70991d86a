"""`make fairness`: how long a user waits while another user sends as much as 16 clients can.

It writes a table of docs/database.md.

It starts one process of the API and PostgreSQL. The 16 clients run in another process than the
measurement. They send what the measured user sends, and in a second run requests that cost much
more: whole lists of 2,000 tasks and large pages.
"""

import argparse
import itertools
import json
import multiprocessing
import re
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt

from dev.pages import write_block
from tests.support.databases import Cluster, Database, running_cluster
from tests.support.targets import local

SECRET = "fairness-secret-0123456789abcdef0123456789"
CLIENTS = 16
TASKS = 2_000
# Alone and beside the clients in turn, so that both get their share of what else the machine does.
ROUNDS = 4
REQUESTS = 100  # of a round
WARM_UP = 20

type Requests = tuple[tuple[str, str, Any], ...]

# The requests of the other user.
MEASURED: Requests = (
    ("GET", "?limit=20", None),
    ("GET", "/{task}", None),
    ("POST", "", {"title": "Buy milk"}),
    ("PATCH", "/{task}", {"priority": "low"}),
)
LARGE: Requests = (
    ("GET", "", None),
    ("GET", "?limit=100&sort=title", None),
    ("GET", "/changes?limit=500", None),
    ("POST", "", {"title": "One of many", "priority": "high"}),
    ("PATCH", "/{task}", {"description": "changed"}),
    ("PATCH", "/{task}/complete", {"completed": True}),
)


@dataclass(frozen=True)
class Load:
    """What the 16 clients send, and the factor by which the other user's median may grow."""

    name: str
    requests: Requests
    max_factor: float


SAME_REQUESTS = Load("the same requests", MEASURED, 3.0)
# One event loop serves all users, so a long list delays the next request by its own duration.
LOADS = (SAME_REQUESTS, Load("whole lists, large pages and writes", LARGE, 6.0))

INSERT_USERS = """INSERT INTO users (id, name, email)
SELECT name, name, name || '@example.com' FROM unnest(ARRAY['busy', 'other']) AS name"""
INSERT_TASKS = """INSERT INTO tasks (user_id, title, description)
SELECT %s, 'Task ' || number, repeat('text ', 20) FROM generate_series(1, %s) AS number"""


@dataclass
class Figures:
    """The requests of one user: their seconds, and how many got each status."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def percentile(self, percent: int) -> float:
        """In milliseconds."""
        return 1000 * statistics.quantiles(self.seconds, n=100)[percent - 1]

    @property
    def refused(self) -> int:
        return sum(count for status, count in self.statuses.items() if not 200 <= status < 300)


class User:
    """A client of one user, with a connection of its own.

    It uses a socket, because the clients of http.client would take a processor of their own.
    """

    def __init__(self, url: str, name: str, task: int) -> None:
        self._address = urlsplit(url)
        self._connection: socket.socket | None = None
        self._token = jwt.encode({"sub": name, "exp": int(time.time()) + 3600}, SECRET)
        self._path, self._task = f"/api/{name}/tasks", task

    def send(self, method: str, path: str, body: Any, figures: Figures) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {self._path}{path.format(task=self._task)} HTTP/1.1\r\n"
            f"Host: {self._address.netloc}\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        started = time.perf_counter()
        figures.statuses[self._exchange(head.encode() + content)] += 1
        figures.seconds.append(time.perf_counter() - started)

    def _exchange(self, request: bytes) -> int:
        """Send a request and read the response. Returns its status."""
        if self._connection is None:
            address = (self._address.hostname or "", self._address.port or 80)
            self._connection = socket.create_connection(address, timeout=30)
        self._connection.sendall(request)
        head, length, received = b"", 0, 0
        while not head or received < length:
            data = self._connection.recv(1 << 20)
            if not data:
                raise ConnectionError("The server closed the connection.")
            if head:
                received += len(data)
                continue
            head, _, rest = data.partition(b"\r\n\r\n")
            [size] = re.findall(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
            length, received = int(size), len(rest)
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def run_clients(
    url: str, task: int, requests: Requests, ready: Any, stop: Any, results: Any
) -> None:
    """Send requests with each client, one after the other, until `stop` is set.

    Each client releases `ready` after its first response.
    """

    def loop(number: int) -> Figures:
        figures, user = Figures(), User(url, "busy", task)
        # Not all begin with the same request.
        for request in itertools.islice(itertools.cycle(requests), number, None):
            if stop.is_set():
                break
            user.send(*request, figures)
            if len(figures.seconds) == 1:
                ready.release()
        user.close()
        return figures

    with ThreadPoolExecutor(CLIENTS) as threads:
        for figures in threads.map(loop, range(CLIENTS)):
            results.put(figures.statuses)


@contextmanager
def busy_clients(
    url: str, task: int, requests: Requests, statuses: Counter[int]
) -> Generator[None]:
    """Run the 16 clients for the length of the `with`, and add up the statuses that they got."""
    processes = multiprocessing.get_context("spawn")
    ready, stop, results = processes.Semaphore(0), processes.Event(), processes.Queue()
    process = processes.Process(
        target=run_clients, args=(url, task, requests, ready, stop, results)
    )
    process.start()
    try:
        for _ in range(CLIENTS):
            if not ready.acquire(timeout=60):
                raise TimeoutError("The clients do not get a response.")
        yield
        stop.set()
        for _ in range(CLIENTS):
            statuses.update(results.get(timeout=60))
    finally:
        process.terminate()
        process.join()


@dataclass
class Result:
    max_factor: float
    alone: Figures = field(default_factory=Figures)
    beside: Figures = field(default_factory=Figures)
    busy: Counter[int] = field(default_factory=Counter)

    @property
    def factor(self) -> float:
        """How much longer the other user's median is beside the clients."""
        return self.beside.percentile(50) / self.alone.percentile(50)

    def problems(self) -> list[str]:
        found = []
        if self.factor > self.max_factor:
            found.append(
                f"the median of the other user is {self.factor:.1f} times that alone, "
                f"more than {self.max_factor:.0f}"
            )
        if refused := self.alone.refused + self.beside.refused:
            found.append(f"{refused} requests of the other user failed")
        return found

    def table(self) -> list[str]:
        lines = [f"{'the other user':<28}{'requests':>9}{'p50 ms':>8}{'p95 ms':>8}   statuses"]
        for name, one in (("alone", self.alone), (f"beside {CLIENTS} clients", self.beside)):
            lines.append(
                f"{name:<28}{len(one.seconds):>9,}{one.percentile(50):>8.1f}"
                f"{one.percentile(95):>8.1f}   {_counted(one.statuses)}"
            )
        lines.append(
            f"{'the 16 clients':<28}{self.busy.total():>9,}{'':>16}   {_counted(self.busy)}"
        )
        return lines


def _counted(statuses: Counter[int]) -> str:
    return ", ".join(f"{count:,} × {status}" for status, count in sorted(statuses.items()))


def measure(
    database: Database,
    *,
    load: Load = SAME_REQUESTS,
    application: str = "dev.app:app",
    rounds: int = ROUNDS,
    requests: int = REQUESTS,
) -> Result:
    """Measure the application on a new database."""
    database.query(INSERT_USERS)
    for name, number in (("busy", TASKS), ("other", 50)):
        database.query(INSERT_TASKS, name, number)
    database.query("ANALYZE")
    [(busy,), (other,)] = database.query("SELECT min(id) FROM tasks GROUP BY user_id ORDER BY 1")
    environment = {
        "DATABASE_URL": database.app_url,
        "BETTER_AUTH_SECRET": SECRET,
        "CORS_ORIGINS": "http://localhost:3000",
        "LOG_LEVEL": "ERROR",
    }
    result = Result(load.max_factor)
    with local.serve(environment, application) as url:
        user = User(url, "other", other)

        def send(number: int, figures: Figures) -> None:
            for request in itertools.islice(itertools.cycle(MEASURED), number):
                user.send(*request, figures)

        def send_round(figures: Figures) -> None:
            user.close()  # the server has ended a connection that was idle
            send(WARM_UP, Figures())
            send(requests, figures)

        for _ in range(rounds):
            send_round(result.alone)
            with busy_clients(url, busy, load.requests, result.busy):
                send_round(result.beside)
        user.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.resilience.fairness")
    parser.add_argument("--application", default="dev.app:app", help="module:name")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="fairness-") as folder,
        running_cluster(Path(folder) / "postgres") as cluster,
    ):
        results = [measure_and_print(cluster, load, options.application) for load in LOADS]
    if any(result.problems() for result in results):
        sys.exit(1)
    if options.application == parser.get_default("application"):
        write_block("docs/database.md", "make fairness", as_table(results))


def as_table(results: Sequence[Result]) -> str:
    """The table of docs/database.md."""
    lines = [f"| {CLIENTS} clients of another user send | alone, ms | beside them, ms | factor |"]
    lines += ["|---|---:|---:|---:|"]
    for load, result in zip(LOADS, results, strict=True):
        times = (f"{one.percentile(50):.1f}" for one in (result.alone, result.beside))
        lines.append(f"| {load.name} | {' | '.join(times)} | {result.factor:.1f} |")
    return "\n".join(lines)


def measure_and_print(cluster: Cluster, load: Load, application: str) -> Result:
    write_line(f"{CLIENTS} clients of one user send {load.name} ...")
    with cluster.clone() as database:
        result = measure(database, load=load, application=application)
    for line in result.table():
        write_line(line)
    problems = result.problems()
    write_line(f"fairness: {'; '.join(problems) or f'{result.factor:.1f} times that alone'}\n")
    return result


def write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
