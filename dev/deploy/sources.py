"""Lists the files that may be deployed: those that git tracks, and no others."""

import subprocess
from pathlib import Path


class SourcesError(RuntimeError):
    """The files to deploy cannot be determined. The text is one sentence that says what to do."""


def tracked_files(root: Path) -> list[str]:
    """Return the files that git tracks, as sorted paths relative to `root`.

    Raises SourcesError where git is missing or `root` is not in a repository.
    """
    return _git_files(root, "--cached")


def untracked_files(root: Path) -> list[str]:
    """Return the files that git neither tracks nor ignores. Raises SourcesError."""
    return _git_files(root, "--others", "--exclude-standard")


def deployable_files(root: Path, *folders: str) -> list[str]:
    """Return the tracked files in these folders.

    Raises SourcesError if one of the folders holds a file that git neither tracks nor ignores: it
    is either a module that the functions need, or something that must not be published.
    """
    beginnings = tuple(f"{folder}/" for folder in folders)
    if new := [name for name in untracked_files(root) if name.startswith(beginnings)]:
        raise SourcesError(
            "Only files tracked by git are deployed: run git add for these files, or delete them: "
            + ", ".join(new)
        )
    return [name for name in tracked_files(root) if name.startswith(beginnings)]


def _git_files(root: Path, *options: str) -> list[str]:
    command = ["git", "ls-files", "-z", *options]
    try:
        listing = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        raise SourcesError(
            "Only files tracked by git are deployed, and git cannot list them: run this in a clone "
            f"of the repository ({reason.strip().splitlines()[0]})."
        ) from None
    names = set(listing.stdout.split("\0"))
    return sorted(name for name in names if name and (root / name).is_file())
