"""Counts processor instructions with valgrind.

Warm request: callgrind counts a number of requests, after the start of the process and 60 uncounted
requests. Cold start: cachegrind counts all instructions of a process until its first response. Warm
request on Node.js: the difference between two processes with different numbers of requests, because
its compiler runs in separate threads.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path

from bench import workload
from bench.implementations import Implementation
from bench.processes import ComparisonError, command, environment


def count_warm(
    implementation: Implementation,
    urls: workload.Urls,
    events: Path,
    names: tuple[str, ...],
    times: int,
) -> dict[str, float]:
    """Return the instructions per request, by event name."""
    with tempfile.TemporaryDirectory() as folder:
        plan = [f"{name}:{times}" for name in names]
        options = ["--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        _valgrind(
            "callgrind",
            options,
            implementation,
            urls,
            command(implementation, events, "count", *plan),
        )
        counted = {}
        for path in Path(folder).glob("out.*"):
            text = path.read_text()
            if label := re.search(r"Trigger: Client Request: (\w+):", text):
                total = re.search(r"^totals: (\d+)", text, re.M)
                counted[label[1]] = int(total[1]) / times if total else 0.0
        return counted


def count_warm_node(
    implementation: Implementation,
    urls: workload.Urls,
    events: Path,
    name: str,
    after: int,
    times: int,
) -> float:
    """Return the instructions per request of `times` requests that follow the first `after`."""
    first, both = (
        _count_process(
            implementation,
            urls,
            command(implementation, events, "warm"),
            json.dumps([name, number]),
        )
        for number in (after, after + times)
    )
    return (both - first) / times


def count_cold(
    implementation: Implementation, urls: workload.Urls, events: Path, name: str
) -> float:
    """Return the instructions of a cold start until the first response."""
    return _count_process(implementation, urls, command(implementation, events, "cold", name))


def _count_process(
    implementation: Implementation, urls: workload.Urls, arguments: list[str], stdin: str = ""
) -> float:
    options = ["--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    if implementation.node:
        options.append("--smc-check=all-non-file")  # Node.js generates code at run time
    output = _valgrind("cachegrind", options, implementation, urls, arguments, stdin)
    found = re.search(r"I +refs: +([\d,]+)", output)
    if found is None:
        raise ComparisonError(
            f"valgrind printed no count for {implementation.name}: {output[-1000:]}"
        )
    return float(found[1].replace(",", ""))


def _valgrind(
    tool: str,
    options: list[str],
    implementation: Implementation,
    urls: workload.Urls,
    arguments: list[str],
    stdin: str = "",
) -> str:
    completed = subprocess.run(
        ["valgrind", f"--tool={tool}", *options, *arguments],
        env=environment(implementation, urls, platform="lambda"),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode:
        raise ComparisonError(
            f"{implementation.name} failed under valgrind:\n{completed.stderr[-2000:]}"
        )
    return completed.stderr
