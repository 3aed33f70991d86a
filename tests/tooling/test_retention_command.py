"""`make retention`: on a database, or by a deployment."""

import os
import subprocess
import sys

import pytest

from dev.serve import ROOT
from tests.conftest import SECRET
from tests.support.databases import Database
from tests.support.targets import local

CRON_SECRET = "cron-secret-0123456789"
REMOVED = "Removed 1 idempotency keys, the texts of 0 deleted tasks and the ids of 0 in "


@pytest.fixture
def expired(fresh_database: Database) -> Database:
    """A database with one expired key."""
    fresh_database.query("INSERT INTO users (id, name, email) VALUES ('ada', 'Ada', 'a@x.example')")
    fresh_database.query(
        "INSERT INTO idempotency_keys VALUES ('ada', 'k', 'h', '{}', 1, 1, '2026-01-01')"
    )
    return fresh_database


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dev.retention", *arguments],
        cwd=ROOT,
        env={"PATH": os.defpath, "BETTER_AUTH_SECRET": SECRET, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("role", ["app_url", "admin_url"])
def test_it_runs_on_a_database(expired: Database, role: str) -> None:
    done = run(DATABASE_URL=getattr(expired, role))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(REMOVED)
    assert done.stdout.count("\n") == 1
    assert expired.query("SELECT count(*) FROM idempotency_keys") == [(0,)]


def test_a_deployment_runs_it(expired: Database) -> None:
    environment = {
        "DATABASE_URL": expired.app_url,
        "BETTER_AUTH_SECRET": SECRET,
        "CRON_SECRET": CRON_SECRET,
    }
    with local.serve(environment) as url:
        done = run(url, CRON_SECRET="another-secret-0123456789")
        assert done.stderr == "The response is 401: The cron secret is required.\n"
        done = run(f"{url}/", CRON_SECRET=CRON_SECRET)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(REMOVED)
    assert expired.query("SELECT count(*) FROM idempotency_keys") == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "variables", "beginning"),
    [
        ((), {}, "DATABASE_URL is not set."),
        ((), {"DATABASE_URL": "postgresql://u@127.0.0.1:1/x"}, "The database is unavailable."),
        (("http://127.0.0.1:1",), {}, "Set CRON_SECRET to the deployment's"),
        (("http://127.0.0.1:1",), {"CRON_SECRET": CRON_SECRET}, "No response: "),
    ],
)
def test_a_run_that_is_impossible_ends_with_one_sentence(
    arguments: tuple[str, ...], variables: dict[str, str], beginning: str
) -> None:
    done = run(*arguments, **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(beginning), done.stderr
    assert done.stderr.count("\n") == 1
