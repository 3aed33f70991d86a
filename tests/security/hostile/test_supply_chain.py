"""Only reviewed sources, and packages whose hashes are pinned, are deployed.

None of these packages has a vulnerability that was known when this was written. `make audit` fails
if it gets no response.
"""

import json
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.version import Version

from dev import sbom
from dev.deploy import package, vercel_build
from dev.deploy.sources import SourcesError, deployable_files, tracked_files
from dev.serve import ROOT

# The first version without the vulnerability, and its advisory.
FIXED_VERSIONS = [
    ("pyjwt", "2.10.1", "CVE-2024-53861: only a part of the issuer is compared"),
    ("pyjwt", "2.12.0", "CVE-2026-32597: unknown critical headers are accepted"),
    ("pyjwt", "2.13.0", "CVE-2026-48523, CVE-2026-48526"),
    ("pyjwt", "2.14.0", "CVE-2026-102268: a public key as HMAC secret; 102266, 102267, 101917"),
    ("pyjwt", "2.15.0", "CVE-2026-102275; PYSEC-2026-4140 to 4152 and 4183, except 4146"),
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
    ("certifi", "2024.7.4", "CVE-2024-39689: a root that is no longer trusted"),
    ("pydantic", "2.4.0", "CVE-2024-3772: addresses cost exponential time"),
]
# Every version of these is vulnerable.
ALWAYS_VULNERABLE = {"python-jose": "CVE-2026-85394", "ecdsa": "CVE-2024-23342"}


# Every file that may decide what is deployed to AWS, and the file for Vercel.
VARIANTS = {extra: package.requirements_file(extra) for extra in (None, *package.EXTRAS)}
VERCEL = ROOT / "requirements-vercel.txt"
PIN = re.compile(r"^(?P<pin>[a-z0-9.-]+==[^\s\\;]+).*\n(?P<hashes>(?:    --hash=.*\n)*)", re.M)


def pins(requirements: Path) -> dict[str, set[str]]:
    """The SHA-256 hashes of each `name==version`."""
    return {
        found["pin"]: set(re.findall(r"sha256:([0-9a-f]{64})", found["hashes"]))
        for found in PIN.finditer(requirements.read_text())
    }


@pytest.mark.parametrize(("name", "fixed", "advisory"), FIXED_VERSIONS)
def test_deployed_packages_are_newer_than_each_known_vulnerability(
    name: str, fixed: str, advisory: str
) -> None:
    version = vercel_build.pinned_packages(VARIANTS["asymmetric"])[name]
    assert Version(version) >= Version(fixed), advisory


def test_pyjwt_leaves_the_options_of_its_caller_alone() -> None:
    # PYSEC-2026-4146, which names no fixed version: decode() changed the options, so that a later
    # call with the same options skipped a check.
    token = jwt.encode({"exp": 1}, "k" * 32)
    options: Any = {"verify_signature": False}
    jwt.decode(token, options=options)
    assert options == {"verify_signature": False}
    options["verify_signature"] = True
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(token, "k" * 32, algorithms=["HS256"], options=options)


def test_no_package_is_used_that_is_always_vulnerable() -> None:
    used = vercel_build.pinned_packages(ROOT / "requirements-dev.txt")
    assert not set(used) & set(ALWAYS_VULNERABLE)


# Packages


@pytest.mark.parametrize("extra", VARIANTS)
def test_every_deployed_package_is_pinned_with_hashes(extra: package.Extra | None) -> None:
    packages = pins(VARIANTS[extra])
    assert all(packages.values())
    assert packages.items() >= pins(VARIANTS[None]).items(), "one version and its files everywhere"
    names = {pin.partition("==")[0] for pin in packages}
    assert ({"cryptography", "cffi", "pycparser"} <= names) == (extra == "asymmetric")
    assert VARIANTS[extra].name in tracked_files(ROOT)


