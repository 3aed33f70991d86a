"""`make export-user`: one JSON document with every row of the user, and of nobody else."""

import io
import json
import os
import subprocess
import sys
from typing import TextIO

import pytest
from sqlmodel import SQLModel

from dev.export_user import export_user
from tests.integrations.migrations.test_erase_user import FILL, TABLES, add_drafts
from tests.integrations.recovery.page import ROOT
from tests.support.databases import Database


@pytest.fixture
def admin(admin: Database) -> Database:
    admin.query(FILL)
    return admin


def make(url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make with a recipe that needs no installation."""
    return subprocess.run(
        ["make", "--silent", "--assume-old=.venv/ready", "export-user", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATABASE_URL_UNPOOLED": url, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_row_and_column_of_the_user_is_exported(
    admin: Database, owned_database: Database
) -> None:
    admin.query("UPDATE tasks SET title = 'Ümlaut \"quoted\" 日本' WHERE title = 'Task 1'")
    done = make(owned_database.admin_url, "USER_ID=ada")
    assert (done.returncode, done.stderr) == (0, "")
    assert 'Ümlaut \\"quoted\\" 日本' in done.stdout
    exported = json.loads(done.stdout)
    # Found by their column, so that no table is forgotten.
    tables = {"users": "id", **{table: "user_id" for (table,) in admin.query(TABLES)}}
    assert set(exported) == set(tables)
    for table, column in tables.items():
        rows = admin.query(f"SELECT to_json(t) FROM {table} AS t WHERE {column} = 'ada'")  # noqa: S608
        assert len(rows) == len(exported[table]) > 0
        assert all(row in exported[table] for (row,) in rows)
    assert "bob" not in done.stdout


def test_a_table_that_was_added_is_exported(admin: Database, owned_database: Database) -> None:
    drafts, output = add_drafts(admin), io.StringIO()
    try:
        export_user(owned_database.admin_url, "ada", output)
    finally:
        SQLModel.metadata.remove(drafts)
    assert json.loads(output.getvalue())["drafts"] == [{"id": 1, "user_id": "ada"}]


def test_nothing_is_changed(admin: Database, owned_database: Database) -> None:
    rows = "SELECT xmin, ctid, tasks::text FROM tasks ORDER BY id"
    before = admin.query(rows)
    export_user(owned_database.admin_url, "ada", io.StringIO())
    assert admin.query(rows) == before


def test_a_command_without_a_user_prints_no_data(admin: Database, owned_database: Database) -> None:
    for url, arguments, beginning in (
        (owned_database.admin_url, (), "Name the user: make export-user USER_ID=..."),
        (owned_database.admin_url, ("USER_ID=eve",), "Nothing is stored of the user eve in test_"),
        (admin.app_url, ("USER_ID=ada",), "The export is not complete: permission denied"),
        ("postgresql://u:p@127.0.0.1:1/x", ("USER_ID=ada",), "The export is not complete: "),
    ):
        done = make(url, *arguments, USER_ID="bob")
        assert done.returncode != 0
        assert done.stdout == ""
        assert done.stderr.startswith(beginning), done.stderr
        assert "Traceback" not in done.stderr


# `ru_maxrss` would include the process that started this one.
MEASURE = """import re, sys
from pathlib import Path
from dev.export_user import main
main()
status = Path("/proc/self/status").read_text()
print(re.search("VmHWM:\\\\s*(.+) kB", status)[1], file=sys.stderr)"""


def test_a_user_with_more_than_fits_into_memory_is_exported(
    admin: Database, owned_database: Database
) -> None:
    admin.query(
        "INSERT INTO tasks (user_id, title, description)"
        " SELECT 'ada', 'Task', repeat('x', 2000) FROM generate_series(1, 10000)"
    )

    def measure(user: str) -> tuple[int, int]:
        """The bytes of the export, and the largest size of the process."""
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, user],
            cwd=ROOT,
            env={"DATABASE_URL_UNPOOLED": owned_database.admin_url},
            capture_output=True,
            text=True,
            check=True,
        )
        return len(done.stdout), 1024 * int(done.stderr)

    (size_of_one, peak_of_one), (size, peak) = measure("bob"), measure("ada")
    assert size - size_of_one > 20_000_000
    assert peak - peak_of_one < 8_000_000


def test_an_export_that_cannot_be_written_is_one_sentence(
    admin: Database, owned_database: Database
) -> None:
    def run(output: TextIO) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--silent", "--assume-old=.venv/ready", "export-user", "USER_ID=ada"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "DATABASE_URL_UNPOOLED": owned_database.admin_url},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = run(full)
    assert done.returncode != 0
    first, *_ = done.stderr.splitlines()
    assert first == "The export is not complete: No space left on device."
    assert "Traceback" not in done.stderr
