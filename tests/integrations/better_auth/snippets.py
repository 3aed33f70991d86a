"""Copies tested files into the documentation, so that nothing is retyped; knows no contents.

    python -m tests.integrations.better_auth.snippets    updates the marked places of DOCUMENTS

A place is marked by `<!-- file: path -->` and `<!-- end of file -->`, each on a line of its own.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "docs" / name for name in ("api.md", "better-auth.md", "client.md")]
PLACE = re.compile(r"<!-- file: (?P<path>\S+) -->\n.*?<!-- end of file -->\n", re.DOTALL)


def with_files(document: str) -> str:
    """The document, each marked place filled with the file it names."""

    def fill(place: re.Match[str]) -> str:
        path = place["path"]
        text = (ROOT / path).read_text()
        language = Path(path).suffix[1:]
        return f"<!-- file: {path} -->\n```{language}\n{text}```\n<!-- end of file -->\n"

    return PLACE.sub(fill, document)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(with_files(document.read_text()))
