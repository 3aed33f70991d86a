"""The targets that make has, and those that a command names."""

import re

from dev.serve import ROOT

MAKEFILES = (ROOT / "Makefile", *sorted((ROOT / "dev").glob("*.mk")))
TARGETS = {
    target
    for file in MAKEFILES
    for target in re.findall(r"^([\w./-]+):", file.read_text(), re.M)
    if target != ".PHONY"
}


def make_targets(command: str) -> list[str]:
    """The targets of a make command, its variables left out."""
    words = command.split()
    if words[:1] != ["make"]:
        return []
    return [word for word in words[1:] if "=" not in word]
