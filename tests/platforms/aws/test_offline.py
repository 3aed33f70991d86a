"""The schedule of serverless.yml under the emulator; the contract suite tests the rest there."""

import time
from pathlib import Path

from dev.offline import emulator
from tests.support.databases import Database
from tests.support.targets.local import free_port

# The emulator's clock starts a job at a full minute.
PATIENCE = 240


def test_its_schedule_fires_and_is_green(
    environment: dict[str, str], fresh_database: Database, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "emulator.log"
    variables = {
        **environment,
        "DATABASE_URL": fresh_database.app_url,
        "SMOKE_BASE_URL": f"http://127.0.0.1:{port}",
    }
    often = ["smokeRate=rate(1 minute)"]
    with log.open("wb") as output, emulator(variables, port, free_port(), output, often):
        until = time.monotonic() + PATIENCE
        while not green_runs(log) and time.monotonic() < until:
            time.sleep(1)
    assert green_runs(log), log.read_text()
    # Its one key shows that it was here; its tasks are gone.
    keys = fresh_database.query("SELECT user_id FROM idempotency_keys")
    assert {user for (user,) in keys} == {"smoke"}
    assert fresh_database.query("SELECT count(*) FROM tasks") == [(0,)]


def green_runs(log: Path) -> int:
    """How many scheduled runs found nothing; the first one may find cold functions too slow."""
    said = log.read_text()
    ended = said.count("Successfully invoked scheduled function: [smoke]")
    return ended - said.count('"message":"Smoke test failed."')
