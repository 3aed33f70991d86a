"""`make deploy-vercel`: what it refuses and what it uploads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.deploy import vercel
from dev.serve import ROOT

CLI = """#!/bin/sh
find . -type f | sort > "$UPLOADED"
cat .vercel/project.json >> "$UPLOADED"
echo https://preview.example.com
"""


def test_a_folder_that_is_not_linked_is_refused_before_anything_is_built() -> None:
    environment = {name: value for name, value in os.environ.items() if "VERCEL" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "dev.deploy.vercel"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Link this folder to a Vercel project first: npx vercel link.\n"


def test_only_tracked_files_are_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, uploaded = tmp_path / "root", tmp_path / "uploaded"
    for name in ("lib/errors.py", "lib/prod-key.pem", ".vercel/project.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps({"projectId": "p"}))
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run(["git", "add", "lib/errors.py"], cwd=root, check=True)
    cli = tmp_path / "vercel"
    cli.write_text(CLI)
    cli.chmod(0o755)
    monkeypatch.setattr(vercel, "ROOT", root)
    monkeypatch.setattr(vercel, "CLI", cli)
    monkeypatch.setattr(vercel, "UPLOAD", tmp_path / "upload")
    monkeypatch.setattr(vercel.vercel_build, "main", lambda: 0)
    monkeypatch.setenv("UPLOADED", str(uploaded))
    monkeypatch.delenv("DATABASE_URL_UNPOOLED", raising=False)
    # The smoke test cannot run here: there is no dev.smoke in this root.
    assert vercel.main() != 0
    assert uploaded.read_text().splitlines() == [
        "./.vercel/project.json",
        "./lib/errors.py",
        '{"projectId": "p"}',
    ]
