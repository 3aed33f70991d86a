"""Reads the targets of the Makefile, and those that a command names."""

import re

from dev.serve import ROOT

TARGETS = set(re.findall(r"^([\w./-]+):(?!=)", (ROOT / "Makefile").read_text(), re.M)) - {".PHONY"}


def make_targets(command: str) -> list[str]:
    """Return the targets of a make command, without its variables."""
    words = command.split()
    if words[:1] != ["make"]:
        return []
    return [word for word in words[1:] if "=" not in word]
