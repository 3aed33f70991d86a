"""What is deployed has no known hole, as far as this can be known offline; and `make audit` takes
silence for no answer.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.version import Version

from dev.audit import NotAudited, holes
from dev.deploy.shipped_packages import ROOT, Package, pinned, shipped_packages
from dev.sbom import bill_of_materials

# The first version without the hole, and the advisory.
KNOWN_HOLES = [
    ("pyjwt", "2.10.1", "CVE-2024-53861: the issuer is compared in part"),
    ("pyjwt", "2.12.0", "CVE-2026-32597: unknown critical headers are accepted"),
    ("pyjwt", "2.13.0", "CVE-2026-48523, CVE-2026-48526"),
    ("pyjwt", "2.14.0", "CVE-2026-102268: a public key as HMAC secret; 102266, 102267, 101917"),
    ("pyjwt", "2.15.0", "CVE-2026-102275; PYSEC-2026-4140 to 4152 and 4183, but for 4146"),
    ("anyio", "4.14.2", "PYSEC-2026-4023, 4024, 4025"),
    ("starlette", "0.49.1", "CVE-2025-62727: Range headers cost quadratic time"),
    ("starlette", "1.0.1", "CVE-2026-48710: the Host header changes the path"),
    ("starlette", "1.3.0", "PYSEC-2026-248"),
    ("starlette", "1.3.1", "CVE-2026-54283: forms without limits"),
    ("cryptography", "46.0.5", "CVE-2026-26007"),
    ("cryptography", "49.0.0", "CVE-2026-34073, 39892, 69248, 69249"),
    ("cryptography", "50.0.0", "CVE-2026-69247"),
    ("fastapi", "0.109.1", "CVE-2024-24762: forms cost exponential time"),
    ("idna", "3.7", "CVE-2024-3651: long names cost quadratic time"),
    ("certifi", "2024.7.4", "CVE-2024-39689: a root that is trusted no more"),
    ("pydantic", "2.4.0", "CVE-2024-3772: addresses cost exponential time"),
]
# No version of these is without one.
NEVER = {"python-jose": "CVE-2026-85394", "ecdsa": "CVE-2024-23342"}


@pytest.mark.parametrize(("name", "floor", "advisory"), KNOWN_HOLES)
def test_what_is_shipped_is_newer_than_each_known_hole(
    name: str, floor: str, advisory: str
) -> None:
    [package] = [package for package in shipped_packages() if package.name == name]
    assert Version(package.version) >= Version(floor), advisory


def test_pyjwt_leaves_the_options_of_its_caller_alone() -> None:
    # PYSEC-2026-4146, which names no version without it: decode() wrote into them what a later call
    # with the same options then left unchecked.
    token = jwt.encode({"exp": 1}, "k" * 32)
    options: Any = {"verify_signature": False}
    jwt.decode(token, options=options)
    assert options == {"verify_signature": False}
    options["verify_signature"] = True
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(token, "k" * 32, algorithms=["HS256"], options=options)


def test_what_is_never_safe_is_neither_shipped_nor_used() -> None:
    used = pinned("requirements.txt") + pinned("requirements-dev.txt")
    assert not {package.name for package in used} & set(NEVER)


def test_every_shipped_package_is_pinned_with_hashes() -> None:
    packages = shipped_packages()
    names = {package.name for package in packages}
    in_file = re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.txt").read_text(), re.M)
    assert names >= set(in_file) - {"tzdata"}, "tzdata is for Windows"
    assert names >= {"cryptography", "cffi", "pycparser"}, "the optional packages are shipped too"
    assert all(package.hashes for package in packages)
    assert all(package.wanted_by for package in packages)


# make audit

TWO = [
    Package("good", "1.0", ("0" * 64,), frozenset({"us"})),
    Package("other", "2.0", ("1" * 64,), frozenset({"us"})),
]


def report(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(entries), "fixes": []}


SAFE = [{"name": p.name, "version": p.version, "vulns": []} for p in TWO]
HOLE = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"], "description": ""}


def test_an_audit_that_answers_for_every_package_is_clean() -> None:
    assert holes(report(*SAFE), TWO) == []


def test_an_audit_names_each_hole() -> None:
    found = holes(report(SAFE[0], SAFE[1] | {"vulns": [HOLE]}), TWO)
    assert found == ["other 2.0: PYSEC-1 = CVE-1, fixed in 2.1"]


@pytest.mark.parametrize(
    "answer",
    [
        report(),
        report(SAFE[0]),
        report(SAFE[0], SAFE[1] | {"version": "2.0.1"}),
        report(SAFE[0], {"name": "other", "skip_reason": "Dependency not found"}),
    ],
    ids=["nothing", "one missing", "another version", "skipped"],
)
def test_an_audit_that_does_not_answer_for_a_package_fails(answer: dict[str, Any]) -> None:
    with pytest.raises(NotAudited, match=r"^\d of 2 packages were not audited.*\.$"):
        holes(answer, TWO)


def test_without_an_answer_make_audit_fails_with_one_sentence(tmp_path: Path) -> None:
    # A proxy where nobody listens: the same as no network, wherever this runs.
    environment = {"HTTPS_PROXY": "http://127.0.0.1:9", "PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "dev.audit"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [sentence] = done.stderr.strip().splitlines()
    assert "audit" in sentence
    assert "0 vulnerable" not in done.stdout


# make audit ADVISORIES=, a copy of the PyPA advisory database

ADVISORY = """id: PYSEC-2026-1
modified: "2026-11-02T10:00:00Z"
aliases: [CVE-2026-1]
affected:
- package: {name: starlette, ecosystem: PyPI}
  ranges:
