"""`make deploy-vercel`: what it refuses and what it uploads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.deploy import vercel
from dev.serve import ROOT

CLI = """find . -type f | sort > "$UPLOADED"
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


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A linked folder, a repository, with one tracked file and one that is not."""
    root = tmp_path / "root"
    for name in ("lib/errors.py", "lib/prod-key.pem", ".vercel/project.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps({"projectId": "p"}))
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run(["git", "add", "lib/errors.py"], cwd=root, check=True)
    return root


DEPLOY = """import sys
from pathlib import Path
from dev.deploy import vercel
vercel.ROOT, vercel.CLI, vercel.UPLOAD = map(Path, sys.argv[1:])
vercel.vercel_build.main = lambda: 0
sys.exit(vercel.main())"""


def deploy(root: Path, cli: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Deploy with a program in place of the CLI. Without settings, the smoke test fails."""
    program = root.parent / "vercel"
    program.write_text(f"#!/bin/sh\n{cli}")
    program.chmod(0o755)
    return subprocess.run(
        [sys.executable, "-c", DEPLOY, root, program, root.parent / "upload"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_only_tracked_files_are_uploaded(linked: Path, tmp_path: Path) -> None:
    uploaded = tmp_path / "uploaded"
    assert deploy(linked, CLI, UPLOADED=str(uploaded)).returncode != 0
    assert uploaded.read_text().splitlines() == [
        "./.vercel/project.json",
        "./lib/errors.py",
        '{"projectId": "p"}',
    ]


@pytest.mark.parametrize(
    ("cli", "production", "ending"),
    [
        ("exit 1", "1", "see the message of the Vercel CLI above.\n"),
        ("exit 0", "1", "see the message of the Vercel CLI above.\n"),
        ("kill -INT $PPID; sleep 5", "1", "there before you run the command again.\n"),
        (
            "echo https://x.example",
            "1",
            "choose the previous one\n  npx vercel rollback https://...\n",
        ),
        ("echo https://x.example", "", "migrations are skipped.\n"),
    ],
)
def test_a_deployment_that_stops_half_way_says_what_to_do(
    linked: Path, cli: str, production: str, ending: str
) -> None:
    done = deploy(linked, cli, PRODUCTION=production)
    assert done.returncode != 0
    assert done.stderr.endswith(ending), done.stderr
    assert "Traceback" not in done.stderr
