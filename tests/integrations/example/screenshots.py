"""`make screenshots`: takes the pictures of the example that README.md shows, in Chromium."""

import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from dev.demo import EXAMPLE
from dev.serve import ROOT

IMAGES = ROOT / "docs" / "images"
PICTURES = ("demo-light.png", "demo-dark.png")
# The digest of what the pictures show, so that a test can tell whether they are of this version.
DIGEST = IMAGES / "demo.sha256"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        test = [sys.executable, "-m", "pytest", "-q", "-n0", "-m", "verify", Path(__file__).parent]
        ran = subprocess.run(test, env=os.environ | {"SCREENSHOTS": folder}, check=False)
        if ran.returncode:
            sys.exit("The test that takes the pictures failed for the reason above.")
        for name in PICTURES:
            shutil.copyfile(Path(folder) / name, IMAGES / name)
    DIGEST.write_text(digest_of_sources() + "\n")
    sys.stdout.write(f"Took {' and '.join(PICTURES)}. Look at them before you commit them.\n")


def digest_of_sources() -> str:
    """The digest of the files that decide what the pictures show."""
    folders = (EXAMPLE / "app", EXAMPLE / "components")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    contents = [file.read_bytes() for file in [*sorted(files), EXAMPLE / "lib" / "sample-tasks.ts"]]
    return sha256(b"".join(contents)).hexdigest()


if __name__ == "__main__":
    main()
