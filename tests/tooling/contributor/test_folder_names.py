"""The servers run from a folder whose name contains spaces and other characters of the shell."""

import json
import shutil
import urllib.request
from pathlib import Path

import pytest

from dev.postgres import free_port
from tests.tooling.contributor.terminal import typed
from tests.tooling.contributor.working_copy import ROOT, copy_tree


@pytest.mark.parametrize("target", ["dev", "offline"])
def test_a_server_runs_from_a_folder_with_special_characters(tmp_path: Path, target: str) -> None:
    copy = copy_tree(tmp_path / "it's a $folder (copy)", installed=(".venv",))
    modules = copy.root / "node_modules"
    modules.mkdir()
    for entry in (ROOT / "node_modules").iterdir():
        # Node looks for its files beside the real path of a module.
        if entry.name == "serverless-offline":
            shutil.copytree(entry, modules / entry.name, symlinks=True)
        else:
            (modules / entry.name).symlink_to(entry)
    port = free_port()
    environment = copy.environment(PORT=str(port))
    with typed("make", target, folder=copy.root, environment=environment) as server:
        server.wait_for("Ctrl-C")
        url = f"http://127.0.0.1:{port}/api/health"
        with urllib.request.urlopen(url, timeout=60) as response:
            assert json.load(response) == {"status": "ok"}
