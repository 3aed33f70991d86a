"""`make lock`: pins every package with its hashes, for pip, uv and Vercel.

With `--check` it writes nothing, and fails if a file is out of date.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "pyproject.toml"
RUNTIME, DEVELOPMENT = ROOT / "requirements.txt", ROOT / "requirements-dev.txt"
# For functions that verify EdDSA, ES256 or RS256 tokens: all runtime packages and `cryptography`.
ASYMMETRIC = ROOT / "requirements-asymmetric.txt"
# What functions have on Vercel: the packages of requirements.txt, and one for its server.
VERCEL = ROOT / "requirements-vercel.txt"
# pip checks the hashes of uv, and uv checks those of everything else.
INSTALLER = ROOT / "requirements-uv.txt"
# uv with pip's settings.
UV = ("sh", str(ROOT / "dev" / "uv.sh"))
# An optional package of jsonschema, which checks IRIs. Its import takes two seconds.
EXCLUDED = "rfc3987-syntax"
CONSTRAINTS = re.compile(
    r"(?s)(# Written by make lock.*?\nconstraint-dependencies = \[\n).*?(\]\n)"
)


def compile_requirements(output: Path, pins: Path, *options: str) -> None:
    """Resolve pyproject.toml and write `output`. Versions that `pins` already has are kept."""
    output.write_text(pins.read_text() if pins.exists() else "")
    command = [*UV, "pip", "compile", "-q", "pyproject.toml", "--universal"]
    command += ["--python-version", "3.13", "--generate-hashes", "--no-config"]
    command += ["--custom-compile-command", "make lock", *options, "-o", str(output)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit("The requirements of pyproject.toml could not be resolved: see the error above.")


def pins_for_linux(requirements: Path) -> list[str]:
    """Return `name==version` of each package, without those that only Windows needs."""
    lines = re.findall(r"^([a-z0-9.-]+==[^\s\\;]+)(.*)$", requirements.read_text(), re.M)
    return [pin for pin, marker in lines if "win32" not in marker]


def pin_with_hashes(name: str, requirements: str) -> str:
    """Return the lines of one package in the text of a requirements file, without its comments."""
    found = re.search(rf"^{name}==.*\n(?:    --hash=.*\n)+", requirements, re.M)
    assert found, name
    return found[0]


def with_constraints(project: str, pins: list[str]) -> str:
    """Return pyproject.toml with these pins: Vercel's builder does not read requirements.txt."""
    lines = "".join(f'    "{pin}",\n' for pin in pins)
    return CONSTRAINTS.sub(lambda found: f"{found[1]}{lines}{found[2]}", project)


def main() -> None:
    check = "--check" in sys.argv
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        runtime = work / RUNTIME.name
        compile_requirements(runtime, RUNTIME)
        asymmetric = work / ASYMMETRIC.name
        compile_requirements(asymmetric, ASYMMETRIC, "--extra", "asymmetric", "-c", str(runtime))
        vercel = work / VERCEL.name
        compile_requirements(vercel, VERCEL, "--group", "vercel", "-c", str(runtime))
        development = work / DEVELOPMENT.name
        excludes = work / "excludes.txt"
        excludes.write_text(EXCLUDED)
        options = ("--group", "dev", "-c", str(asymmetric), "--excludes", str(excludes))
        compile_requirements(development, DEVELOPMENT, *options)
        # Constraints are named in comments, by their path.
        locked = {
            file: (work / file.name).read_text().replace(f"{folder}/", "")
            for file in (RUNTIME, ASYMMETRIC, VERCEL, DEVELOPMENT)
        }
        project = with_constraints(PROJECT.read_text(), pins_for_linux(runtime))
    header = (
        "# Written by make lock from requirements-dev.txt: what dev/bootstrap.sh installs first.\n"
    )
    locked[INSTALLER] = header + pin_with_hashes("uv", locked[DEVELOPMENT])
    locked[PROJECT] = project
    for file, text in locked.items():
        # Do not touch a file that is up to date: make would install every package again.
        if file.exists() and file.read_text() == text:
            continue
        if check:
            sys.exit(f"{file.name} is out of date: run make lock and commit it.")
        file.write_text(text)


if __name__ == "__main__":
    main()
