"""`make package`: builds the zip that every Lambda function runs from; needs no AWS account.

The same sources, pins and tools give the same bytes: entries are sorted, dates and modes are fixed,
and bytecode contains no timestamp. The zip contains only files that git tracks, and packages whose
hashes `make lock` has pinned. serverless-python-requirements, the usual plugin, needs Docker to
build for arm64 and leaves the compilation to each cold start.
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

from dev.deploy.sources import deployable_files
from dev.lock import UV

type Architecture = Literal["arm64", "x86_64"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture.__value__)
# The optional dependencies of pyproject.toml that `make lock` pins, each in a file of its own.
type Extra = Literal["asymmetric"]
EXTRAS: tuple[Extra, ...] = get_args(Extra.__value__)
# The values of DATABASE_TRANSPORT.
type Transport = Literal["postgres", "http"]
TRANSPORTS: tuple[Transport, ...] = get_args(Transport.__value__)

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("api", "lib")
MAX_ZIPPED_BYTES = 25_000_000
MAX_UNZIPPED_BYTES = 250_000_000
TASK_ROOT = "/var/task"

# Lambda's Python 3.13 has glibc 2.34; 2_28 is the newest tag that all wheels have.
PLATFORMS = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}

# Metadata is kept: SQLAlchemy reads psycopg's version from it, OpenTelemetry its entry points.
INSTALLER_FILES = {"RECORD", "INSTALLER", "REQUESTED"}
EXTENSION_SOURCE_SUFFIXES = {".c", ".h", ".pxd", ".pyi", ".pyx"}
UNUSED_FOLDERS = {"bin", "tests", "__pycache__"}
BUILD_ONLY = ("sqlalchemy/testing",)


class PackageError(RuntimeError):
    """The zip cannot be built. The text says why and what to do."""


@dataclass(frozen=True)
class Artifact:
    """A zip for Lambda. Sizes are in bytes; `stripped` means that debugging symbols are removed."""

    path: Path
    architecture: Architecture
    zipped: int
    unzipped: int
    sha256: str
    stripped: bool


def this_architecture() -> Architecture:
    return "arm64" if os.uname().machine in ("aarch64", "arm64") else "x86_64"


def build(
    architecture: Architecture,
    output: Path,
    *,
    extra: Extra | None = None,
    transport: Transport = "postgres",
) -> Artifact:
    """Build the zip at `output`, with the optional packages of `extra`.

    With the transport `http`, the zip does not contain psycopg.

    Raises PackageError or SourcesError.
    """
    if sys.version_info[:2] != (3, 13):
        raise PackageError("Build with Python 3.13: Lambda cannot use another version's bytecode.")
    sources = deployable_files(ROOT, *SHIPPED)
    folder = output.parent / f"{output.stem}-content"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    install(architecture, folder, requirements_file(extra))
    _remove_unused(folder, transport)
    stripped = _strip_libraries(architecture, folder)
    for name in sources:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
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
    if artifact.zipped > MAX_ZIPPED_BYTES or artifact.unzipped > MAX_UNZIPPED_BYTES:
        raise PackageError(
            f"The zip is too large ({describe(artifact)}): "
            "find what grew with `unzip -lv`, or increase the limit in dev/deploy/package.py."
        )
    return artifact


def requirements_file(extra: Extra | None) -> Path:
    """Return the file with every version and hash to install."""
    return ROOT / (f"requirements-{extra}.txt" if extra else "requirements.txt")


def install(architecture: Architecture, folder: Path, requirements: Path) -> None:
    """Install the wheels of one architecture. Raises PackageError, also if a hash differs."""
    command: list[str | Path] = [
        *UV,
        "--quiet",
        "pip",
        "install",
        "--require-hashes",
        "--no-compile-bytecode",
    ]
    command += ["--no-config", "--only-binary", ":all:", "--python-version", "3.13"]
    command += ["--python-platform", PLATFORMS[architecture], "--link-mode", "copy"]
    command += ["--target", folder, "--requirements", requirements]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise PackageError(
            "The packages could not be installed: check the message below and the connection to "
            f"the package index.\n{done.stderr.strip()}"
        )


def _remove_unused(folder: Path, transport: Transport) -> None:
    for name in BUILD_ONLY:
        shutil.rmtree(folder / name)
    for path in folder.glob("psycopg*") if transport == "http" else ():
        shutil.rmtree(path)
    for path in sorted(folder.rglob("*"), reverse=True):
        hidden = path.name.startswith(".")
        if path.is_dir() and (hidden or path.name in UNUSED_FOLDERS):
            shutil.rmtree(path)
        elif path.is_file() and (
            hidden or path.name in INSTALLER_FILES or path.suffix in EXTENSION_SOURCE_SUFFIXES
        ):
            path.unlink()


def _strip_libraries(architecture: Architecture, folder: Path) -> bool:
    """Remove debugging symbols (a sixth of the size); return False if there is no tool for it."""
    machine = MACHINES[architecture]
    names = [f"{machine}-linux-gnu-strip", "llvm-strip"]
    if architecture == this_architecture():
        names.append("strip")
    tool = next((found for name in names if (found := shutil.which(name))), None)
    libraries = sorted(path for path in _files(folder) if ".so" in path.suffixes)
    if tool is None:
        return False
    if libraries:
        subprocess.run([tool, "--strip-unneeded", *libraries], check=True)
    return True


def _compile_bytecode(folder: Path) -> None:
    # Lambda cannot write bytecode, and the deploy tool changes the dates in the zip: only bytecode
    # that is not compared with its source is used there.
    command = [sys.executable, "-m", "compileall", "-q", "-r", "20", "-j", "0"]
    command += ["--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", TASK_ROOT]
    # In a process of its own: compileall's workers would import this program's main module.
    compiled = subprocess.run([*command, str(folder)], check=False, capture_output=True, text=True)
    if compiled.returncode:
        raise PackageError(f"A module does not compile:\n{compiled.stdout.strip()}")


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
    """Return both sizes beside their limits."""
    return (
        f"{artifact.zipped / 1e6:.1f} MB zipped, limit {MAX_ZIPPED_BYTES / 1e6:.0f}; "
        f"{artifact.unzipped / 1e6:.1f} MB unzipped, limit {MAX_UNZIPPED_BYTES / 1e6:.0f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.deploy.package", description=__doc__)
    parser.add_argument("--arch", choices=ARCHITECTURES, default="arm64")
    parser.add_argument("--output", type=Path, default=Path("build/lambda.zip"))
    parser.add_argument("--extra", choices=EXTRAS, help="optional dependencies to include")
    parser.add_argument(
        "--transport", choices=TRANSPORTS, default="postgres", help="http leaves out psycopg"
    )
    options = parser.parse_args()
    print(f"Building {options.output} for {options.arch} ...", flush=True)
    try:
        artifact = build(
            options.arch, options.output, extra=options.extra, transport=options.transport
        )
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{artifact.path}: {describe(artifact)}, sha256 {artifact.sha256}")
    if not artifact.stripped:
        print(
            "The zip contains debugging symbols (about 3 MB): "
            "install binutils-aarch64-linux-gnu or LLVM to remove them."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
