"""Builds, checks and hands the sources to Vercel, migrations first."""

import os
import subprocess
import sys

from dev.deploy import vercel_build
from dev.deploy.vercel_build import CLI, ROOT


def main() -> int:
    """Deploy a preview, or production where PRODUCTION=1; return the exit status."""
    production = os.environ.get("PRODUCTION") == "1"
    linked = (ROOT / ".vercel" / "project.json").exists() or "VERCEL_PROJECT_ID" in os.environ
    # The command would otherwise make a new project under a name of its own choice.
    if not linked:
        print("Link this folder to a Vercel project first: npx vercel link.", file=sys.stderr)
        return 1
    if vercel_build.main():
        return 1
    if os.environ.get("DATABASE_URL_UNPOOLED"):
        if subprocess.run(
            ["make", "--no-print-directory", "migrate"], cwd=ROOT, check=False
        ).returncode:
            print("The migrations failed, so nothing was deployed.", file=sys.stderr)
            return 1
    else:
        print("DATABASE_URL_UNPOOLED is not set: no migration is applied.", file=sys.stderr)
    environment = os.environ | {"VERCEL_TELEMETRY_DISABLED": "1"}
    command = [str(CLI), "deploy", "--yes", *(["--prod"] if production else [])]
    deployed = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if deployed.returncode:
        print("Nothing was deployed: see the message of the Vercel command above.", file=sys.stderr)
        return deployed.returncode
    url = deployed.stdout.strip().splitlines()[-1]
    print(f"{url}\nTesting it ...", flush=True)
    return subprocess.run(
        [sys.executable, "-m", "dev.smoke", url], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
