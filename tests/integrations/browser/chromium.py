"""Finds Chromium, or installs it with apt-get."""

import os
import shutil
import subprocess
import sys

from tests.integrations.better_auth.servers import FixtureError


def find_chromium() -> str:
    """Return the path of Chromium. As root on Debian, installs it first if necessary.

    Raises FixtureError, with the command to run, if there is no Chromium.
    """
    if path := os.environ.get("CHROMIUM") or shutil.which("chromium"):
        return path
    if os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stderr.write("Installing Chromium (apt-get) ...\n")
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            command = ["apt-get", "--quiet", *arguments]
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(command, env=env, capture_output=True, check=False)
        if path := shutil.which("chromium"):
            return path
    raise FixtureError("Install Chromium (apt-get install chromium) or set CHROMIUM to its path.")
