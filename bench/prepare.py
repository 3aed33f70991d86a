"""Makes what the benchmark runs: an artifact for each partner, and valgrind; measures nothing."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from bench.partners import Partner
from dev.lock import RUNTIME, pins_for_linux

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "bench"
PYTHON = CACHE / "python" / "bin" / "python"
SERVER = CACHE / "server"


class CannotPrepare(Exception):
    """One sentence that says what to do."""


def prepare(partners: tuple[Partner, ...]) -> None:
    """Make or renew everything under .cache/bench. Raises CannotPrepare."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not PYTHON.exists():
        # An environment of nothing: what is importable in a partner is what its artifact holds.
        _run([sys.executable, "-m", "venv", "--without-pip", str(CACHE / "python")])
    _install(SERVER, [_pin_of_uvicorn()])
    for partner in partners:
        if partner.node:
            _bundle_node(folder(partner))
        else:
            _build(partner)


def folder(partner: Partner) -> Path:
    return CACHE / partner.name


def sizes(partner: Partner) -> tuple[float, float]:
    """The artifact in MB: as it lies in the function, and zipped."""
    zipped = CACHE / f"{partner.name}.zip"
    files = [path for path in sorted(folder(partner).rglob("*")) if path.is_file()]
    files = [path for path in files if not {"node_modules", "worker.js"} & set(path.parts)]
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder(partner)))
    whole = sum(path.stat().st_size for path in files) / 1e6, zipped.stat().st_size / 1e6
    zipped.unlink()
    return whole


def valgrind_version() -> str | None:
    """Installs valgrind where that is allowed; None where it is not to be had."""
    if os.uname().machine != "x86_64":
        print("Instructions are counted on x86-64 only: going on without them.")
        return None
    if not shutil.which("valgrind") and os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing valgrind with apt-get, to count instructions ...", flush=True)
        for words in (["install", "-y", "valgrind"], ["update"], ["install", "-y", "valgrind"]):
            subprocess.run(["apt-get", "-qq", *words], capture_output=True, check=False)
            if shutil.which("valgrind"):
                break
    if not shutil.which("valgrind"):
        print("Going on without instructions: install valgrind to have them counted.")
        return None
    return subprocess.run(
        ["valgrind", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()


def _build(partner: Partner) -> None:
    target = folder(partner)
    pins = dict(pin.split("==") for pin in pins_for_linux(RUNTIME))
    packages = [_pinned(package, pins) for package in partner.packages]
    if not packages:
        # Ours: everything that runs. SQLModel made the statements before and stays behind.
        unused = {"sqlmodel", "sqlalchemy"}
        packages = [f"{name}=={version}" for name, version in pins.items() if name not in unused]
    _install(target, packages)
    for name in partner.files:
        source, copy = ROOT / name, target / name.removeprefix("bench/")
        shutil.rmtree(copy, ignore_errors=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    if partner.bytecode:
        _compile(target)


def _pinned(package: str, pins: dict[str, str]) -> str:
    return f"{package}=={pins[package.partition('[')[0]]}"


def _pin_of_uvicorn() -> str:
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    return next(line.split()[0] for line in lines if line.startswith("uvicorn=="))


def _install(target: Path, packages: list[str]) -> None:
    wanted = hashlib.sha256("\n".join(packages).encode()).hexdigest()
    mark = target.with_suffix(".installed")
    if mark.exists() and mark.read_text() == wanted:
        return
    print(f"Installing {target.name} ...", flush=True)
    shutil.rmtree(target, ignore_errors=True)
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "-q", "--no-config"]
    constraints = ["--constraints", str(RUNTIME)]
    _run([*uv, "--link-mode", "copy", *constraints, "--target", str(target), *packages])
    shutil.rmtree(target / "bin", ignore_errors=True)
    if target == SERVER:
        _compile(target)
    mark.write_text(wanted)


def _compile(target: Path) -> None:
    options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    _run([str(PYTHON), "-m", "compileall", *options, str(target)])


def _bundle_node(target: Path) -> None:
    if not shutil.which("npm"):
        raise CannotPrepare(
            "npm is missing: install Node.js 22, which the comparison with hono needs."
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
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        words = " ".join(command[:4])
        last = (done.stderr or done.stdout).strip()[-800:]
        raise CannotPrepare(f"This failed, is the package index reachable? {words} ...\n{last}")
