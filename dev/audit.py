"""`make audit`: asks the package index for known holes of every shipped package, and takes silence
for a failure.

Tools that audit report no hole where they found no answer either: here each package must be
answered for. ADVISORIES names a copy of the PyPA advisory database to look into instead.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dev.advisories import NoAdvisories, known_holes
from dev.deploy.shipped_packages import Package, shipped_packages


class NotAudited(Exception):
    """Nobody can say that the packages are safe: one sentence says why."""


def report_on(packages: Sequence[Package]) -> dict[str, Any]:
    """pip-audit's report on exactly these packages. Raises NotAudited."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "requirements.txt"
        pins.write_text("".join(_pin(package) for package in packages))
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins)]
        # As they are pinned: no resolver may take another version, and no cache an old answer.
        command += ["--require-hashes", "--disable-pip", "--cache-dir", folder]
        command += ["--format", "json", "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise NotAudited(f"The audit could not run: {last}") from None


def _pin(package: Package) -> str:
    return " ".join(
        [
            f"{package.name}=={package.version}",
            *(f"--hash=sha256:{digest}" for digest in package.hashes),
            "\n",
        ]
    )


def holes(report: dict[str, Any], packages: Sequence[Package]) -> list[str]:
    """One line for each known hole. Raises NotAudited unless every package was answered for."""
    answered = {
        (entry["name"], entry["version"]): entry["vulns"]
        for entry in report["dependencies"]
        if "skip_reason" not in entry
    }
    silent = [
        package.name for package in packages if (package.name, package.version) not in answered
    ]
    if silent:
        raise NotAudited(
            f"{len(silent)} of {len(packages)} packages were not audited, since the package index"
            f" gave no advisories for them ({', '.join(silent[:3])} ...): run make audit where the"
            " public index can be reached, or with ADVISORIES=, a copy of pypa/advisory-database."
        )
    return [
        f"{name} {version}: {' = '.join([hole['id'], *hole['aliases']])},"
        f" fixed in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for (name, version), found in answered.items()
        for hole in found
    ]


def main() -> None:
    packages = shipped_packages()
    copy = os.environ.get("ADVISORIES")
    print(f"Auditing {len(packages)} packages ...", flush=True)
    try:
        if copy:
            found, known = known_holes(Path(copy), packages)
            verdict = f"0 vulnerable by {known}"
        else:
            found, verdict = holes(report_on(packages), packages), "0 vulnerable, 0 skipped"
    except (NotAudited, NoAdvisories) as error:
        sys.exit(str(error))
    if found:
        sys.exit("\n".join([*found, "Raise these versions in pyproject.toml, then run make lock."]))
    print(f"{len(packages)} packages: {verdict}.")


if __name__ == "__main__":
    main()
