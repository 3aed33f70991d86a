"""`make check`: every check that runs no test, each with its time."""

import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
PYTHON = sys.executable
CHECKS: dict[str, list[str]] = {
    "format": [str(BIN / "ruff"), "format", "--check", "--quiet"],
    "lint": [str(BIN / "ruff"), "check", "--quiet", "--output-format", "concise"],
    "types": [str(BIN / "ty"), "check", "--quiet", "--output-format", "concise"],
    "imports": [str(BIN / "lint-imports"), "--no-cache"],
    "sql": [PYTHON, "-m", "dev.compile_statements", "--check"],
    "openapi": [PYTHON, "-m", "dev.openapi", "--check"],
    "pins": [PYTHON, "-m", "dev.lock", "--check"],
}


def main() -> None:
    failed = []
    for name, command in CHECKS.items():
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        result = "ok" if done.returncode == 0 else "FAILED"
        print(f"{name:8} {result:6} {time.monotonic() - began:5.1f} s", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout + done.stderr, flush=True)
    if failed:
        sys.exit(f"Not in order: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
