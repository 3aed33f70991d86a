"""Builds the zip of this working tree once, and unpacks it for the tests."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from dev import lock
from dev.deploy import package
from dev.deploy.sources import deployable_files

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache" / "aws"


def unpacked_artifact(
    transport: package.Transport = "postgres", extra: package.Extra | None = None
) -> Path:
    """Return the unpacked zip for this machine; it is rebuilt after a change of its sources."""
    name = fingerprint(*package_sources())
    variant = f"artifact-{transport}-{extra or 'plain'}"
    content = CACHE / f"{variant}-{name}"
    with one_at_a_time("artifact"):
        if not content.exists():
            for stale in CACHE.glob(f"{variant}-*"):
                shutil.rmtree(stale, ignore_errors=True)
            built = package.build(
                package.this_architecture(),
                CACHE / "lambda.zip",
                extra=extra,
                transport=transport,
            )
            unpacking = CACHE / "unpacking"
            shutil.rmtree(unpacking, ignore_errors=True)
            with zipfile.ZipFile(built.path) as archive:
                archive.extractall(unpacking)
            unpacking.rename(content)
    return content


def arm64_artifact() -> Path:
    """Return the zip to deploy, at the path in serverless.yml; it is rebuilt if out of date."""
    zipped, stamp = ROOT / "build" / "lambda.zip", CACHE / "arm64-built-of"
    name = fingerprint(*package_sources())
    with one_at_a_time("arm64"):
        built = f"{name} {digest(zipped)}" if zipped.exists() else ""
        if not stamp.exists() or stamp.read_text() != built:
            package.build("arm64", zipped)
            stamp.write_text(f"{name} {digest(zipped)}")
    return zipped


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lambda_runtime() -> Path:
    """Return a folder with what Lambda adds to sys.path: its runtime client and boto3."""
    return installed(Path(__file__).with_name("runtime-requirements.txt"))


def emulator_binary() -> Path:
    """Return the path of AWS's Runtime Interface Emulator for this machine."""
    folder = installed(Path(__file__).with_name("emulator-requirements.txt"), "--no-deps")
    architecture = package.this_architecture()
    return folder / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{architecture}"


def installed(requirements: Path, *options: str) -> Path:
    folder = CACHE / f"{requirements.stem}-{fingerprint(requirements)}"
    with one_at_a_time(requirements.stem):
        if not folder.exists():
            unfinished = CACHE / f"{requirements.stem}-unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            command = [*lock.UV, "--quiet", "pip", "install", "--python", sys.executable]
            command += ["--require-hashes", "--compile-bytecode", "--link-mode", "copy", *options]
            subprocess.run(
                [*command, "--target", unfinished, "--requirements", requirements], check=True
            )
            unfinished.rename(folder)
    return folder


def package_sources() -> Iterator[Path]:
    yield ROOT / "requirements.txt"
    yield ROOT / "requirements-asymmetric.txt"
    yield ROOT / "dev" / "deploy" / "package.py"
    yield ROOT / "dev" / "deploy" / "sources.py"
    for name in deployable_files(ROOT, *package.SHIPPED):
        yield ROOT / name


def fingerprint(*paths: Path) -> str:
    hashed = hashlib.sha256()
    for path in paths:
        hashed.update(os.fsencode(path.relative_to(ROOT)) + b"\0" + path.read_bytes())
    return hashed.hexdigest()[:16]


@contextmanager
def one_at_a_time(name: str) -> Generator[None]:
    # Test workers are processes, and must not build into the same folder at the same time.
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
