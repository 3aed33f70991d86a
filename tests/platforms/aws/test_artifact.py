"""The zip holds what Lambda can run, and nothing else."""

import re
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest

from dev.deploy import package
from tests.platforms.aws.artifact import digest, unpacked_artifact
from tests.platforms.aws.sandbox import interpreter
from tests.platforms.aws.stack import read_functions

AARCH64 = 0xB7
UNCHECKED_HASH = 0b01


@pytest.fixture(scope="module")
def archive(artifact: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(artifact)


def test_its_size_is_within_the_limits(artifact: Path, archive: zipfile.ZipFile) -> None:
    assert 1_000_000 < artifact.stat().st_size < 25_000_000
    assert sum(entry.file_size for entry in archive.infolist()) < 250_000_000


def test_the_same_sources_give_the_same_bytes_and_a_limit_holds(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MAX_ZIPPED_BYTES", artifact.stat().st_size - 1)
    again = tmp_path / "again.zip"
    with pytest.raises(RuntimeError, match=r"too large .*find what grew"):
        package.build("arm64", again)
    assert digest(again) == digest(artifact)


def test_it_holds_only_what_functions_import(archive: zipfile.ZipFile) -> None:
    roots = {name.split("/")[0] for name in archive.namelist()}
    assert {"api", "lib", "fastapi", "mangum", "psycopg"} <= roots
    assert not roots & {
        *("dev", "tests", "migrations", "public", "bench", "docs", "bin"),
        *("alembic", "boto3", "botocore", "moto", "pip", "pytest", "uvicorn", "awslambdaric"),
    }
    assert [name for name in archive.namelist() if "/tests/" in name] == []
    hidden = [name for name in archive.namelist() if name.startswith(".") or "/." in name]
    assert hidden == []


def test_it_holds_every_function_of_the_stack(archive: zipfile.ZipFile) -> None:
    for function in read_functions().values():
        assert f"{function.handler.split('.')[0]}.py" in archive.namelist()


def test_every_library_is_for_arm64_and_the_glibc_of_lambda(archive: zipfile.ZipFile) -> None:
    libraries = [name for name in archive.namelist() if ".so" in Path(name).suffixes]
    assert len(libraries) > 5
    for name in libraries:
        content = archive.read(name)
        [machine] = struct.unpack_from("<H", content, 18)
        assert machine == AARCH64, name
        needed = {int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)\b", content)}
        assert max(needed, default=0) <= 34, name


def test_every_module_has_bytecode_that_is_never_compared_with_its_source(
    archive: zipfile.ZipFile,
) -> None:
    names = set(archive.namelist())
    sources = {name for name in names if name.endswith(".py")}
    compiled = {name for name in names if name.endswith(".pyc")}
    expected = {
        re.sub(r"([^/]+)\.py$", r"__pycache__/\1.cpython-313.pyc", name) for name in sources
    }
    assert compiled == expected
    for name in compiled:
        [flags] = struct.unpack_from("<I", archive.read(name), 4)
        assert flags == UNCHECKED_HASH, name


def test_dates_modes_and_order_do_not_depend_on_the_machine(archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644, 0o100755}
    assert [entry.filename for entry in entries] == sorted(
        (entry.filename for entry in entries), key=Path
    )


def test_the_metadata_of_every_package_is_included(archive: zipfile.ZipFile) -> None:
    pinned = re.findall(r"^([a-z-]+)==", (package.ROOT / "requirements.txt").read_text(), re.M)
    found = {re.sub(r"-[^-]*\.dist-info.*", "", name) for name in archive.namelist()}
    windows_only = {"tzdata", "colorama"}
    assert {name.replace("-", "_") for name in pinned} - windows_only <= found


def test_lambdas_python_uses_the_bytecode_and_compiles_nothing() -> None:
    content = unpacked_artifact()
    imports = "; ".join(
        f"import {function.handler.split('.')[0].replace('/', '.')}"
        for function in read_functions().values()
    )
    done = subprocess.run(
        [*interpreter(), "-v", "-c", imports],
        cwd=content,
        env={"PYTHONPATH": str(content), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "bytecode is stale" not in done.stderr
    origins = re.findall(r"# code object from '?([^'\n]+)'?", done.stderr)
    ours = [origin for origin in origins if origin.startswith(str(content))]
    assert len(ours) > 200
    assert [origin for origin in ours if not origin.endswith(".pyc")] == []
