"""`make deploy-vercel`: checks a build, migrates the database, deploys, and runs the smoke test."""

import os
import shutil
import subprocess
import sys

from dev.deploy import vercel_build
from dev.deploy.vercel_build import CACHE, CLI, ROOT

UPLOAD = CACHE / "upload"


def main() -> int:
    """Deploy a preview, or production where PRODUCTION=1; return the exit status."""
    production = os.environ.get("PRODUCTION") == "1"
    link = ROOT / ".vercel" / "project.json"
    # The CLI would otherwise create a project under a name of its own choice.
    if not link.exists() and "VERCEL_PROJECT_ID" not in os.environ:
        print("Link this folder to a Vercel project first: npx vercel link.", file=sys.stderr)
        return 1
    if vercel_build.main():
        return 1
    if os.environ.get("DATABASE_URL_UNPOOLED"):
        if subprocess.run([sys.executable, "-m", "migrations"], cwd=ROOT, check=False).returncode:
            print("The migrations failed; nothing was deployed.", file=sys.stderr)
            return 1
    else:
        print("DATABASE_URL_UNPOOLED is not set: migrations are skipped.", file=sys.stderr)
    # The CLI would also upload untracked files, so it gets a folder with tracked files only.
    shutil.rmtree(UPLOAD, ignore_errors=True)
    vercel_build.copy_tracked_files(ROOT, UPLOAD)
    if link.exists():
        (UPLOAD / ".vercel").mkdir()
        shutil.copyfile(link, UPLOAD / ".vercel" / link.name)
    environment = os.environ | {"VERCEL_TELEMETRY_DISABLED": "1"}
    command = [str(CLI), "deploy", "--yes", *(["--prod"] if production else [])]
    deployed = subprocess.run(
        command, cwd=UPLOAD, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if deployed.returncode:
        print("Nothing was deployed: see the message of the Vercel CLI above.", file=sys.stderr)
        return deployed.returncode
    url = deployed.stdout.strip().splitlines()[-1]
    print(f"{url}\nRunning the smoke test ...", flush=True)
    return subprocess.run(
        [sys.executable, "-m", "dev.smoke", url], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