def test_only_vercel_gets_the_package_of_its_server() -> None:
    packages = pins(VERCEL)
    assert all(packages.values())
    assert packages.items() >= pins(VARIANTS[None]).items()
    added = {pin.partition("==")[0] for pin in packages.keys() - pins(VARIANTS[None]).keys()}
    assert added == {"httptools"}
    names = [pin.partition("==")[0] for path in VARIANTS.values() for pin in pins(path)]
    assert added.isdisjoint(names)
    assert VERCEL.name in tracked_files(ROOT)


def tampered_index(root: Path, name: str) -> Path:
    """Make a package index whose only file is another wheel of the pinned version of a package."""
    folder = root / "simple" / name
    folder.mkdir(parents=True)
    [pin] = [pin for pin in pins(ROOT / "requirements-dev.txt") if pin.startswith(f"{name}==")]
    version = pin.partition("==")[2]
    information = f"{name}-{version}.dist-info"
    file = folder / f"{name}-{version}-py3-none-any.whl"
    (folder / "index.html").write_text(f'<a href="{file.name}">{file.name}</a>')
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "TAMPERED = True\n")
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{information}/METADATA", metadata)
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    return folder.parent


def without_other_packages(requirements: Path, name: str, folder: Path) -> Path:
    """Write a requirements file with a single package of another one."""
    [lines] = [
        found[0]
        for found in PIN.finditer(requirements.read_text())
        if found["pin"].startswith(f"{name}==")
    ]
    reduced = folder / requirements.name
    reduced.write_text(lines)
    return reduced


