"""`make lock`: pins every package, for pip and for Vercel; `--check` says whether all agree."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "pyproject.toml"
RUNTIME, DEVELOPMENT = ROOT / "requirements.txt", ROOT / "requirements-dev.txt"
CONSTRAINTS = re.compile(
    r"(?s)(# Written by make lock.*?\nconstraint-dependencies = \[\n).*?(\]\n)"
)


def compile_requirements(output: Path, pins: Path, *options: str) -> None:
    """Resolve to `output`, keeping the versions that `pins` holds already."""
    output.write_text(pins.read_text() if pins.exists() else "")
    command = ["uv", "pip", "compile", "-q", "pyproject.toml", "--universal"]
    command += ["--python-version", "3.13", "--generate-hashes", "--no-config"]
    command += ["--custom-compile-command", "make lock", *options, "-o", str(output)]
    if subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode:
        sys.exit("The packages of pyproject.toml and the pins do not fit together: see above.")


def pinned(requirements: Path) -> list[str]:
    """The `name==version` of each package that Linux needs."""
    lines = re.findall(r"^([a-z0-9.-]+==[^\s\\;]+)(.*)$", requirements.read_text(), re.M)
    return [pin for pin, marker in lines if "win32" not in marker]


def with_constraints(project: str, pins: list[str]) -> str:
    """pyproject.toml with these pins: Vercel's builder reads no requirements.txt."""
    lines = "".join(f'    "{pin}",\n' for pin in pins)
    return CONSTRAINTS.sub(lambda found: f"{found[1]}{lines}{found[2]}", project)


def main() -> None:
    check = "--check" in sys.argv
    with tempfile.TemporaryDirectory() as folder:
        runtime = Path(folder) / RUNTIME.name if check else RUNTIME
        development = Path(folder) / DEVELOPMENT.name if check else DEVELOPMENT
        compile_requirements(runtime, RUNTIME)
        compile_requirements(development, DEVELOPMENT, "--group", "dev", "-c", str(runtime))
        fresh = {
            RUNTIME: runtime.read_text(),
            DEVELOPMENT: development.read_text().replace(str(runtime), RUNTIME.name),
            PROJECT: with_constraints(PROJECT.read_text(), pinned(runtime)),
        }
    for file, text in fresh.items():
        if not check:
            file.write_text(text)
        elif file.read_text() != text:
            sys.exit(f"{file.name} is out of date: run make lock and commit it.")


if __name__ == "__main__":
    main()
