"""`make sbom`: writes the CycloneDX bill of materials of the deployments to build/sbom.json.

It lists every package that a function may have, on AWS or on Vercel, with optional ones.
cyclonedx-py reads licences and dependencies from installed packages only, so the pinned ones are
installed into a temporary environment. The same pins give the same bytes.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from dev.lock import ASYMMETRIC, PROJECT, ROOT, UV, VERCEL

OUTPUT = ROOT / "build" / "sbom.json"


def write_bill_of_materials(output: Path) -> None:
    """Write the document. Raises CalledProcessError; the tools print the reason."""
    output.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        environment, project = Path(folder) / "environment", Path(folder) / "pyproject.toml"
        project.write_text(_with_vercel_extra(PROJECT.read_text()))
        _run(*UV, "venv", "--quiet", "--clear", "--python", sys.executable, environment)
        install = (*UV, "pip", "install", "--quiet", "--no-config", "--require-hashes")
        requirements = ("--requirement", ASYMMETRIC, "--requirement", VERCEL)
        _run(*install, "--python", environment, *requirements)
        command = (sys.executable, "-m", "cyclonedx_py", "environment", "--spec-version", "1.6")
        options = ("--output-reproducible", "--pyproject", project, "--output-file", output)
        _run(*command, *options, environment)


def _with_vercel_extra(project: str) -> str:
    """pyproject.toml with the group of Vercel as an extra, because cyclonedx-py reads no groups."""
    packages = tomllib.loads(project)["dependency-groups"]["vercel"]
    heading = "[project.optional-dependencies]\n"
    return project.replace(heading, f"{heading}vercel = {json.dumps(packages)}\n")


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
