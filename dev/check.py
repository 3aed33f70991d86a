"""`make check`: runs every check that is not a test, and prints where each problem is."""

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PYTHON = sys.executable
CHECKS: dict[str, list[str]] = {
    "format": [str(BIN / "ruff"), "format", "--check", "--output-format", "concise"],
    "lint": [str(BIN / "ruff"), "check", "--quiet", "--output-format", "concise"],
    "types": [str(BIN / "ty"), "check", "--output-format", "concise"],
    "imports": [str(BIN / "lint-imports"), "--no-cache", "--no-logo"],
    "spelling": [str(BIN / "codespell")],
    "words": [PYTHON, "-m", "dev.vocabulary"],
    "workflows": [str(BIN / "zizmor"), "--offline", "--quiet", "--no-progress", ".github"],
    "sql": [PYTHON, "-m", "dev.compile_statements", "--check"],
    "openapi": [PYTHON, "-m", "dev.openapi", "--check"],
    "pins": [PYTHON, "-m", "dev.lock", "--check"],
}
FIXES = {
    "format": "To fix it: .venv/bin/ruff format\n",
    "lint": "To fix what can be fixed automatically: .venv/bin/ruff check --fix\n",
    "spelling": "If a word is correct, add it to ignore-words-list in pyproject.toml.\n",
    "words": "The list of words and their replacements is in dev/vocabulary.py.\n",
}
FORBIDDEN_IMPORT = re.compile(r"([\w.]+) -> ([\w.]+) \(l\.(\d+)\)")


def main() -> None:
    failed = []
    # At once, because the last one mostly waits for the package index.
    with ThreadPoolExecutor(len(CHECKS)) as threads:
        for name, (done, seconds) in zip(CHECKS, threads.map(_run, CHECKS.values()), strict=True):
            result = "ok" if done.returncode == 0 else "FAILED"
            print(f"{name:9} {result:6} {seconds:5.1f} s", flush=True)
            if done.returncode:
                failed.append(name)
                print(_with_file_names(done.stdout + done.stderr).strip(), flush=True)
                print(FIXES.get(name, ""), flush=True)
    if failed:
        sys.exit(f"Failed checks: {', '.join(failed)}.")


def _run(command: list[str]) -> tuple[subprocess.CompletedProcess[str], float]:
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done, time.monotonic() - started


def _with_file_names(output: str) -> str:
    """Replace modules by files in lint-imports' output, and leave out the contracts that hold."""
    _, _, broken = output.rpartition("Broken contracts\n----------------\n")
    return FORBIDDEN_IMPORT.sub(lambda found: f"{_file(found[1])}:{found[3]}: {found[2]}", broken)


def _file(module: str) -> str:
    file = Path(*module.split("."))
    if (ROOT / file).is_dir():
        file /= "__init__"
    return f"{file}.py"


if __name__ == "__main__":
    main()
