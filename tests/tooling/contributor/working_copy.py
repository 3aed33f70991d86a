"""Copies of the working tree for tests, and the code blocks of CONTRIBUTING.md to apply to them."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dev.deploy.sources import tracked_files, untracked_files

ROOT = Path(__file__).parents[3]
INSTALLED = (".venv", "node_modules")
# The modification time of copied files: make never takes them for newer than what is installed.
LONG_AGO = 0.0


@dataclass(frozen=True)
class WorkingCopy:
    """A folder with every file that git tracks, or would track after `git add`."""

    root: Path

    def run(self, *command: str, **variables: str) -> str:
        """Run a command in the copy; returns its output. Raises AssertionError if it fails."""
        code, output = self.attempt(*command, **variables)
        assert code == 0, f"{command} ended with {code}:\n{output}"
        return output

    def attempt(self, *command: str, **variables: str) -> tuple[int, str]:
        """Run a command in the copy; returns its exit code, and its output with errors."""
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
        """The variables of a new terminal in the copy, without those that name this tree."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in {"PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
            and not name.startswith("PYTEST_")
        }
        return inherited | variables

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace `old`, which must occur once, by `new`."""
        file = self.root / name
        text = file.read_text()
        assert text.count(old) == 1, f"{name} contains {text.count(old)} times:\n{old}"
        file.write_text(text.replace(old, new))


def copy_tree(root: Path, *, installed: tuple[str, ...] = INSTALLED) -> WorkingCopy:
    """Copy the working tree to `root`, a new git repository, with links to `installed` folders."""
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


def contributing_section(heading: str) -> str:
    """A section of CONTRIBUTING.md."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    return page.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def apply_blocks(copy: WorkingCopy, page: str, **variables: str) -> list[str]:
    """Apply the code blocks of `page` in order; returns the names of the changed files.

    The paragraph before a block says where it belongs: in a new file or at the end of a file. A
    diff belongs to the file that was named last. Commands of sh blocks run with `variables`.
    """
    changed, file, position = [], "", ""
    for kind, before, text in blocks(page):
        if kind == "sh":
            for command in text.splitlines():
                copy.run("sh", "-c", command, **variables)
            continue
        if named := re.search(r"(New file|At the end of|In) `([^`]+)`", before):
            position, file = named[1], named[2]
        target = copy.root / file
        if kind == "diff":
            copy.replace(file, _side(text, "-"), _side(text, "+"))
        elif position == "New file":
            assert not target.exists(), f"{file} already exists"
            target.write_text(text)
        else:
            blank = "\n\n" if file.endswith(".py") else ""
            target.write_text(f"{target.read_text()}{blank}{text}")
        changed.append(file)
    return changed


def blocks(page: str) -> list[tuple[str, str, str]]:
    """The fenced blocks of a page, each as kind, paragraph before it, text."""
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
