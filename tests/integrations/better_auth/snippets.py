"""Copies tested files into the documentation.

    python -m tests.integrations.better_auth.snippets    updates the copies in DOCUMENTS

A copy is between the lines `<!-- file: path -->` and `<!-- end of file -->`.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "docs" / name for name in ("api.md", "better-auth.md", "client.md")]
COPY = re.compile(r"<!-- file: (?P<path>\S+) -->\n.*?<!-- end of file -->\n", re.DOTALL)


def with_files(document: str) -> str:
    """Return the document with every copy up to date."""

    def update(copy: re.Match[str]) -> str:
        path = copy["path"]
        text = (ROOT / path).read_text()
        language = Path(path).suffix[1:]
        return f"<!-- file: {path} -->\n```{language}\n{text}```\n<!-- end of file -->\n"

    return COPY.sub(update, document)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(with_files(document.read_text()))
