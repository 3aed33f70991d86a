"""What the README says of speed is what the last full run of `make bench` found."""

from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_table_of_the_readme_is_of_the_last_run() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("<!-- make bench: -->\n")[2].partition("\n<!-- :make bench -->")[0]
    assert "| **this API** |" in table
    assert f"## In short\n\n{table}\n" in (ROOT / "bench" / "RESULTS.md").read_text()
