"""A copy of the working tree to change and break, with the packages that are installed already;
knows how CONTRIBUTING.md shows a change.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dev.deploy.sources import tracked_files, untracked_files

ROOT = Path(__file__).parents[3]
INSTALLED = (".venv", "node_modules")
# The newest that make compares with: what is installed is never made again through a copy.
LONG_AGO = 0.0


@dataclass(frozen=True)
class WorkingCopy:
    """A folder with every file that git knows, or would after `git add`."""

    root: Path

    def run(self, *command: str, **variables: str) -> str:
        """Run a command in the copy, which must go well. Gives what it said."""
        code, said = self.attempt(*command, **variables)
        assert code == 0, f"{command} ended with {code}:\n{said}"
        return said

    def attempt(self, *command: str, **variables: str) -> tuple[int, str]:
        """Run a command in the copy. Gives its exit code and what it said, errors included."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def environment(self, **variables: str) -> dict[str, str]:
        """The variables of a new terminal in the copy: nothing that leads back into this tree."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in {"PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
            and not name.startswith("PYTEST_")
        }
        return inherited | variables

    def replace(self, name: str, old: str, new: str) -> None:
        """Put `new` where `old` stands once."""
        file = self.root / name
        text = file.read_text()
        assert text.count(old) == 1, f"{name} has {text.count(old)} times:\n{old}"
        file.write_text(text.replace(old, new))


def copy_tree(root: Path, *, installed: tuple[str, ...] = INSTALLED) -> WorkingCopy:
    """Copy the working tree to `root`, a git repository of its own, with what is `installed`."""
    for name in [*tracked_files(ROOT), *untracked_files(ROOT)]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / name)
        os.utime(root / name, (LONG_AGO, LONG_AGO))
    copy = WorkingCopy(root)
    copy.run("git", "init", "--quiet")
    copy.run("git", "add", "--all")
    for name in installed:
        if (ROOT / name).exists():
            (root / name).symlink_to(ROOT / name)
    return copy


def apply_blocks(copy: WorkingCopy, page: str, **variables: str) -> list[str]:
    """Do what the blocks of `page` say, in their order. Gives the names of the files it changed.

    What a block is for stands in the paragraph before it: a new file, the end of a file, or, for a
    diff, the file that the last such paragraph named. Blocks of sh are run, with these variables.
    """
    changed, file = [], ""
    for kind, before, text in blocks(page):
        if kind == "sh":
            for command in text.splitlines():
                copy.run("sh", "-c", command, **variables)
            continue
        if named := re.search(r"(New file|At the end of|In) `([^`]+)`", before):
            how, file = named[1], named[2]
        target = copy.root / file
        if kind == "diff":
            copy.replace(file, _side(text, "-"), _side(text, "+"))
        elif how == "New file":
            assert not target.exists(), f"{file} is no new file"
            target.write_text(text)
        else:
            blank = "\n\n" if file.endswith(".py") else ""
            target.write_text(f"{target.read_text()}{blank}{text}")
        changed.append(file)
    return changed


def blocks(page: str) -> list[tuple[str, str, str]]:
    """The fenced blocks of a page: kind, the paragraph before it, text."""
    found = []
    before = ""
    for part in re.split(r"(^```\w*\n.*?^```$)", page, flags=re.M | re.S):
        if fenced := re.fullmatch(r"```(\w*)\n(.*?)```", part, re.S):
            found.append((fenced[1], before, fenced[2]))
        else:
            before = " ".join(part.strip().rpartition("\n\n")[2].split())
    return found


def _side(diff: str, sign: str) -> str:
    lines = diff.splitlines(keepends=True)
    return "".join(line[1:] for line in lines if line[0] in (" ", sign))
