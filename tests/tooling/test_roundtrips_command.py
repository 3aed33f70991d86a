"""`make roundtrips` prints the table of docs/database.md."""

import subprocess

from dev.serve import ROOT


def test_the_table_has_the_round_trips_of_this_api_and_of_a_tutorial() -> None:
    command = ["make", "roundtrips"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    for row in (
        ["GET", "/tasks", "1", "3"],
        ["POST", "/tasks", "1", "6"],
        ["GET", "/tasks/{id}", "1", "3"],
        ["PUT", "/tasks/{id}", "1", "7"],
        ["PATCH", "/tasks/{id}/complete", "1", "7"],
        ["DELETE", "/tasks/{id}", "1", "4"],
        ["the", "first", "request", "of", "a", "process", "5", "17"],
    ):
        assert row in rows, done.stdout
