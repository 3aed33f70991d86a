"""Commands that remove data use only the database that DATABASE_URL_UNPOOLED names."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integrations.migrations.test_erase_user import FILL
from tests.integrations.recovery.page import ROOT
from tests.integrations.recovery.test_interruptions import COMMANDS, STATE
from tests.support.databases import Database


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("direct", "beginning"),
    [
        ({}, "Set DATABASE_URL_UNPOOLED to the direct URL of the database."),
        # As in DATABASE_URL_UNPOOLED="$NEW_URL" make new-history, with a misspelled variable.
        ({"DATABASE_URL_UNPOOLED": ""}, "DATABASE_URL_UNPOOLED is empty"),
    ],
)
def test_the_database_of_the_api_does_not_take_its_place(
    admin: Database, tmp_path: Path, command: str, direct: dict[str, str], beginning: str
) -> None:
    admin.query(FILL)
    before = admin.query(STATE)
    done = subprocess.run(
        [sys.executable, "-m", *COMMANDS[command]],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "DATABASE_URL": admin.admin_url, **direct},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(beginning), done.stderr
    assert admin.query(STATE) == before
