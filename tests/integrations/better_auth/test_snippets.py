"""The documentation shows the tested TypeScript files, and they compile."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.integrations.better_auth.servers import HERE, MCP, install_example, install_packages
from tests.integrations.better_auth.snippets import COPY, DOCUMENTS, ROOT, with_files


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_show_the_tested_files(document: Path) -> None:
    text = document.read_text()
    assert text == with_files(text), "Run: python -m tests.integrations.better_auth.snippets"


def test_every_frontend_file_is_shown() -> None:
    shown = {copy["path"] for document in DOCUMENTS for copy in COPY.finditer(document.read_text())}
    folders = (
        HERE / "frontend",
        MCP / "frontend",
        ROOT / "tests" / "integrations" / "client" / "lib",
    )
    files = {
        path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*.ts")
    }
    assert {path for path in shown if not path.startswith("examples/nextjs/")} == files


def test_files_that_shown_files_import_are_shown() -> None:
    text = "".join(document.read_text() for document in DOCUMENTS)
    shown = {Path(copy["path"]).with_suffix("").name for copy in COPY.finditer(text)}
    imported = {Path(name).name for name in re.findall(r' from "(\.[^"]+)"', text)}
    assert imported - shown == {"client", "client.gen", "openapi"}, "These two are generated"


def test_documents_show_no_other_typescript() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"```(ts|js|tsx|jsx)\b", COPY.sub("", document.read_text()))


@pytest.mark.parametrize("project", [HERE, MCP], ids=lambda folder: folder.name)
def test_files_compile_with_strict_typescript(project: Path) -> None:
    install_packages()
    install_packages(project)
    install_example()
    command = ["node", "node_modules/typescript/bin/tsc", "--project", str(project)]
    checked = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
