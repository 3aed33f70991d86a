"""`make deploy-vercel` where it cannot go on."""

import os
import subprocess
import sys

from dev.serve import ROOT


def test_a_folder_that_is_not_linked_is_told_so_before_anything_is_built() -> None:
    environment = {name: value for name, value in os.environ.items() if "VERCEL" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "dev.deploy.vercel"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Link this folder to a Vercel project first: npx vercel link.\n"
