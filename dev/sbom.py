"""`make sbom`: writes what a deployment is made of, as CycloneDX 1.6; asks nobody.

The same pins give the same bytes, and no registry is named.
"""

import json
import tomllib
import uuid
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from dev.deploy.shipped_packages import ROOT, Package, shipped_packages

OUTPUT = ROOT / "build" / "sbom.json"


def bill_of_materials(packages: Sequence[Package]) -> dict[str, Any]:
    """Each package with its licence, the hashes of its files, and what it depends on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    root = f"{project['name']}@{project['version']}"
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": project["name"],
                "version": project["version"],
                "description": project["description"],
                "licenses": [{"expression": project["license"]}],
            }
        },
        "components": [_component(package) for package in packages],
        "dependencies": [
            {"ref": root, "dependsOn": _wanted_by(project["name"], packages)},
            *(
                {"ref": _purl(package), "dependsOn": _wanted_by(package.name, packages)}
                for package in packages
            ),
        ],
    }
    # A name for this content, the same wherever it is written.
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(document, sort_keys=True))
    return {"serialNumber": f"urn:uuid:{serial}"} | document


def _component(package: Package) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": digest} for digest in package.hashes]
    licence = metadata.metadata(package.name).get("License-Expression")
    return {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "version": package.version,
        "purl": _purl(package),
        **({"licenses": [{"expression": licence}]} if licence else {}),
        # Its files for every platform, of which a deployment holds one.
        "externalReferences": [{"type": "distribution", "url": _purl(package), "hashes": hashes}],
    }


def _purl(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _wanted_by(name: str, packages: Sequence[Package]) -> list[str]:
    return [_purl(package) for package in packages if name in package.wanted_by]


def main() -> None:
    packages = shipped_packages()
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(bill_of_materials(packages), indent=2) + "\n")
    print(f"{Path(OUTPUT).relative_to(ROOT)}: {len(packages)} packages")


if __name__ == "__main__":
    main()