"""
RANGE = "  - type: ECOSYSTEM\n    events:\n"
AFFECTED = {
    "every version": RANGE + "    - introduced: '0'\n",
    "until the next": RANGE + "    - introduced: '0'\n    - fixed: 1000.0\n",
    "since long and once more": RANGE
    + "    - introduced: '0'\n    - fixed: '0.5'\n    - introduced: '0.6'\n",
    "up to one to come": RANGE + "    - introduced: '0'\n    - last_affected: '1000'\n",
    "by name": "  - {type: GIT, repo: r, events: [{introduced: '0'}]}\n  versions: [VERSION]\n",
}
NOT_AFFECTED = {
    "fixed long ago": RANGE + "    - introduced: '0'\n    - fixed: 0.49.1\n",
    "old ones": RANGE + "    - introduced: '0'\n    - last_affected: 0.9.10\n",
    "to come": RANGE + "    - introduced: '1000'\n",
    "commits alone": "  - {type: GIT, repo: r, events: [{introduced: '0'}]}\n",
    "withdrawn": RANGE + "    - introduced: '0'\nwithdrawn: '2026-11-03T00:00:00Z'\n",
    "another package": RANGE.replace("ECO", "GIT # ECO")
    + "    - introduced: '0'\n- package: {name: other}\n  versions: [VERSION]\n",
}
[STARLETTE] = [package for package in shipped_packages() if package.name == "starlette"]


def audit(copy: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dev.audit"],
        env={"ADVISORIES": str(copy), "PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def copy_with(folder: Path, affected: str) -> Path:
    place = folder / "vulns" / "starlette"
    place.mkdir(parents=True)
    text = ADVISORY + affected.replace("VERSION", STARLETTE.version)
    (place / "PYSEC-2026-1.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("affected", AFFECTED.values(), ids=AFFECTED)
def test_a_hole_in_the_copy_is_named(affected: str, tmp_path: Path) -> None:
    done = audit(copy_with(tmp_path, affected))
    assert done.returncode == 1
    assert f"starlette {STARLETTE.version}: PYSEC-2026-1 = CVE-2026-1\n" in done.stderr


@pytest.mark.parametrize("affected", NOT_AFFECTED.values(), ids=NOT_AFFECTED)
def test_what_the_copy_says_of_others_is_no_hole(affected: str, tmp_path: Path) -> None:
    done = audit(copy_with(tmp_path, affected))
    assert done.returncode == 0, done.stderr
    known = "0 vulnerable by advisories up to 2026-11-02, which name 1 of them.\n"
    assert done.stdout.endswith(known), "a copy that lacks packages is not said to know them"


def test_a_folder_without_advisories_is_no_answer(tmp_path: Path) -> None:
    done = audit(tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"There are no advisories in {tmp_path}: it must hold vulns/.\n"


def test_an_advisory_of_another_form_is_no_answer(tmp_path: Path) -> None:
    copy = copy_with(tmp_path, NOT_AFFECTED["to come"])
    path = copy / "vulns" / "starlette" / "PYSEC-2026-1.yaml"
    path.write_text(path.read_text().replace("affected:", "affects:"))
    done = audit(copy)
    assert done.returncode == 1
    assert done.stderr == f"{path} is no advisory: get a new copy of the database.\n"


# make sbom


def test_the_bill_of_materials_is_valid_and_complete() -> None:
    packages = shipped_packages()
    document = bill_of_materials(packages)
    text = json.dumps(document)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = {(part["name"], part["version"]) for part in document["components"]}
    assert components == {(package.name, package.version) for package in packages}
    assert "http" not in text, "no registry is named"
    # Everything is wanted by something, and all of it in the end by the project itself.
    graph = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    reached, front = set(), [document["metadata"]["component"]["bom-ref"]]
    while front:
        reached.add(reference := front.pop())
        front += set(graph[reference]) - reached
    assert reached == set(graph)


def test_an_invalid_bill_of_materials_would_be_noticed() -> None:
    document = bill_of_materials(shipped_packages())
    document["components"][0]["type"] = "wheel"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is not None


def test_the_same_pins_give_the_same_bytes() -> None:
    once, again = (json.dumps(bill_of_materials(shipped_packages())) for _ in range(2))
    assert once == again
