"""`make bench`: ours beside the floor and the field, in one run, on one database.

BENCH=quick takes two minutes and writes nothing; a full run renews bench/RESULTS.md,
bench/results.svg and the table of README.md.
"""

import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from bench import measure, report, workload
from bench.partners import PARTNERS
from bench.prepare import CACHE, CannotPrepare, prepare, sizes, valgrind_version
from bench.processes import Unfair
from dev.postgres import PostgresError

FOLDER = Path(__file__).parent


def main() -> None:
    name = os.environ.get("BENCH", "")
    if name not in measure.EFFORTS:
        sys.exit(f"BENCH is {name!r}: leave it out, or say quick.")
    quick = bool(name)
    try:
        figures, valgrind = run(measure.EFFORTS[name])
    except (CannotPrepare, Unfair, PostgresError) as error:
        sys.exit(str(error))
    markdown = report.markdown(figures, machine(valgrind), quick=quick)
    print(f"\n{markdown}\n")
    if not quick:
        (FOLDER / "RESULTS.md").write_text(markdown)
        (FOLDER / "results.svg").write_text(report.picture(figures))
        show_in(FOLDER.parent / "README.md", report.overview(figures))
        (CACHE / "figures.json").write_text(
            json.dumps([[*key, value] for key, value in figures.items()])
        )
        print("Written: bench/RESULTS.md, bench/results.svg and the table of README.md")
    print(report.summary(figures))


def show_in(page: Path, table: str) -> None:
    """Put a table between the marks of a page."""
    before, begin, rest = page.read_text().partition("<!-- make bench: -->\n")
    _, end, after = rest.partition("\n<!-- :make bench -->")
    if not (begin and end):
        sys.exit(f"{page.name} has lost the marks that its table stands between.")
    page.write_text(f"{before}{begin}{table}{end}{after}")


def run(effort: measure.Effort) -> tuple[measure.Figures, str | None]:
    """All measurements. Raises CannotPrepare, Unfair or PostgresError."""
    progress = measure.started_at()
    progress("preparing")
    prepare(PARTNERS)
    valgrind = valgrind_version()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        progress("starting PostgreSQL and filling it")
        with workload.database(Path(folder) / "postgres", effort.sizes) as urls:
            events = Path(folder) / "events.json"
            events.write_text(json.dumps(workload.events(urls.admin, effort.sizes)))
            bench = measure.Bench(urls, events, effort, progress)
            for partner in PARTNERS if effort is measure.FULL else ():
                whole, zipped = sizes(partner)
                bench.note("size", partner, whole)
                bench.note("zipped", partner, zipped)
            measure.measure_warm(bench)
            measure.measure_lives(bench)
            measure.measure_cold_starts(bench)
            measure.measure_servers(bench)
            if valgrind:
                measure.count_instructions(bench)
    progress("done")
    return bench.figures, valgrind


def machine(valgrind: str | None) -> str:
    """What the figures were made on, without naming it."""
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
