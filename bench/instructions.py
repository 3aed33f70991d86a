"""Counts instructions under valgrind; knows how, and no figure.

A warm request: start-up and sixty requests run uncounted, then callgrind counts a number of them.
A cold start: cachegrind counts the whole process, from the interpreter's first instruction to the
first answer. A warm request under Node: the difference between two whole processes, since its
compiler goes on in threads of its own.
"""

import json
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


def count_warm_node(
    partner: Partner, urls: workload.Urls, events: Path, name: str, after: int, times: int
) -> float:
    """Instructions a request, of `times` requests behind the first `after`."""
    first, both = (
        _count_process(partner, urls, command(partner, events, "warm"), json.dumps([name, number]))
        for number in (after, after + times)
    )
    return (both - first) / times


def count_cold(partner: Partner, urls: workload.Urls, events: Path, name: str) -> float:
    """Instructions of a cold start to the first answer."""
    return _count_process(partner, urls, command(partner, events, "cold", name))


def _count_process(
    partner: Partner, urls: workload.Urls, words: list[str], said: str = ""
) -> float:
    options = ["--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    if partner.node:
        options.append("--smc-check=all-non-file")  # its code is written while it runs
    told = _valgrind("cachegrind", options, partner, urls, words, said)
    found = re.search(r"I +refs: +([\d,]+)", told)
    if found is None:
        raise Unfair(f"valgrind counted nothing for {partner.name}: {told[-1000:]}")
    return float(found[1].replace(",", ""))


def _valgrind(
    tool: str,
    options: list[str],
    partner: Partner,
    urls: workload.Urls,
    words: list[str],
    said: str = "",
) -> str:
    done = subprocess.run(
        ["valgrind", f"--tool={tool}", *options, *words],
        env=environment(partner, urls, platform="lambda"),
        input=said,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unfair(f"{partner.name} ended under valgrind:\n{done.stderr[-2000:]}")
    return done.stderr
