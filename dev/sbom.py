"""`make sbom`: writes the CycloneDX bill of materials of the deployments to build/sbom.json.

It lists every package that a function may have, on AWS or on Vercel, with optional ones.
cyclonedx-py reads licences and dependencies from installed packages only, so the pinned ones are
installed into a temporary environment. The same pins give the same bytes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from dev.lock import ASYMMETRIC, PROJECT, ROOT, UV, VERCEL

OUTPUT = ROOT / "build" / "sbom.json"


def write_bill_of_materials(output: Path) -> None:
    """Write the document. Raises CalledProcessError; the tools print the reason."""
    output.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as environment:
        _run(*UV, "venv", "--quiet", "--clear", "--python", sys.executable, environment)
        install = (*UV, "pip", "install", "--quiet", "--no-config", "--require-hashes")
        requirements = ("--requirement", ASYMMETRIC, "--requirement", VERCEL)
        _run(*install, "--python", environment, *requirements)
        command = (sys.executable, "-m", "cyclonedx_py", "environment", "--spec-version", "1.6")
        options = ("--output-reproducible", "--pyproject", PROJECT, "--output-file", output)
        _run(*command, *options, environment)


def _run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True)


def main() -> None:
    print("Installing the pinned packages and reading their metadata (10 seconds) ...", flush=True)
    try:
        write_bill_of_materials(OUTPUT)
    except subprocess.CalledProcessError:
        sys.exit("The bill of materials could not be written: see the error above.")
    print(OUTPUT.relative_to(ROOT))


if __name__ == "__main__":
    main()
