"""A page in Chromium uses Better Auth and the API, which have different origins."""

import os
import subprocess
from pathlib import Path

import pytest

from dev.postgres import free_port
from tests.integrations.better_auth.fixtures import NewDatabase, NewLog
from tests.integrations.better_auth.servers import api, better_auth
from tests.integrations.browser.chromium import find_chromium

HERE = Path(__file__).parent


@pytest.mark.parametrize("way", ["hs256-hook", "hs256-route", "eddsa"])
def test_users_manage_their_tasks_in_a_browser(
    way: str,
    migrated_database: NewDatabase,
    logs: NewLog,
) -> None:
    database, api_port = migrated_database(), free_port()
    page = {
        "PAGE": str(HERE / "page" / "main.ts"),
        "API_URL": f"http://127.0.0.1:{api_port}",
    }
    with better_auth(way, database.admin, logs(way), page) as auth:
        settings = {**auth.environment_of_api(), "PROVISION_USERS": "false"}
        with api(database.app, logs("api"), settings, port=api_port) as url:
            driven = subprocess.run(
                ["node", str(HERE / "drive.mjs")],
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(logs("home").parent),
                    "APP_URL": auth.url,
                    "API_URL": url,
                    "CHROMIUM": find_chromium(),
                    "TOKEN_PATH": auth.token_path,
                },
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
    if driven.returncode:
        pytest.fail(f"{driven.stdout}{driven.stderr}")
    assert driven.stdout.endswith("done\n")
