"""Runs the commands of docs/recovery.md, as an operator would type them."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dev import postgres
from tests.integrations.client.documents import Block, blocks

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "recovery.md").read_text()
TIME, USER = "2026-11-23T02:30Z", "the-sub-of-their-tokens"


def sections() -> dict[str, list[Block]]:
    """The code blocks under each heading."""
    parts = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)
    # The blocks of a list are indented.
    return {
        heading: blocks(re.sub(r"^   (?=\S| )", "", text, flags=re.MULTILINE))
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def run(block: Block, folder: Path, replace: Mapping[str, str], **variables: str) -> str:
    """Run a block in this folder, with `replace` in place of the page's examples.

    Returns its output, and fails if the block fails.
    """
    done = attempt(block, folder, replace, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def attempt(
    block: Block, folder: Path, replace: Mapping[str, str], **variables: str
) -> subprocess.CompletedProcess[str]:
    text = block.text
    for example, value in replace.items():
        assert example in text, f"{example} is not in\n{text}"
        text = text.replace(example, value)
    programs = postgres.find_program("psql").parent
    # A recipe that needs no installation.
    make = f'make() {{ command make --silent -C "{ROOT}" --assume-old=.venv/ready "$@"; }}\n'
    command = {
        "sh": ["bash", "-c", f"set -euo pipefail\n{make}{text}"],
        "sql": ["psql", "--no-psqlrc", "-Atv", "ON_ERROR_STOP=1", "-c", text],
    }[block.kind]
    if block.kind == "sql":
        command += [variables["DATABASE_URL_UNPOOLED"]]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": f"{programs}:{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
