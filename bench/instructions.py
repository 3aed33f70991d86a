"""Counts instructions under valgrind; knows how, and no figure.

A warm request: start-up and sixty requests run uncounted, then callgrind counts a number of them.
A cold start: cachegrind counts the whole process, from the interpreter's first instruction to the
first answer.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from bench import workload
from bench.partners import Partner
from bench.processes import Unfair, command, environment


def count_warm(
    partner: Partner, urls: workload.Urls, events: Path, names: tuple[str, ...], times: int
) -> dict[str, float]:
    """Instructions a request, by the event's name."""
    with tempfile.TemporaryDirectory() as folder:
        plan = [f"{name}:{times}" for name in names]
        options = ["--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        _valgrind("callgrind", options, partner, urls, command(partner, events, "count", *plan))
        counted = {}
        for path in Path(folder).glob("out.*"):
            text = path.read_text()
            if label := re.search(r"Trigger: Client Request: (\w+):", text):
                total = re.search(r"^totals: (\d+)", text, re.M)
                counted[label[1]] = int(total[1]) / times if total else 0.0
        return counted


def count_cold(partner: Partner, urls: workload.Urls, events: Path, name: str) -> float:
    """Instructions of a cold start to the first answer."""
    options = ["--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    said = _valgrind("cachegrind", options, partner, urls, command(partner, events, "cold", name))
    found = re.search(r"I +refs: +([\d,]+)", said)
    if found is None:
        raise Unfair(f"valgrind counted nothing for {partner.name}: {said[-1000:]}")
    return float(found[1].replace(",", ""))


def _valgrind(
    tool: str, options: list[str], partner: Partner, urls: workload.Urls, words: list[str]
) -> str:
    done = subprocess.run(
        ["valgrind", f"--tool={tool}", *options, *words],
        env=environment(partner, urls, platform="lambda"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unfair(f"{partner.name} ended under valgrind:\n{done.stderr[-2000:]}")
    return done.stderr
