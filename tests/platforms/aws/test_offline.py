"""The schedule of serverless.yml under serverless-offline, and the end of `make offline`.

The contract suite tests the rest.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dev.offline import emulator
from tests.support.databases import Database
from tests.support.targets.local import free_port

# The emulator starts scheduled functions at full minutes.
WAIT_SECONDS = 240
# `make offline` without the record of the running server, which the developer's own may hold.
MAKE_OFFLINE = """
from contextlib import nullcontext
from dev import offline
offline.recorded = lambda *_: nullcontext()
offline.main()
"""
EXPIRED_DATA_REMOVED = '"message":"Expired data was removed."'


def test_the_scheduled_smoke_test_and_retention_job_run(
    environment: dict[str, str], fresh_database: Database, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "emulator.log"
    variables = {
        **environment,
        "DATABASE_URL": fresh_database.app_url,
        "SMOKE_BASE_URL": f"http://127.0.0.1:{port}",
    }
    parameters = ["smokeRate=rate(1 minute)", "retentionRate=rate(1 minute)"]
    with log.open("wb") as output, emulator(variables, port, free_port(), output, parameters):
        until = time.monotonic() + WAIT_SECONDS
        while not (passed_runs(log) and EXPIRED_DATA_REMOVED in log.read_text()):
            if time.monotonic() > until:
                break
            time.sleep(1)
    assert passed_runs(log), log.read_text()
    assert EXPIRED_DATA_REMOVED in log.read_text()
    # Its idempotency key shows that it ran; its tasks are deleted.
    keys = fresh_database.query("SELECT user_id FROM idempotency_keys")
    assert {user for (user,) in keys} == {"smoke"}
    assert fresh_database.query("SELECT count(*) FROM tasks") == [(0,)]


def passed_runs(log: Path) -> int:
    """Return the number of passed runs; the first one may fail because cold functions are slow."""
    output = log.read_text()
    ended = output.count("Successfully invoked scheduled function: [smoke]")
    return ended - output.count('"message":"Smoke test failed."')


def test_make_offline_ends_when_the_emulator_ends(
    environment: dict[str, str], fresh_database: Database
) -> None:
    settings = {"DATABASE_URL": fresh_database.app_url, "PORT": str(free_port())}
    command = subprocess.Popen(
        [sys.executable, "-c", MAKE_OFFLINE],
        env=os.environ | environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert command.stdout
    try:
        assert any(line.startswith("Ctrl-C") for line in command.stdout)
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
        [started] = map(int, children)
        os.kill(started, signal.SIGKILL)
        output = command.stdout.read()
        assert command.wait(30) == 1
    finally:
        command.kill()
        command.wait()
        command.stdout.close()
    assert output.endswith("The emulator or its PostgreSQL ended: see the output above.\n")
