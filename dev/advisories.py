"""Known holes by a copy of the PyPA advisory database (github.com/pypa/advisory-database), for
where the index gives no advisories; asks nobody.

The form of an advisory and what it says of a version: https://ossf.github.io/osv-schema/
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from packaging.version import Version

from dev.deploy.shipped_packages import Package


class NoAdvisories(Exception):
    """The folder is no copy of the database, or one that cannot be read: one sentence says so."""


def known_holes(folder: Path, packages: Sequence[Package]) -> tuple[list[str], str]:
    """One line for each hole, and what the copy can know: its age, and how many packages it names.

    One that it does not name may have no advisory, or the copy may lack it. Raises NoAdvisories.
    """
    days = [str(advisory["modified"])[:10] for advisory in _advisories(folder, "*")]
    if not days:
        raise NoAdvisories(f"There are no advisories in {folder}: it must hold vulns/.")
    found = [
        f"{package.name} {package.version}: {' = '.join([hole['id'], *hole.get('aliases', [])])}"
        for package in packages
        for hole in _advisories(folder, package.name)
        if not hole.get("withdrawn") and is_affected(Version(package.version), hole, package.name)
    ]
    named = sum(any(_advisories(folder, package.name)) for package in packages)
    return found, f"advisories up to {max(days)}, which name {named} of them"


def _advisories(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(f"vulns/{name}/*.yaml")):
        advisory = yaml.load(path.read_text(), yaml.CSafeLoader)
        if not {"id", "modified", "affected"} <= advisory.keys():
            raise NoAdvisories(f"{path} is no advisory: get a new copy of the database.")
        yield advisory


def is_affected(version: Version, advisory: dict[str, Any], name: str) -> bool:
    """Whether an advisory says that this version of a package has the hole."""
    for affected in advisory["affected"]:
        if affected["package"]["name"] != name:
            continue
        if str(version) in map(str, affected.get("versions", ())):
            return True
        ranges = affected.get("ranges", ())
        if any(_contains(each["events"], version) for each in ranges if each["type"] != "GIT"):
            return True
    return False


def _contains(events: Sequence[dict[str, Any]], version: Version) -> bool:
    """Whether a version lies between `introduced` and `fixed` or `last_affected`."""
    inside = False
    for event in events:
        [(kind, at)] = event.items()
        if kind == "introduced":
            inside |= version >= Version(str(at))
        elif kind == "fixed":
            inside &= version < Version(str(at))
        elif kind == "last_affected":
            inside &= version <= Version(str(at))
    return inside
