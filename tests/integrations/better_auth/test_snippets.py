"""What the documentation shows is what the tests run, and it is sound TypeScript."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.integrations.better_auth.servers import HERE, install_packages
from tests.integrations.better_auth.snippets import DOCUMENTS, PLACE, ROOT, with_files


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_show_the_tested_files(document: Path) -> None:
    text = document.read_text()
    assert text == with_files(text), "Run: python -m tests.integrations.better_auth.snippets"


def test_every_frontend_file_is_shown() -> None:
    shown = {
        place["path"] for document in DOCUMENTS for place in PLACE.finditer(document.read_text())
    }
    folders = (HERE / "frontend", ROOT / "tests" / "integrations" / "client" / "lib")
    files = {
        path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*.ts")
    }
    assert shown == files


def test_no_code_block_is_typed_by_hand_in_typescript() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"```(ts|js|tsx|jsx)\b", PLACE.sub("", document.read_text()))


def test_files_are_sound_in_the_strictest_typescript() -> None:
    install_packages()
    command = ["node", "node_modules/typescript/bin/tsc", "--project", "."]
    checked = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
