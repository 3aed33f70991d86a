"""Interrupted commands of the operator: nothing is half done, and a second run does it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
import pytest

from dev.owner import connect, last_sentence
from tests.integrations.migrations.test_erase_user import FILL
from tests.integrations.recovery.page import ROOT
from tests.support.databases import Database

STATE = """SELECT 'users', id, '' FROM users UNION ALL SELECT 'tasks', id::text, title FROM tasks
UNION ALL SELECT 'trash', id::text, title FROM deleted_tasks
UNION ALL SELECT 'history', id::text, '' FROM database_history ORDER BY 1, 2"""
BLOCKED = """SELECT pid FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()"""
COMMANDS = {
    "erase": ["dev.erase_user", "ada"],
    "restore": ["dev.restore_tasks", "--since=2026-11-01T00:00Z", "--user=ada"],
    "new history": ["dev.new_history"],
}
AGAIN = "Run the command again: it does what is left, or says that nothing is.\n"


@contextmanager
def started(database: Database, command: str) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", *COMMANDS[command]],
        cwd=ROOT,
        env={"DATABASE_URL_UNPOOLED": database.admin_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_blocked(admin: Database, process: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 20
    while not (found := admin.query(BLOCKED)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    [(pid,)] = found
    return pid


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("interruption", ["SIGINT", "SIGTERM", "backend"])
def test_an_interrupted_command_changes_nothing_and_can_be_repeated(
    admin: Database, owned_database: Database, command: str, interruption: str
) -> None:
    admin.query(FILL)
    before = admin.query(STATE)
    with psycopg.connect(admin.admin_url) as other, started(owned_database, command) as process:
        # Its last statements wait.
        other.execute("LOCK TABLE erased_users, deleted_tasks IN ACCESS EXCLUSIVE MODE")
        pid = wait_until_blocked(admin, process)
        if interruption == "backend":
            admin.query("SELECT pg_terminate_backend(%s)", pid)
        else:
            process.send_signal(signal.Signals[interruption])
        output, error = process.communicate(timeout=20)
    expected = {
        "SIGINT": (1, "Interrupted. " + AGAIN),
        "SIGTERM": (-signal.SIGTERM, ""),
        "backend": (1, "terminating connection due to administrator command"),
    }
    code, text = expected[interruption]
    assert (process.returncode, output) == (code, "")
    assert text in error
    assert error.count("\n") == bool(text)
    assert admin.query(STATE) == before
    with started(owned_database, command) as process:
        assert process.wait(20) == 0, process.communicate()
    assert admin.query(STATE) != before


def test_a_lost_connection_is_not_reported_as_nothing_done(
    admin: Database, owned_database: Database
) -> None:
    """It may have been lost after COMMIT was sent."""

    def lose() -> None:
        with (
            last_sentence("Nothing was erased"),
            connect(owned_database.admin_url) as connection,
            socket.socket(fileno=os.dup(connection.fileno())) as line,
        ):
            connection.execute("SELECT 1")
            line.shutdown(socket.SHUT_RDWR)

    with pytest.raises(SystemExit, match=r"^The connection was lost \(.+\)\. Run the"):
        lose()
