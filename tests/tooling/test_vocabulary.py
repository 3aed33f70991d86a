"""The vocabulary check reports each banned word with its position and a replacement."""

import subprocess
from pathlib import Path

from dev.vocabulary import REPLACEMENTS, findings


def test_each_banned_word_is_reported_with_its_position_and_a_replacement(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("A plain line.\nWhoever calls once more is told so.\n")
    (tmp_path / "module.py").write_text('"""Makes preflights; knows no route."""\n')
    (tmp_path / "untracked.md").write_text("whoever\n")
    (tmp_path / "image.png").write_bytes(b"whoever\xff")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "page.md", "module.py", "image.png"], cwd=tmp_path, check=True)
    assert [line.rpartition(": ")[0] for line in findings(tmp_path)] == [
        "module.py:1: knows no",
        "page.md:2: Whoever",
        "page.md:2: once more",
        "page.md:2: is told",
    ]
    assert findings(tmp_path)[2] == "page.md:2: once more: again"


def test_no_replacement_is_banned_itself(tmp_path: Path) -> None:
    (tmp_path / "words.md").write_text("\n".join(REPLACEMENTS.values()))
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "words.md"], cwd=tmp_path, check=True)
    assert findings(tmp_path) == []