@pytest.mark.parametrize("extra", VARIANTS)
def test_another_file_of_the_pinned_version_is_not_packaged(
    extra: package.Extra | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", tampered_index(tmp_path, "certifi").as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    requirements = without_other_packages(VARIANTS[extra], "certifi", tmp_path)
    with pytest.raises(package.PackageError, match=r"(?i)hash mismatch"):
        package.install("arm64", tmp_path / "installed", requirements)
    assert not (tmp_path / "installed" / "certifi").exists()


def test_another_file_of_the_pinned_uv_is_not_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "--isolated", "install", "--no-index", "--find-links"]
    command += [str(tampered_index(tmp_path, "uv") / "uv"), "--target", str(tmp_path / "installed")]
    command += ["--require-hashes", "--requirement", str(ROOT / "requirements-uv.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert pins(ROOT / "requirements-uv.txt").items() <= pins(ROOT / "requirements-dev.txt").items()


# Sources


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one tracked and one ignored file in `lib`, and one module in `api`."""
    root = tmp_path / "repository"
    for name, text in {
        "api/tasks.py": "",
        "lib/errors.py": "",
        "lib/.env": "SECRET=1\n",
        "dev/serve.py": "",
        ".gitignore": ".env\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    return root


def test_only_tracked_files_are_deployed(repository: Path) -> None:
    assert deployable_files(repository, "api", "lib") == ["api/tasks.py", "lib/errors.py"]


def test_only_tracked_files_are_packaged(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(architecture: str, folder: Path, requirements: Path) -> None:
        (folder / package.BUILD_ONLY[0]).mkdir(parents=True)

    monkeypatch.setattr(package, "ROOT", repository)
    monkeypatch.setattr(package, "install", install)
    built = package.build(package.this_architecture(), repository / "build" / "lambda.zip")
    names = [name for name in zipfile.ZipFile(built.path).namelist() if "__pycache__" not in name]
    assert names == ["api/tasks.py", "lib/errors.py"]


@pytest.mark.parametrize("name", ["lib/prod-key.pem", "api/forgotten.py"])
def test_a_file_that_git_does_not_track_stops_the_build(repository: Path, name: str) -> None:
    (repository / name).write_text("")
    sentence = (
        "Only files tracked by git are deployed: run git add for these files, or delete them: "
    )
    with pytest.raises(SourcesError, match=f"^{sentence}{name}$"):
        package_of(repository)
    with pytest.raises(SourcesError, match=f"^{sentence}{name}$"):
        vercel_build.build(root=repository, cache=repository / "build")


def package_of(root: Path) -> package.Artifact:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "ROOT", root)
        return package.build("arm64", root / "build" / "lambda.zip")


@pytest.mark.parametrize("way", ["no repository", "no git"])
def test_without_a_list_of_git_nothing_is_built(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "no git":
        monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(SourcesError, match=r"^Only files tracked by git are deployed.*\.$"):
        package_of(tmp_path)


# make audit

VULNERABILITY = {
    "id": "PYSEC-2026-1",
    "affected": [
        {
            "package": {"name": "starlette", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "1000.0"}]}],
        }
    ],
}


@contextmanager
def vulnerability_service(respond: Callable[[str], tuple[int, Any]]) -> Generator[str]:
    """A service that speaks the protocol of osv.dev; `respond` is called with a package's name."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, document = respond(query["package"]["name"])
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dev.audit", *options],
        cwd=ROOT,
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_audit_asks_about_every_deployed_package() -> None:
    names: set[str] = set()

    def respond(name: str) -> tuple[int, Any]:
        names.add(name)
        return 200, {}

    with vulnerability_service(respond) as url:
        done = audit("--vulnerability-service", "osv", "--osv-url", url)
    assert (done.returncode, done.stdout) == (0, "No known vulnerabilities found\n"), done.stderr
    assert names >= set(vercel_build.pinned_packages(VARIANTS["asymmetric"]))
    assert names >= set(vercel_build.pinned_packages(VERCEL))


def test_an_audit_names_each_vulnerability() -> None:
    def respond(name: str) -> tuple[int, Any]:
        return 200, {"vulns": [VULNERABILITY]} if name == "starlette" else {}

    with vulnerability_service(respond) as url:
        done = audit("--vulnerability-service", "osv", "--osv-url", url)
    assert done.returncode == 1
    version = vercel_build.pinned_packages(VARIANTS[None])["starlette"]
    assert re.search(rf"^starlette +{re.escape(version)} +PYSEC-2026-1 +1000\.0", done.stderr, re.M)
    assert done.stderr.endswith(": update these packages in pyproject.toml and run make lock.\n")


def test_an_audit_without_a_response_for_one_package_fails() -> None:
    def respond(name: str) -> tuple[int, Any]:
        return (503 if name == "starlette" else 200), {}

    with vulnerability_service(respond) as url:
        done = audit("--vulnerability-service", "osv", "--osv-url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The audit is incomplete. ")


def test_an_audit_without_a_connection_fails_with_one_sentence() -> None:
    # Nothing listens on the proxy's port, which has the same effect as no network.
    done = audit(HTTPS_PROXY="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    [sentence] = done.stderr.splitlines()
    assert sentence.startswith(
        "The audit is incomplete. Run it where the package index is reachable: "
    )


# make sbom


@pytest.fixture(scope="module")
def bill_of_materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("sbom") / "sbom.json"
    sbom.write_bill_of_materials(output)
    return output


@pytest.mark.verify  # installs packages
def test_the_bill_of_materials_is_valid_and_complete(bill_of_materials: Path) -> None:
    text = bill_of_materials.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    components = {
        part["purl"].partition("?")[0].removeprefix("pkg:pypi/").replace("@", "==")
        for part in document["components"]
    }
    deployed = [*VARIANTS.values(), VERCEL]
    packages = [vercel_build.pinned_packages(each).items() for each in deployed]
    assert components == {f"{name}=={version}" for each in packages for name, version in each}
    assert all(part["licenses"] for part in document["components"])
    # The project depends on every component, directly or not.
    graph = {entry["ref"]: entry.get("dependsOn", []) for entry in document["dependencies"]}
    reached: set[str] = set()
    front = [document["metadata"]["component"]["bom-ref"]]
    while front:
        reached.add(reference := front.pop())
        front += set(graph[reference]) - reached
    assert reached == set(graph)


@pytest.mark.verify
def test_the_same_pins_give_the_same_bytes(bill_of_materials: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    sbom.write_bill_of_materials(again)
    assert again.read_bytes() == bill_of_materials.read_bytes()
