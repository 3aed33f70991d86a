"""`make package`: builds the one zip that every Lambda function runs from; knows no account and no
stage.

The same sources and the same tools give the same bytes: sorted entries, fixed dates and modes,
bytecode that carries no time stamp.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

type Architecture = Literal["arm64", "x86_64"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture.__value__)

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("api", "lib")
ZIPPED_LIMIT = 25_000_000
UNZIPPED_LIMIT = 250_000_000
TASK_ROOT = "/var/task"

# Lambda's Python 3.13 has glibc 2.34; 2_28 is the newest tag that all wheels have.
PLATFORMS = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}

# Metadata stays: SQLAlchemy reads psycopg's version there, OpenTelemetry its entry points.
INSTALLER_FILES = {"RECORD", "INSTALLER", "REQUESTED"}
SOURCES_OF_EXTENSIONS = {".c", ".h", ".pxd", ".pyi", ".pyx"}
UNUSED_FOLDERS = {"bin", "tests", "__pycache__"}
BUILD_ONLY = ("sqlalchemy/testing",)


@dataclass(frozen=True)
class Artifact:
    """A zip for Lambda: sizes in bytes, `stripped` tells whether debugging symbols are gone."""

    path: Path
    architecture: Architecture
    zipped: int
    unzipped: int
    sha256: str
    stripped: bool


def this_architecture() -> Architecture:
    return "arm64" if os.uname().machine in ("aarch64", "arm64") else "x86_64"


def build(architecture: Architecture, output: Path, *, extra: str | None = None) -> Artifact:
    """Makes the artifact at `output`; `extra` names an optional dependency group of pyproject.toml.

    Raises RuntimeError with a sentence for the reader when it cannot, or when it is too large.
    """
    if sys.version_info[:2] != (3, 13):
        raise RuntimeError(
            "Build with Python 3.13: the bytecode of another version is useless there."
        )
    folder = output.parent / f"{output.stem}-content"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _install(architecture, folder, _requirements(folder.parent, extra))
    _remove_unused(folder)
    stripped = _strip_libraries(architecture, folder)
    for name in SHIPPED:
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
        )
    _compile_bytecode(folder)
    _write_zip(folder, output)
    unzipped = sum(path.stat().st_size for path in _files(folder))
    shutil.rmtree(folder)
    artifact = Artifact(
        path=output,
        architecture=architecture,
        zipped=output.stat().st_size,
        unzipped=unzipped,
        sha256=hashlib.sha256(output.read_bytes()).hexdigest(),
        stripped=stripped,
    )
    if artifact.zipped > ZIPPED_LIMIT or artifact.unzipped > UNZIPPED_LIMIT:
        raise RuntimeError(
            f"The artifact is too large ({describe(artifact)}): "
            "find what grew with `unzip -lv`, or raise the limit in dev/deploy/package.py."
        )
    return artifact


def _requirements(scratch: Path, extra: str | None) -> Path:
    """The pinned, hashed list to install; with an extra it is pinned by requirements-dev.txt."""
    if extra is None:
        return ROOT / "requirements.txt"
    pinned = scratch / f"requirements-{extra}.txt"
    command = ["pip", "compile", "pyproject.toml", "--extra", extra, "--universal", "--no-config"]
    command += ["--constraints", "requirements-dev.txt", "--python-version", "3.13"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--output-file", str(pinned)]
    _run_uv(command)
    return pinned


def _install(architecture: Architecture, folder: Path, pinned: Path) -> None:
    command = ["pip", "install", "--require-hashes", "--no-compile-bytecode", "--no-config"]
    command += ["--only-binary", ":all:", "--python-platform", PLATFORMS[architecture]]
    command += ["--python-version", "3.13", "--link-mode", "copy"]
    _run_uv([*command, "--target", str(folder), "--requirements", str(pinned)])


def _run_uv(arguments: list[str]) -> None:
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        [uv, "--quiet", *arguments], check=False, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(
            "Installing the packages failed: is the package index reachable?\n"
            + done.stderr.strip()
        )


def _remove_unused(folder: Path) -> None:
    for name in BUILD_ONLY:
        shutil.rmtree(folder / name)
    for path in sorted(folder.rglob("*"), reverse=True):
        hidden = path.name.startswith(".")
        if path.is_dir() and (hidden or path.name in UNUSED_FOLDERS):
            shutil.rmtree(path)
        elif path.is_file() and (
            hidden or path.name in INSTALLER_FILES or path.suffix in SOURCES_OF_EXTENSIONS
        ):
            path.unlink()


def _strip_libraries(architecture: Architecture, folder: Path) -> bool:
    """Drops debugging symbols (about a sixth of the size) where a strip for that machine exists."""
    machine = MACHINES[architecture]
    names = [f"{machine}-linux-gnu-strip", "llvm-strip"]
    if architecture == this_architecture():
        names.append("strip")
    tool = next((found for name in names if (found := shutil.which(name))), None)
    libraries = sorted(path for path in _files(folder) if ".so" in path.suffixes)
    if tool is None:
        return False
    subprocess.run([tool, "--strip-unneeded", *libraries], check=True)
    return True


def _compile_bytecode(folder: Path) -> None:
    # Lambda cannot write bytecode, and the deploy tool changes the dates inside the zip: only
    # bytecode that never asks its source for a date is used there.
    command = [sys.executable, "-m", "compileall", "-q", "-r", "20", "-j", "0"]
    command += ["--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", TASK_ROOT]
    # A process of its own: the parallel compiler starts the main module again in each worker.
    compiling = subprocess.run([*command, str(folder)], check=False, capture_output=True, text=True)
    if compiling.returncode:
        raise RuntimeError(f"A module does not compile:\n{compiling.stdout.strip()}")


def _write_zip(folder: Path, output: Path) -> None:
    unfinished = output.with_suffix(".unfinished")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in _files(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = (0o100755 if ".so" in path.suffixes else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes(), compresslevel=9)
    unfinished.replace(output)


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def describe(artifact: Artifact) -> str:
    return (
        f"{artifact.zipped / 1e6:.1f} MB zipped, limit {ZIPPED_LIMIT / 1e6:.0f}; "
        f"{artifact.unzipped / 1e6:.1f} MB unzipped, limit {UNZIPPED_LIMIT / 1e6:.0f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.deploy.package", description=__doc__)
    parser.add_argument("--arch", choices=ARCHITECTURES, default="arm64")
    parser.add_argument("--output", type=Path, default=Path("build/lambda.zip"))
    parser.add_argument(
        "--extra", help="optional packages, as pyproject.toml names them: asymmetric"
    )
    options = parser.parse_args()
    print(f"Building {options.output} for {options.arch} ...", flush=True)
    try:
        artifact = build(options.arch, options.output, extra=options.extra)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{artifact.path}: {describe(artifact)}, sha256 {artifact.sha256}")
    if not artifact.stripped:
        print(
            "Debugging symbols are still inside (about 3 MB zipped): "
            "install binutils-aarch64-linux-gnu or LLVM to leave them out."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
