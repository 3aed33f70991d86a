"""What the README says of speed is what the last full run of `make bench` found."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_sentence_of_the_readme_is_of_the_last_run() -> None:
    readme = (ROOT / "README.md").read_text()
    sentence = readme.partition("<!-- make bench: -->\n")[2].partition("\n<!-- :make bench -->")[0]
    results = (ROOT / "bench" / "RESULTS.md").read_text()
    assert f"## Summary\n\n{sentence}\n" in results
    # Each ratio of the sentence stands in the table below it.
    table = results.partition("## Summary\n")[2].partition("\n## ")[0]
    ratios = re.findall(r"\d+\.\d\d", sentence)
    assert len(ratios) == 6
    assert [ratio for ratio in ratios if f"({ratio})" not in table] == []
