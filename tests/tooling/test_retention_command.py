"""`make retention`: on a database, or by a deployment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev import retention
from dev.serve import ROOT
from lib.settings.environment import forget_settings
from migrations import owner_url
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


def test_a_variable_of_the_shell_chooses_no_deployment(expired: Database) -> None:
    done = subprocess.run(
        ["make", "--silent", "--assume-old=.venv/ready", "retention"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "BETTER_AUTH_SECRET": SECRET,
            "DATABASE_URL": expired.app_url,
            "URL": "http://127.0.0.1:1",
            "CRON_SECRET": CRON_SECRET,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(REMOVED)
    assert done.stdout.endswith(f"from {expired.name} at 127.0.0.1.\n")


def test_the_database_is_not_mixed_from_the_shell_and_the_file(
    expired: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell names a deployment for `make migrate`; .env names another database."""
    (tmp_path / ".env").write_text(f"DATABASE_URL={expired.app_url}\n")
    monkeypatch.setattr(owner_url, "ENV_FILE", tmp_path / ".env")
    monkeypatch.setattr(sys, "argv", ["dev.retention"])
    monkeypatch.setenv("BETTER_AUTH_SECRET", SECRET)
    monkeypatch.setenv("DATABASE_URL_UNPOOLED", "postgresql://owner:x@db.example/app")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    forget_settings()
    with pytest.raises(SystemExit, match="DATABASE_URL is not set"):
        retention.main()
    assert expired.query("SELECT count(*) FROM idempotency_keys") == [(1,)]


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
        ((), {}, "DATABASE_URL is not set"),
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
