"""Measures what growth costs, and writes the tables of docs/growth.md (`make growth`).

--simulate   also measure a million tasks, which takes a few minutes and 3 GB
--tables     only write the tables again, after a change of an assumption or a price
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.growth.measure import Figures, measure
from bench.growth.tables import PAGE, tables, write_page
from bench.processes import ComparisonError
from dev.postgres import PostgresError

FIGURES = Path(__file__).with_name("figures.json")
MEASURED_USERS = 500
SIMULATED_USERS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="make growth", description=__doc__)
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    figures: Figures = json.loads(FIGURES.read_text())
    runs = {} if arguments.tables else {"measured": MEASURED_USERS}
    if arguments.simulate:
        runs["simulated"] = SIMULATED_USERS
    for name, users in runs.items():
        try:
            figures[name] = _measure(users)
        except (ComparisonError, PostgresError) as error:
            sys.exit(str(error))
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    write_page(figures)
    print(*(f"{table}\n" for table in tables(figures).values()), sep="\n")
    print(f"Wrote the tables of {PAGE.name}.")


def _measure(users: int) -> Figures:
    def progress(step: str) -> None:
        print(f"{users:,} users: {step} ...", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        return measure(Path(folder) / "postgres", users, progress)


if __name__ == "__main__":
    main()
