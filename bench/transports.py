"""`make transports`: what both transports to PostgreSQL cost. Writes a table of docs/database.md.

PgBouncer and the emulator of Neon's endpoint both serve with TLS, as Neon does. Their CA is added to
those of certifi, because loading all of them is a part of a cold start.
"""

import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import certifi

from bench import instructions, prepare, processes, workload
from bench.implementations import OURS
from bench.processes import ComparisonError
from dev.local_database import PASSWORD, ROLE
from dev.pages import write_block
from dev.postgres import Server
from tests.support import neon_endpoint, pgbouncer
from tests.support.certificate import write_certificate

TASKS = 10
REQUESTS = 200
ROWS = {
    "cold start until a 401": ("cold", "unauthorized"),
    f"cold start until a list of {TASKS} tasks": ("cold", "list"),
    f"warm list of {TASKS} tasks": ("warm", "list"),
}


def main() -> None:
    """Measure, print the table and write it."""
    prepare.prepare((OURS,))
    lines = ["| million instructions | `postgres` | `http` |", "|---|---:|---:|"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = stack.enter_context(workload.database(folder / "postgres", (TASKS,)))
        events = folder / "events.json"
        events.write_text(json.dumps(workload.events(urls.admin, (TASKS,))))
        transports = (_over_postgres(stack, urls, folder), _over_http(stack, urls, folder))
        for row, (kind, name) in ROWS.items():
            counts = [_count(kind, name, each, events) for each in transports]
            digits = 0 if kind == "cold" else 2
            lines.append(f"| {row} | {counts[0]:,.{digits}f} | {counts[1]:,.{digits}f} |")
    table = "\n".join(lines)
    sys.stdout.write(f"{table}\n")
    write_block("docs/database.md", "make transports", table)


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
