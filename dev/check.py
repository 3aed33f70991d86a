"""`make check`: every check that runs no test, each with its time; failures name file and line."""

import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PYTHON = sys.executable
CHECKS: dict[str, list[str]] = {
    "format": [str(BIN / "ruff"), "format", "--check", "--output-format", "concise"],
    "lint": [str(BIN / "ruff"), "check", "--quiet", "--output-format", "concise"],
    "types": [str(BIN / "ty"), "check", "--output-format", "concise"],
    "imports": [str(BIN / "lint-imports"), "--no-cache", "--no-logo"],
    "sql": [PYTHON, "-m", "dev.compile_statements", "--check"],
    "openapi": [PYTHON, "-m", "dev.openapi", "--check"],
    "pins": [PYTHON, "-m", "dev.lock", "--check"],
}
CURES = {
    "format": "To mend it: .venv/bin/ruff format\n",
    "lint": "To mend what can be mended: .venv/bin/ruff check --fix\n",
}
WRONG_IMPORT = re.compile(r"([\w.]+) -> ([\w.]+) \(l\.(\d+)\)")


def main() -> None:
    failed = []
    for name, command in CHECKS.items():
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        result = "ok" if done.returncode == 0 else "FAILED"
        print(f"{name:8} {result:6} {time.monotonic() - began:5.1f} s", flush=True)
        if done.returncode:
            failed.append(name)
            print(_with_places(done.stdout + done.stderr).strip(), flush=True)
            print(CURES.get(name, ""), flush=True)
    if failed:
        sys.exit(f"Not in order: {', '.join(failed)}.")


def _with_places(said: str) -> str:
    """What lint-imports says of modules, said of files; the contracts that are kept left out."""
    _, _, broken = said.rpartition("Broken contracts\n----------------\n")
    return WRONG_IMPORT.sub(lambda found: f"{_file(found[1])}:{found[3]}: {found[2]}", broken)


def _file(module: str) -> str:
    file = Path(*module.split("."))
    if (ROOT / file).is_dir():
        file /= "__init__"
    return f"{file}.py"


if __name__ == "__main__":
    main()
