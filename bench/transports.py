"""`make transports`: what both transports to PostgreSQL cost. Writes a table of docs/database.md.

PgBouncer and the emulator of Neon's endpoint both serve with TLS, as Neon does. Their CA is added to
those of certifi, because loading all of them is a part of a cold start.
"""

import json
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import certifi

from bench import instructions, prepare, processes, workload
from bench.implementations import OUR_SERVER, OURS
from bench.load import run_load
from bench.processes import ComparisonError
from dev.deploy import package
from dev.local_database import PASSWORD, ROLE
from dev.pages import write_block
from dev.postgres import Server
from tests.support import neon_endpoint, pgbouncer
from tests.support.certificate import write_certificate

TASKS = 10
REQUESTS = 200
CONNECTIONS, SECONDS = 50, 8
ROWS = {
    "cold start until a 401": ("cold", "unauthorized"),
    f"cold start until a list of {TASKS} tasks": ("cold", "list"),
    f"warm list of {TASKS} tasks": ("warm", "list"),
}
# With TCP, TLS 1.3 and the login. tests/resilience/faults/test_pooler.py and
# tests/unit/test_http_transport.py count them.
ROUND_TRIPS = (6, 3)


def main() -> None:
    """Measure, print the table and write it."""
    prepare.prepare((OURS,))
    lines = ["| | `postgres` | `http` |", "|---|---:|---:|"]

    def add(row: str, *values: str) -> None:
        lines.append(f"| {row} | {' | '.join(values)} |")

    add("round trips to the first row, with TCP and TLS 1.3", *map(str, ROUND_TRIPS))
    for delay in (1, 5, 20):
        waits = [f"{number * delay} ms" for number in ROUND_TRIPS]
        add(f"waiting for them, at {delay} ms each", *waits)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = stack.enter_context(workload.database(folder / "postgres", (TASKS,)))
        events = folder / "events.json"
        events.write_text(json.dumps(workload.events(urls.admin, (TASKS,))))
        transports = (_over_postgres(stack, urls, folder), _over_http(stack, urls, folder))
        for row, (kind, name) in ROWS.items():
            counts = [_count(kind, name, each, events) for each in transports]
            digits = 0 if kind == "cold" else 2
            add(f"million instructions, {row}", *(f"{count:,.{digits}f}" for count in counts))
        used = [f"{1000 * _cpu_under_load(each):.2f} ms" for each in transports]
        add(f"CPU of a list of {TASKS} tasks, {CONNECTIONS} at once", *used)
        zips = [_zip(folder, transport) for transport in ("postgres", "http")]
        label = f"zip for Lambda ({package.this_architecture()})"
        add(label, *(f"{each.zipped / 1e6:.1f} MB" for each in zips))
        add("unzipped", *(f"{each.unzipped / 1e6:.1f} MB" for each in zips))
    table = "\n".join(lines)
    sys.stdout.write(f"{table}\n")
    write_block("docs/database.md", "make transports", table)


def _cpu_under_load(urls: workload.Urls) -> float:
    """The seconds of CPU that a request takes on a server."""
    cpus = os.sched_getaffinity(0)
    with processes.server(OUR_SERVER, urls, cpus) as (port, pid):
        run_load(port, workload.lists(), CONNECTIONS, 1, cpus)
        before = processes.cpu_seconds(pid)
        load = run_load(port, workload.lists(), CONNECTIONS, SECONDS, cpus)
        return (processes.cpu_seconds(pid) - before) / load.requests


def _zip(folder: Path, transport: package.Transport) -> package.Artifact:
    output = folder / f"{transport}.zip"
    return package.build(package.this_architecture(), output, transport=transport)


def _over_postgres(stack: ExitStack, urls: workload.Urls, folder: Path) -> workload.Urls:
    server = Server(urlsplit(urls.app).port or 5432, "", urls.pid, folder / "postgres")
    pooler = stack.enter_context(
        pgbouncer.running(server, users={ROLE: PASSWORD}, folder=folder / "pooler")
    )
    with_ca = replace(pooler, ca=_with_certifi(pooler.ca, folder / "pooler-and-certifi.pem"))
    return replace(urls, app=with_ca.url("bench", user=ROLE, password=PASSWORD))


def _over_http(stack: ExitStack, urls: workload.Urls, folder: Path) -> workload.Urls:
    certificate = write_certificate(folder)
    endpoint = stack.enter_context(neon_endpoint.running(certificate))
    settings = {
        "DATABASE_TRANSPORT": "http",
        "DATABASE_HTTP_URL": endpoint.url,
        "SSL_CERT_FILE": str(_with_certifi(certificate.ca, folder / "endpoint-and-certifi.pem")),
    }
    return replace(urls, settings=settings)


def _with_certifi(ca: Path | None, file: Path) -> Path:
    file.write_text(Path(certifi.where()).read_text() + (ca.read_text() if ca else ""))
    return file


def _count(kind: str, name: str, urls: workload.Urls, events: Path) -> float:
    status = processes.start_cold(OURS, urls, events, name)["status"]
    if status != {"unauthorized": 401, "list": 200}[name]:
        raise ComparisonError(f"{name} responded with {status}")
    if kind == "cold":
        return instructions.count_cold(OURS, urls, events, name) / 1e6
    return instructions.count_warm(OURS, urls, events, (name,), REQUESTS)[name] / 1e6


if __name__ == "__main__":
    main()
