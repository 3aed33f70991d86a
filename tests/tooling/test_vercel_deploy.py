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


PRODUCTION = "postgresql://owner:x@ep-calm-1.us-east-1.aws.neon.tech/neondb"
BRANCH = "postgresql://owner:x@ep-wild-2.us-east-1.aws.neon.tech/neondb"


@pytest.mark.parametrize(
    "preview",
    [None, BRANCH, PRODUCTION.replace("/neondb", "/other")],
)
def test_a_preview_migrates_its_own_database_and_never_that_of_production(
    preview: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL_UNPOOLED", PRODUCTION)
    if preview:
        monkeypatch.setenv("PREVIEW_DATABASE_URL_UNPOOLED", preview)
    assert vercel.url_to_migrate(production=False) == preview
    assert vercel.url_to_migrate(production=True) == PRODUCTION


@pytest.mark.parametrize(
    "same",
    [
        PRODUCTION,
        PRODUCTION.replace("ep-calm-1.", "ep-calm-1-pooler."),
        PRODUCTION.replace("owner:x@ep-calm-1", "other:y@EP-calm-1"),
        PRODUCTION.replace("postgresql://", "postgres://") + "?sslmode=require&pgbouncer=true",
        PRODUCTION.replace(".tech/", ".tech:5432/"),
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL_UNPOOLED", "DATABASE_URL"])
def test_a_preview_that_would_migrate_the_database_of_production_is_refused(
    name: str, same: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VERCEL_PROJECT_ID", "p")
    monkeypatch.setenv(name, PRODUCTION)
    monkeypatch.setenv("PREVIEW_DATABASE_URL_UNPOOLED", same)
    monkeypatch.setattr(vercel.vercel_build, "main", lambda: pytest.fail("It was built."))
    assert vercel.main() == 1
    assert "a preview must not migrate the database of production" in capsys.readouterr().err


def test_a_url_that_cannot_be_compared_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL_UNPOOLED", PRODUCTION)
    monkeypatch.setenv("PREVIEW_DATABASE_URL_UNPOOLED", "postgresql://owner:se/cret@host/db")
    with pytest.raises(vercel.DatabaseRefused, match="percent-encode") as refused:
        vercel.url_to_migrate(production=False)
    assert "cret" not in str(refused.value)


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
