"""`make figures-aws`: what the zip costs when a function starts, with its bytecode and without.

Times are of the runtime client's process under AWS's emulator on this machine: compare them with
one another, not with AWS. CPU time is steadier than the clock where others use the machine too.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.aws.artifact import CACHE, arm64_artifact, unpacked_artifact
from tests.aws.sandbox import Sandbox
from tests.aws.stack import read_functions

STARTS, REQUESTS = 7, 200
EVENTS = {"tasks": "list_tasks", "health": "health", "docs": "openapi", "smoke": "unknown_path"}
# Nobody listens there: the answers are 401 and the like, which need no database.
ENVIRONMENT = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "BETTER_AUTH_SECRET": "figures-need-no-secret-0123456789abcdef",
    "LOG_LEVEL": "ERROR",
}
LINE = "{:10} {:>16} {:>16} {:>16} {:>16} {:>12}"


def main() -> None:
    """Print the table."""
    print(f"build/lambda.zip (arm64): {arm64_artifact().stat().st_size / 1e6:.1f} MB\n")
    compiled = unpacked_artifact()
    sources = CACHE / "without-bytecode"
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(compiled, sources, ignore=shutil.ignore_patterns("__pycache__"))
    print(f"Lowest of {STARTS} starts, median of {REQUESTS} requests, in milliseconds:")
    print(LINE.format("", "start, CPU", "start, clock", "no bytecode, CPU", "clock", "warm, clock"))
    for name in read_functions():
        cpu, clock, warm = measure(name, compiled)
        slow_cpu, slow_clock, _ = measure(name, sources)
        figures = [f"{value:.0f}" for value in (cpu, clock, slow_cpu, slow_clock)]
        print(LINE.format(name, *figures, f"{warm:.1f}"), flush=True)


def measure(name: str, content: Path) -> tuple[float, float, float]:
    """CPU and clock of a start with its first answer, and the clock of a later answer."""
    text = (Path(__file__).with_name("events") / f"{EVENTS[name]}.json").read_text()
    event: dict[str, Any] = json.loads(text)
    starts, warm = [], 0.0
    for _ in range(STARTS):
        sandbox = Sandbox(read_functions()[name], ENVIRONMENT, content)
        try:
            sandbox.connect().close()
            clock = timed(sandbox, event)
            starts.append((cpu_of_child(sandbox.process.pid), clock))
            if len(starts) == STARTS:
                warm = median(timed(sandbox, event) for _ in range(REQUESTS))
        finally:
            sandbox.close()
    return min(cpu for cpu, _ in starts), min(clock for _, clock in starts), warm


def timed(sandbox: Sandbox, event: dict[str, Any]) -> float:
    began = time.perf_counter()
    sandbox.invoke(event)
    return 1000 * (time.perf_counter() - began)


def cpu_of_child(pid: int) -> float:
    [child] = [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    # In nanoseconds; the usual counters of ticks are too coarse.
    return int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) / 1e6


if __name__ == "__main__":
    sys.exit(main())
