"""Runs the benchmark (`make bench`): all implementations in one run, on one database.

BENCH=quick takes two minutes and writes no files. A full run rewrites bench/RESULTS.md,
bench/results.svg and the benchmark sentence of README.md.
"""

import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from bench import measure, report, servers, workload
from bench.implementations import EXPERT, IMPLEMENTATIONS
from bench.prepare import CACHE, PreparationError, prepare, sizes, valgrind_version
from bench.processes import ComparisonError
from dev.pages import write_block
from dev.postgres import PostgresError

FOLDER = Path(__file__).parent


def main() -> None:
    name = os.environ.get("BENCH", "")
    if name not in measure.EFFORTS:
        sys.exit(f"BENCH is {name!r}: set it to quick, or leave it unset.")
    quick = bool(name)
    try:
        figures, valgrind = run(measure.EFFORTS[name])
    except (PreparationError, ComparisonError, PostgresError) as error:
        sys.exit(str(error))
    markdown = report.markdown(figures, machine(valgrind), quick=quick)
    print(f"\n{markdown}\n")
    if not quick:
        (FOLDER / "RESULTS.md").write_text(markdown)
        (FOLDER / "results.svg").write_text(report.picture(figures))
        write_block("README.md", "make bench", report.overview(figures))
        (CACHE / "figures.json").write_text(
            json.dumps([[*key, value] for key, value in figures.items()])
        )
        print("Wrote bench/RESULTS.md, bench/results.svg and the benchmark sentence of README.md.")
    print(report.summary(figures))


def run(effort: measure.Effort) -> tuple[measure.Figures, str | None]:
    """Take all measurements; return the figures and the version of valgrind, if it is available.

    Raises PreparationError, ComparisonError or PostgresError.
    """
    progress = measure.print_progress()
    progress("preparing")
    prepare((*IMPLEMENTATIONS, EXPERT))
    valgrind = valgrind_version()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        progress("starting PostgreSQL and inserting the tasks")
        with workload.database(Path(folder) / "postgres", effort.sizes) as urls:
            events = Path(folder) / "events.json"
            events.write_text(json.dumps(workload.events(urls.admin, effort.sizes)))
            bench = measure.Bench(urls, events, effort, progress)
            for implementation in IMPLEMENTATIONS if effort is measure.FULL else ():
                unzipped, zipped = sizes(implementation)
                bench.record("size", implementation, unzipped)
                bench.record("zipped", implementation, zipped)
            measure.measure_warm(bench)
            measure.measure_lifetimes(bench)
            measure.measure_cold_starts(bench)
            servers.measure_servers(bench)
            if valgrind:
                measure.count_instructions(bench)
    progress("done")
    return bench.figures, valgrind


def machine(valgrind: str | None) -> str:
    """Describe the machine of the run, without its name."""
    return ", ".join(
        filter(
            None,
            [
                f"Python {platform.python_version()}",
                f"{os.cpu_count()} processors, {platform.machine()}",
                valgrind,
            ],
        )
    )


if __name__ == "__main__":
    main()
