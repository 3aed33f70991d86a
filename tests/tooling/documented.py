"""The commands that README.md and CONTRIBUTING.md show, and those that the tests execute."""

import ast
import re
import shlex
from functools import cache

from dev.serve import ROOT
from tests.tooling.contributor.working_copy import contributing_section

PAGES = ("README.md", "CONTRIBUTING.md")
# The sections of CONTRIBUTING.md whose blocks tests apply and run.
RECIPES = ("Add a field to tasks", "Add an endpoint group")
FENCED = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
INLINE = re.compile(r"`(make(?: [^`]+)?)`")


@cache
def documented_commands() -> set[str]:
    """Every sh block, as single lines if all are make commands, and every inline `make ...`.

    `URL=...` abbreviates a value that the page shows elsewhere.
    """
    found: set[str] = set()
    for page in PAGES:
        text = (ROOT / page).read_text()
        for block in FENCED.findall(text):
            lines = block.splitlines()
            found |= set(lines) if all(line.startswith("make") for line in lines) else {block}
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
        found |= {" ".join(command.split()) for command in INLINE.findall(prose)}
    short = {command for command in found if command.endswith("=...")}
    full = found - short
    assert all(any(other.startswith(one[:-3]) for other in full) for one in short), short
    return full


def documented(command: str, **variables: str) -> list[str]:
    """The words of a command that a page shows; `variables` replace its make variables."""
    assert command in documented_commands(), f"No page shows {command}."
    words = shlex.split(command)
    for name, value in variables.items():
        [index] = [number for number, word in enumerate(words) if word.startswith(f"{name}=")]
        words[index] = f"{name}={value}"
    return words


def documented_script(beginning: str) -> str:
    """The only sh block that starts with this text."""
    [script] = [one for one in documented_commands() if "\n" in one and one.startswith(beginning)]
    return script


def executed_commands() -> set[str]:
    """The commands that tests take from the pages, and those of the recipes, which tests follow."""
    executed: set[str] = set()
    for file in sorted((ROOT / "tests/tooling/contributor").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(ast.Name("documented"), [ast.Constant(str(command))]):
                    executed.add(command)
                case ast.Call(ast.Name("documented_script"), [ast.Constant(str(beginning))]):
                    executed.add(documented_script(beginning))
    for recipe in RECIPES:
        for block in FENCED.findall(contributing_section(recipe)):
            executed |= set(block.splitlines())
    return executed
