"""Runs the tests that `make verify` adds: the contract on each platform and transport, and more."""

import os
import subprocess
import sys
import time

PYTEST = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal"]
# Modules of tests/support/targets. Tests marked raw write to the socket, and would test the
# emulated gateway.
TARGETS = ("offline", "lambda_runtime", "vercel_runtime")
# The plugin lists the tests that serverless-offline is known to fail, and expects them to fail.
DEVIATING = {"offline": ["-p", "tests.support.targets.deviations", "-rfE"]}
STAGES = {
    f"contract on {name}": [
        *("tests/contract", "--target", name, "-m", "not raw"),
        *DEVIATING.get(name, []),
    ]
    for name in TARGETS
}
# Neon's HTTP endpoint, emulated; tests/platforms/aws/test_without_psycopg.py runs it on Lambda.
STAGES |= {"contract over HTTP": ["tests/contract", "--transport", "http", "-m", "not raw"]}
# Raw requests go to Vercel's server directly, because the simulated edge refuses them.
RAW = ("tests/contract/test_raw_bytes.py", "tests/security/hostile/test_raw_requests.py")
STAGES |= {"raw requests on vercel_server": [*RAW, "--target", "vercel_server"]}
# Four workers for two processors, because many of these tests wait. This stage is the last one, so
# that the output ends with pytest's summary.
# tests/contract has none of them, and nearly half of all tests, which each worker would collect.
STAGES |= {"real components": ["-m", "verify", "-n", "4", "--ignore", "tests/contract"]}


def main() -> None:
    failed = []
    before = changed_files()
    for name, arguments in STAGES.items():
        print(f"\n{name} ...", flush=True)
        started = time.monotonic()
        if subprocess.run([*PYTEST, *arguments], check=False).returncode:
            failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if (after := changed_files()) != before:
        failed.append(f"the tests changed the working tree,\n{after}")
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


def changed_files() -> str:
    """The state of the working tree in CI. Elsewhere, somebody may edit files during the run."""
    if "CI" not in os.environ:
        return ""
    command = ["git", "status", "--porcelain"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
