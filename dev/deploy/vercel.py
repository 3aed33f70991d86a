"""`make deploy-vercel`: checks a build, migrates the database, deploys, and runs the smoke test."""

import os
import shutil
import subprocess
import sys

from dev.deploy import vercel_build
from dev.deploy.databases import INTERRUPTED, is_same_database
from dev.deploy.vercel_build import CACHE, CLI, ROOT

UPLOAD = CACHE / "upload"
DIRECT_URL = "DATABASE_URL_UNPOOLED"
PREVIEW_URL = f"PREVIEW_{DIRECT_URL}"


class DatabaseRefused(Exception):
    """The migrations would change the wrong database. The text says what to do."""


def main() -> int:
    """Deploy a preview, or production where PRODUCTION=1; return the exit status."""
    try:
        return deploy(production=os.environ.get("PRODUCTION") == "1")
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


def deploy(*, production: bool) -> int:
    """Run all steps in order; return the exit status."""
    link = ROOT / ".vercel" / "project.json"
    # The CLI would otherwise create a project under a name of its own choice.
    if not link.exists() and "VERCEL_PROJECT_ID" not in os.environ:
        print("Link this folder to a Vercel project first: npx vercel link.", file=sys.stderr)
        return 1
    try:
        database = url_to_migrate(production=production)
    except DatabaseRefused as error:
        print(error, file=sys.stderr)
        return 1
    if vercel_build.main():
        return 1
    if database:
        migrating = os.environ | {DIRECT_URL: database}
        command = [sys.executable, "-m", "migrations"]
        if subprocess.run(command, cwd=ROOT, env=migrating, check=False).returncode:
            print("The migrations failed; nothing was deployed.", file=sys.stderr)
            return 1
    else:
        name = DIRECT_URL if production else PREVIEW_URL
        print(f"{name} is not set: migrations are skipped.", file=sys.stderr)
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
    if deployed.returncode or not (lines := deployed.stdout.split()):
        applied = " The migrations stay applied: the previous code works with them."
        print(
            "Nothing was deployed: see the message of the Vercel CLI above."
            f"{applied if database else ''}",
            file=sys.stderr,
        )
        return deployed.returncode or 1
    url = lines[-1]
    print(f"{url}\nRunning the smoke test ...", flush=True)
    smoke = [sys.executable, "-m", "dev.smoke", url]
    failed = subprocess.run(smoke, cwd=ROOT, check=False).returncode
    if failed and production:
        print(
            f"The smoke test of {url} failed, and the new version is live unless an earlier "
            "rollback still holds. To roll back, list the deployments\n  npx vercel list --prod\n"
            "and choose the previous one\n  npx vercel rollback https://...",
            file=sys.stderr,
        )
    return failed


def url_to_migrate(*, production: bool) -> str | None:
    """Return the direct URL of the database that this deployment uses, None to migrate nothing.

    A preview never uses DATABASE_URL_UNPOOLED, which names the database of production. Vercel does
    not tell the URL of a preview: it adds the branches of Neon's integration while it deploys.
    Raises DatabaseRefused.
    """
    direct = os.environ.get(DIRECT_URL)
    if production:
        return direct
    preview = os.environ.get(PREVIEW_URL)
    for name in (DIRECT_URL, "DATABASE_URL"):
        other = os.environ.get(name)
        try:
            is_refused = bool(preview and other) and is_same_database(preview, other)
        except ValueError as error:
            raise DatabaseRefused(f"{PREVIEW_URL} or {name} {error}.") from None
        if is_refused:
            raise DatabaseRefused(
                f"{PREVIEW_URL} and {name} name the same database: a preview must not migrate the "
                "database of production. Give previews a branch of their own (docs/vercel.md)."
            )
    return preview


if __name__ == "__main__":
    raise SystemExit(main())
