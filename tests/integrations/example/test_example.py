"""A person uses the example in Chromium, with the real Better Auth, API and PostgreSQL."""

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev.postgres import free_port
from tests.integrations.better_auth.fixtures import NewDatabase, NewLog
from tests.integrations.better_auth.servers import EXAMPLE, SECRET, api, install_packages
from tests.integrations.browser.chromium import find_chromium
from tests.integrations.example.servers import build, page, run_script

HERE = Path(__file__).parent


def test_a_person_uses_the_example(migrated_database: NewDatabase, logs: NewLog) -> None:
    install_packages()
    build()
    database = migrated_database()
    # The script of the test is between the page and the API: it loses responses, for example.
    proxy = f"http://127.0.0.1:{free_port()}"
    for expected in ("Created or changed: session, account, verification, jwks.", "up to date"):
        ran = run_script("migrate", DATABASE_URL=database.admin, BETTER_AUTH_SECRET=SECRET)
        assert expected in ran.stdout, ran.stdout + ran.stderr
    with ExitStack() as stack:
        url, demo_url = (
            stack.enter_context(page(database.admin, proxy, logs(name), variables))
            for name, variables in (("page", {}), ("demo", {"DEMO": "1"}))
        )
        settings = {
            "BETTER_AUTH_SECRET": SECRET,
            "JWT_AUDIENCE": "todo-api",
            "CORS_ORIGINS": f"{url},{demo_url}",
            "PROVISION_USERS": "false",
        }
        api_url = stack.enter_context(api(database.app, logs("api"), settings))
        driven = subprocess.run(
            ["node", str(HERE / "drive.mjs")],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(logs("home").parent),
                "APP_URL": url,
                "DEMO_URL": demo_url,
                "PROXY_URL": proxy,
                "API_URL": api_url,
                "SECRET": SECRET,
                "CHROMIUM": find_chromium(),
                "SCREENSHOTS": os.environ.get("SCREENSHOTS", ""),
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if driven.returncode:
        pytest.fail(f"{driven.stdout}{driven.stderr}")
    assert driven.stdout.endswith("done\n")


def test_a_role_that_may_not_create_tables_is_explained(migrated_database: NewDatabase) -> None:
    install_packages(EXAMPLE)
    settings = {"BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": "http://localhost"}
    ran = run_script("migrate", DATABASE_URL=migrated_database().app, **settings)
    assert ran.returncode == 1, ran.stdout
    assert ran.stderr.startswith("Better Auth's tables cannot be created: permission denied")
    assert ran.stderr.endswith(" Does DATABASE_URL name the owner's role?\n")
