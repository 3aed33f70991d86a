"""Builds an artifact for each implementation, and installs valgrind and wrk."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from bench.implementations import Implementation
from dev.lock import DEVELOPMENT, RUNTIME, VERCEL, pins_for_linux

ROOT = Path(__file__).parent.parent
# The versions of what is not deployed.
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
CACHE = ROOT / ".cache" / "bench"
PYTHON = CACHE / "python" / "bin" / "python"
SERVER = CACHE / "server"


class PreparationError(Exception):
    """An artifact cannot be built. The message says what to do."""


def prepare(implementations: tuple[Implementation, ...]) -> None:
    """Build or update all artifacts in .cache/bench. Raises PreparationError."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not PYTHON.exists():
        # An empty environment: an implementation can import only what its artifact contains.
        _run([sys.executable, "-m", "venv", "--without-pip", str(CACHE / "python")])
    pins = _pins()
    _install(SERVER, [_pinned(name, pins) for name in ("uvicorn", "httptools", "uvloop")])
    if not install_with_apt("wrk"):
        raise PreparationError("wrk not found. Install it: it sends the concurrent requests.")
    for implementation in implementations:
        if implementation.node:
            _bundle_node(folder(implementation))
        else:
            _build(implementation)


def folder(implementation: Implementation) -> Path:
    return CACHE / implementation.name


def sizes(implementation: Implementation) -> tuple[float, float]:
    """Return the size of the artifact in MB, unzipped and zipped."""
    zipped = CACHE / f"{implementation.name}.zip"
    files = [path for path in sorted(folder(implementation).rglob("*")) if path.is_file()]
    files = [path for path in files if not {"node_modules", "worker.js"} & set(path.parts)]
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder(implementation)))
    unzipped_size = sum(path.stat().st_size for path in files) / 1e6
    zipped_size = zipped.stat().st_size / 1e6
    zipped.unlink()
    return unzipped_size, zipped_size


def valgrind_version() -> str | None:
    """Return the version of valgrind, installed if possible, or None if it is not available."""
    if os.uname().machine != "x86_64":
        print("Instructions are not counted: that works on x86-64 only.")
        return None
    if not install_with_apt("valgrind"):
        print("Instructions are not counted: install valgrind to count them.")
        return None
    return subprocess.run(
        ["valgrind", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()


def install_with_apt(program: str) -> bool:
    """Whether the program is available. It is installed if that is possible."""
    if not shutil.which(program) and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {program} with apt-get ...", flush=True)
        install = ["install", "-y", program]
        for arguments in (install, ["update"], install):
            subprocess.run(["apt-get", "-qq", *arguments], capture_output=True, check=False)
            if shutil.which(program):
                break
    return bool(shutil.which(program))


def _build(implementation: Implementation) -> None:
    target = folder(implementation)
    pins = _pins()
    packages = [_pinned(package, pins) for package in implementation.packages]
    if not packages:
        # This API: all runtime packages, without those that only compile the statements.
        unused = {"sqlmodel", "sqlalchemy"}
        packages = [pin for pin in pins_for_linux(RUNTIME) if pin.split("==")[0] not in unused]
    _install(target, packages)
    for name in implementation.files:
        source, copy = ROOT / name, target / name.removeprefix("bench/")
        shutil.rmtree(copy, ignore_errors=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    if implementation.bytecode:
        _compile(target)


def _pinned(package: str, pins: dict[str, str]) -> str:
    return f"{package}=={pins[package.partition('[')[0]]}"


def _pins() -> dict[str, str]:
    """Return the version of each package: as deployed, or as pinned for development."""
    files = (REQUIREMENTS, DEVELOPMENT, VERCEL, RUNTIME)
    return dict(pin.split("==") for file in files for pin in pins_for_linux(file))


def _install(target: Path, packages: list[str]) -> None:
    digest = hashlib.sha256("\n".join(packages).encode()).hexdigest()
    mark = target.with_suffix(".installed")
    if mark.exists() and mark.read_text() == digest:
        return
    print(f"Installing {target.name} ...", flush=True)
    shutil.rmtree(target, ignore_errors=True)
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "-q", "--no-config"]
    constraints = ["--constraints", str(RUNTIME)]
    _run([*uv, "--link-mode", "copy", *constraints, "--target", str(target), *packages])
    shutil.rmtree(target / "bin", ignore_errors=True)
    if target == SERVER:
        _compile(target)
    mark.write_text(digest)


def _compile(target: Path) -> None:
    options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    _run([str(PYTHON), "-m", "compileall", *options, str(target)])


def _bundle_node(target: Path) -> None:
    if not shutil.which("npm"):
        raise PreparationError(
            "npm not found. Install Node.js 22, which the comparison with hono requires."
        )
    target.mkdir(exist_ok=True)
    for path in (ROOT / "bench" / "hono").iterdir():
        if path.is_file():
            shutil.copy(path, target)
    lock = (target / "package-lock.json").read_text()
    mark = target.with_suffix(".installed")
    if not mark.exists() or mark.read_text() != lock:
        print("Installing hono ...", flush=True)
        npm = ["npm", "ci", "--prefix", str(target), "--silent", "--no-audit", "--no-fund"]
        _run([*npm, "--ignore-scripts"])
        mark.write_text(lock)
    options = ["--bundle", "--platform=node", "--format=cjs", "--minify"]
    esbuild = [str(target / "node_modules" / ".bin" / "esbuild"), *options]
    _run([*esbuild, "app.js", "server.js", "--outdir=.", "--out-extension:.js=.cjs"], cwd=target)
    for source in ("app.js", "server.js"):
        (target / source).unlink()


def _run(command: list[str], **options: object) -> None:
    completed = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if completed.returncode:
        shown = " ".join(command[:4])
        last = (completed.stderr or completed.stdout).strip()[-800:]
        raise PreparationError(f"{shown} ... failed. Is the package index reachable?\n{last}")
