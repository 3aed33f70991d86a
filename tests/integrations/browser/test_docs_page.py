"""The interactive documentation in Chromium: every operation runs, and no other host is contacted.

Screenshots are written to build/docs-page/.
"""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import bearer
from tests.integrations.better_auth.servers import ROOT, install_packages
from tests.integrations.browser.chromium import find_chromium

HERE = Path(__file__).parent
USER = "auth0|zoë in docs 🙂"


def test_every_operation_runs_in_the_interactive_documentation(
    base_url: str, tmp_path: Path
) -> None:
    install_packages()
    token = bearer(USER, exp=int(time.time()) + 3600)["Authorization"]  # the script may be slow
    shots = ROOT / "build" / "docs-page"
    shots.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        ["node", str(HERE / "docs.mjs")],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "API_URL": base_url,
            "CHROMIUM": find_chromium(),
            "SHOTS": str(shots),
            "TOKEN": token.removeprefix("Bearer "),
            "USER_ID": USER,
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if result.returncode:
        pytest.fail(f"{result.stdout}{result.stderr}")
    assert result.stdout.endswith("done\n")
