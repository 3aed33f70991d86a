"""`make faults`: every fault with the real time limits. Writes a table of docs/database.md."""

import os
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from starlette.testclient import TestClient

from dev.app import app
from dev.pages import write_block
from lib.db import pool as database
from lib.settings import forget_settings
from tests.conftest import SECRET
from tests.resilience.faults.catalogue import CASES, HTTP_CASES
from tests.resilience.faults.lab import KINDS, Batch, Outcome, running_lab
from tests.support.databases import running_cluster
from tests.support.pgbouncer import PgBouncerError


def write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def responses(outcomes: list[Outcome]) -> str:
    """The number of responses by kind, such as `2 × 2xx, 5 × 503`."""
    counted = Counter("503" if outcome.status == 503 else "2xx" for outcome in outcomes)
    return ", ".join(f"{count} × {status}" for status, count in sorted(counted.items()))


def main() -> None:
    wrong = 0
    rows = ["| fault | reads | writes with a key | writes without a key | slowest, s |"]
    rows.append("|---|---|---|---|---|")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        cluster = stack.enter_context(running_cluster(folder / "postgres"))
        direct = stack.enter_context(running_lab(cluster))
        pooled = stack.enter_context(running_lab(cluster, folder / "pooler"))
        http = stack.enter_context(running_lab(cluster, http=True))
        faults = [(pooled if case.pooled else direct, case) for case in CASES]
        faults.sort(key=lambda fault: fault[1].pooled)
        faults += [(http, case) for case in HTTP_CASES]
        os.environ |= {"BETTER_AUTH_SECRET": SECRET, "LOG_LEVEL": "CRITICAL"}
        client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
        write_line(
            f"{len(KINDS)} requests each, all at once. Budgets: {database.BUDGET} s, "
            f"{database.COLD_BUDGET} s where a connection must be opened.\n"
        )
        write_line(
            f"{'transport':<10}{'fault':<66}{'responses':<20}{'seconds':>8}{'lost':>6}{'doubled':>9}"
            f"{'false':>7}"
        )
        for lab, case in faults:
            os.environ |= lab.variables
            forget_settings()
            outcomes = Batch(lab, client).send(case.fault)
            database.close_pools()
            slowest = max(outcome.seconds for outcome in outcomes)
            lost = sum(outcome.lost for outcome in outcomes)
            doubled = sum(outcome.doubled for outcome in outcomes)
            false = sum(outcome.misreported for outcome in outcomes)
            unexpected = [o for o in outcomes if o.reported != case.expected(o.kind)]
            late = slowest > (database.COLD_BUDGET if case.cold else database.BUDGET) + 0.3
            wrong += bool(lost or doubled or false or unexpected or late)
            transport = "http" if lab.http else "postgres"
            write_line(
                f"{transport:<10}{case.name:<66}{responses(outcomes):<20}{slowest:>8.2f}"
                f"{lost:>6}{doubled:>9}{false:>7}{'  !' if unexpected or late else ''}"
            )
            if not lab.http:
                rows.append(f"{case.row()} {slowest:.1f} |")
    if not wrong:
        write_block("docs/database.md", "make faults", "\n".join(rows))
    sys.exit(f"{wrong} faults had other effects than they may have." if wrong else 0)


if __name__ == "__main__":
    try:
        main()
    except PgBouncerError as error:
        sys.exit(str(error))
