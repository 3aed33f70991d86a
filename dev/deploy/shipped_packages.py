"""What a deployment may hold: the pins of requirements.txt, and those of the optional packages;
knows no registry.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIN = re.compile(
    r"^(?P<name>[a-z0-9.-]+)==(?P<version>[^\s\\;]+)(?P<marker>[^\n\\]*)\\?\n"
    r"(?P<hashes>(?:    --hash=.*\n)*)(?P<via>(?:    #.*\n)*)",
    re.M,
)


@dataclass(frozen=True)
class Package:
    """A pinned package: the SHA-256 of each of its files, and the packages that want it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    wanted_by: frozenset[str]


def shipped_packages() -> list[Package]:
    """Every package that `make package` or Vercel's builder may put beside the functions."""
    runtime = {package.name: package for package in pinned("requirements.txt")}
    names, others = set(_extras()), pinned("requirements-dev.txt")
    for _ in others:  # as often as a chain of wishes may be long
        names |= {package.name for package in others if package.wanted_by & names}
    extras = {package.name: package for package in others if package.name in names}
    return sorted((extras | runtime).values(), key=lambda package: package.name)


def pinned(requirements: str) -> list[Package]:
    """The pins of a requirements file that `make lock` wrote, without those of Windows alone."""
    return [
        Package(
            name=pin["name"],
            version=pin["version"],
            hashes=tuple(re.findall(r"sha256:([0-9a-f]{64})", pin["hashes"])),
            wanted_by=frozenset(re.findall(r"#\s+(?:via )?([a-z0-9.-]+)", pin["via"])) - {"via"},
        )
        for pin in PIN.finditer((ROOT / requirements).read_text())
        if "win32" not in pin["marker"]
    ]


def _extras() -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirements in project["optional-dependencies"].values():
        for requirement in requirements:
            yield re.split(r"[^A-Za-z0-9.-]", requirement)[0]
