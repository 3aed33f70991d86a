"""Runs the tests that `make verify` adds: the contract on each platform and transport, and more.

    python -m dev.verify [STAGE ...]

`make test-aws` and `make test-vercel` name the stages of their platform.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

PYTEST = [sys.executable, "-m", "pytest", "-q"]
# Modules of tests/support/targets. Tests marked raw write to the socket, and would test the
# emulated gateway.
TARGETS = ("vercel_runtime", "lambda_runtime", "offline")
# The plugin lists the tests that serverless-offline is known to fail, and expects them to fail.
DEVIATING = {"offline": ["-p", "tests.support.targets.deviations", "-rfE"]}
CONTRACT = {
    f"contract on {name}": [
        *("tests/contract", "--target", name, "-m", "not raw"),
        *DEVIATING.get(name, []),
    ]
    for name in TARGETS
}
# Neon's HTTP endpoint, emulated; tests/platforms/aws/test_without_psycopg.py runs it on Lambda.
CONTRACT |= {"contract over HTTP": ["tests/contract", "--transport", "http", "-m", "not raw"]}
# Raw requests go to Vercel's server directly, because the simulated edge refuses them.
RAW = ("tests/contract/test_raw_bytes.py", "tests/security/hostile/test_raw_requests.py")
CONTRACT |= {"raw requests on vercel_server": [*RAW, "--target", "vercel_server"]}
# Four workers for two processors, because many of these tests wait.
# tests/contract has none of them, and nearly half of all tests, which each worker would collect.
REAL = ["-m", "verify", "-n", "4", "--dist", "worksteal", "--ignore", "tests/contract"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stages", nargs="*", choices=CONTRACT, metavar="STAGE")
    named = parser.parse_args().stages
    stages = {name: CONTRACT[name] for name in named or CONTRACT}
    before = changed_files()
    # Two at a time, the longest first: while one builds its platform's functions, the other tests.
    with ThreadPoolExecutor(2) as threads:
        results = threads.map(partial(run, captures=True), stages, stages.values())
        passed = dict(zip(stages, results, strict=True))
    if not named:
        # The last stage, so that the output ends with pytest's summary.
        passed["real components"] = run("real components", REAL)
    failed = [name for name, result in passed.items() if not result]
    if (after := changed_files()) != before:
        failed.append(f"the tests changed the working tree,\n{after}")
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


def run(name: str, arguments: list[str], *, captures: bool = False) -> bool:
    """Run a stage; returns whether all of its tests passed.

    captures: print its output when it has ended, and not while it runs.
    """
    print(f"\n{name} ...", flush=True)
    started = time.monotonic()
    done = subprocess.run(
        [*PYTEST, *arguments],
        stdout=subprocess.PIPE if captures else None,
        stderr=subprocess.STDOUT if captures else None,
        text=True,
        check=False,
    )
    print(done.stdout or "", end="", flush=True)
    print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return done.returncode == 0


def changed_files() -> str:
    """The state of the working tree in CI. Elsewhere, somebody may edit files during the run."""
    if "CI" not in os.environ:
        return ""
    command = ["git", "status", "--porcelain"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
