"""`make chaos`: no write is lost or applied twice, and no change is missed, under faults."""

import argparse
import asyncio
import dataclasses
import os
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.resilience.chaos import mutants
from tests.resilience.chaos.availability import RATE, measure, table
from tests.resilience.chaos.ledger import MISSED, Ledger, Violation
from tests.resilience.chaos.run import FULL, QUICK, Result, Size, run, size_of_mutant
from tests.support.databases import running_cluster
from tests.support.pgbouncer import PgBouncerError

AVAILABILITY_SECONDS = {False: 20.0, True: 5.0}
TERMINAL = sys.stdout.isatty()


def write_line(line: str = "") -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class ProgressLine:
    """One line that is overwritten in a terminal. Elsewhere a new line every ten seconds."""

    def __init__(self, size: Size) -> None:
        self._size, self._started, self._next = size, time.monotonic(), 0.0

    def __call__(self, done: int, ledger: Ledger) -> None:
        now = time.monotonic() - self._started
        if not TERMINAL and now < self._next and done < self._size.operations:
            return
        self._next = now + 10
        wrong = f", {len(ledger.violations)} violations" if ledger.violations else ""
        line = f"{now:5.0f} s  {done:,} of {self._size.operations:,} operations{wrong}"
        if TERMINAL:
            sys.stdout.write(f"\r\x1b[K{line}")
            sys.stdout.flush()
        else:
            write_line(line)


def report(result: Result) -> None:
    if TERMINAL:
        write_line()
    outcomes = result.ledger.outcomes()
    write_line()
    write_line("Faults:     " + _counted(result.faults))
    write_line(
        f"Calls:      {result.calls:,}, {result.mcp_calls:,} of them by MCP, up to "
        f"{result.instance_peak} at once to the instance; {_counted(result.failures)}"
    )
    unmet = f", without {', '.join(result.unmet)}" if result.unmet else ""
    write_line(f"Scenarios:  {result.scenario_operations:,} operations{unmet}")
    write_line(f"Retention:  {result.retention_runs:,} runs beside the clients")
    write_line(
        f"Writes:     {outcomes['done']:,} acknowledged, {outcomes['unknown']:,} with unknown "
        f"outcome, {outcomes['unchanged']:,} failed; {result.ledger.reads:,} lists and trespasses"
    )
    followers, size = result.followers, result.size
    missed = sum(violation.kind == MISSED for violation in result.violations)
    write_line(
        f"Followers:  {size.followers}; {sum(each.rounds for each in followers):,} rounds, "
        f"{sum(each.changes for each in followers):,} changes seen, missed {missed:,}"
    )
    write_line("Violations: " + ", ".join(f"{kind} {n}" for kind, n in result.count().items()))
    for violation in result.violations[:20]:
        write_line(f"  {violation.kind}: {violation.text}")
    if len(result.violations) > 20:
        write_line(f"  ... and {len(result.violations) - 20} more")
    if result.violations and result.log:
        write_line("The last log lines of the functions:")
        write_line("\n".join(result.log.splitlines()[-20:]))


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} × {what}" for what, n in sorted(counts.items())) or "none"


def find(names: list[str], runs: int, seed: int) -> str | None:
    """Search each bug in some short runs. Returns what is wrong if one is not found in all.

    As many runs as there are processors take place at once.
    """
    missed = 0
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        running_cluster(Path(folder) / "postgres") as cluster,
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):

        def search(name: str, number: int) -> list[Violation]:
            size = size_of_mutant(name)
            one = run(cluster, seed + number, size, mutant=name, stop_at_violation=True)
            return asyncio.run(one).violations

        for name in names:
            started = time.monotonic()
            found = list(threads.map(partial(search, name), range(runs)))
            number = sum(map(bool, found))
            kinds = Counter(kind for one in found for kind in {each.kind for each in one})
            seconds = time.monotonic() - started
            missed += number < runs
            write_line(
                f"{name:<36}found in {number} of {runs} runs, {seconds:.0f} s: {_counted(kinds)}"
            )
            write_line(f"  {found[-1][0].text[:200] if found[-1] else 'not found in the last run'}")
    write_line(f"chaos: {len(names) - missed} of {len(names)} bugs found in each of {runs} runs")
    return f"{missed} bugs were missed." if missed else None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.resilience.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--quick", action="store_true", help="1,000 operations")
    parser.add_argument("--seconds", type=float, help="begin no operation after this time")
    parser.add_argument(
        "--mutant",
        choices=sorted(mutants.MUTANTS),
        default="",
        help="add a bug, which must be found",
    )
    parser.add_argument(
        "--find", type=int, metavar="RUNS", help="only search each bug in as many short runs"
    )
    parser.add_argument("--availability", type=int, choices=(0, 1), help="default: unless quick")
    options = parser.parse_args()
    if options.find:
        names = [options.mutant] if options.mutant else sorted(mutants.MUTANTS)
        sys.exit(find(names, options.find, options.seed))
    size = QUICK if options.quick else FULL
    if options.seconds:
        size = dataclasses.replace(size, seconds=options.seconds)
    write_line(
        f"Seed {options.seed}: {size.operations:,} operations by {size.clients} clients of "
        f"{size.users} users and {size.followers} followers of their changes, "
        f"{size.sandboxes} sandboxes and one instance behind PgBouncer."
    )
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        running_cluster(Path(folder) / "postgres") as cluster,
    ):
        result = asyncio.run(
            run(
                cluster,
                options.seed,
                size,
                mutant=options.mutant,
                progress=ProgressLine(size),
            )
        )
        report(result)
        if options.availability or (options.availability is None and not options.quick):
            seconds = AVAILABILITY_SECONDS[options.quick]
            write_line(f"\nAvailability at {RATE:.0f} requests a second:")
            for line in table(asyncio.run(measure(cluster, options.seed, seconds, write_line))):
                write_line(line)
    violations, too_little = len(result.violations), result.acknowledged_too_little()
    verdict = "nothing lost, nothing doubled, no change missed"
    if violations or too_little:
        verdict = f"{violations:,} VIOLATIONS" if violations else "TOO FEW WRITES WERE ACKNOWLEDGED"
    number = f"{result.done:,}"
    if result.done < size.operations:
        number += f" of {size.operations:,} (time limit reached)"
    write_line(f"\nchaos: {number} operations, seed {result.seed}: {verdict}")
    sys.exit(bool(violations or too_little))


if __name__ == "__main__":
    try:
        main()
    except PgBouncerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
