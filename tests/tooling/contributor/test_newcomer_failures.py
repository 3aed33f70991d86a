"""What can go wrong on a new machine is said in one sentence that tells what to do."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from dev.postgres import DISK_FULL, free_port
from tests.support.databases import Cluster, Database
from tests.tooling.contributor.terminal import typed
from tests.tooling.contributor.working_copy import WorkingCopy, copy_tree

# What dev/bootstrap.sh and make use.
TOOLS = ("make", "sh", "awk", "cat", "df", "dirname", "grep", "mktemp", "rm", "sed", "touch")
PYTHON_MISSING = (
    "Python 3.13 is missing: install it (with pyenv: pyenv install 3.13) and run make again."
)
INDEX_AWAY = (
    "The package index cannot be reached: check the network, the proxy (HTTPS_PROXY) or the mirror "
    "(PIP_INDEX_URL), and run make again."
)


def last_words(copy: WorkingCopy, *command: str, **variables: str) -> str:
    """The last line that a failing command says, but for make's own."""
    code, said = copy.attempt(*command, **variables)
    assert code, said
    assert "Traceback" not in said
    return [line for line in said.splitlines() if not line.startswith("make: ***")][-1]


@pytest.fixture
def new_machine(tmp_path: Path) -> WorkingCopy:
    """A copy in which nothing is installed."""
    return copy_tree(tmp_path / "copy", installed=())


@pytest.mark.parametrize(
    "python",
    [None, "echo 3.12; exit 1", "echo 'pyenv: python3.13: command not found' >&2; exit 127"],
)
def test_without_python_3_13_it_says_how_to_get_it(
    new_machine: WorkingCopy, tmp_path: Path, python: str | None
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name) or name)
    if python:
        (tools / "python3.13").write_text(f"#!/bin/sh\n{python}\n")
        (tools / "python3.13").chmod(0o755)
    assert last_words(new_machine, "make", "dev", PATH=str(tools)) == PYTHON_MISSING
    assert not (new_machine.root / ".venv").exists()


def test_without_network_it_says_what_to_check(new_machine: WorkingCopy) -> None:
    assert last_words(new_machine, "make", "dev", **no_network(new_machine)) == INDEX_AWAY


def no_network(copy: WorkingCopy) -> dict[str, str]:
    nobody = f"http://127.0.0.1:{free_port()}"
    own = {name: "" for name in os.environ if name.startswith(("PIP_", "UV_"))}
    return own | {
        "HTTP_PROXY": nobody,
        "HTTPS_PROXY": nobody,
        "http_proxy": nobody,
        "https_proxy": nobody,
        "NO_PROXY": "",
        "no_proxy": "",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "1",
        "PIP_NO_CACHE_DIR": "1",
        "UV_CACHE_DIR": str(copy.root / ".cache"),
    }


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ((), "The disk is full: free 1 GB and run make again."),
        ((".venv",), DISK_FULL),
    ],
)
def test_on_a_full_disk_it_says_so(tmp_path: Path, installed: tuple[str, ...], said: str) -> None:
    copy = copy_tree(tmp_path / "copy", installed=installed)
    (copy.root / "disk").mkdir()
    full = "mount -t tmpfs -o size=12m tmpfs disk && cp -a $(ls -A | grep -vx disk) disk && cd disk"
    # In a mount namespace of its own, which ends with the command.
    command = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount"]
    command += ["sh", "-c", f"{full} && exec make dev"]
    assert last_words(copy, *command, PORT=str(free_port())) == said


def test_a_port_in_use_is_said(copy: WorkingCopy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = last_words(copy, "make", "dev", PORT=str(port))
    assert said.startswith(
        f"Port {port} of 127.0.0.1 cannot be used (Address already in use): choose"
    )
    assert said.endswith(" make dev.")


def test_a_server_that_runs_already_is_named(copy: WorkingCopy) -> None:
    environment = copy.environment(PORT=str(free_port()))
    with typed("make", "dev", folder=copy.root, environment=environment) as dev:
        dev.wait_for("Ctrl-C")
        [url] = [line.split()[-1] for line in dev.lines if line.startswith("The API runs at")]
        said = last_words(copy, "make", "dev", PORT=str(free_port()))
    assert said.startswith(f"It runs already, at {url} (pid ")
    assert said.endswith("): use that, or end it: Ctrl-C where it runs, or kill and its pid.")


def test_a_database_url_that_is_none_is_said(copy: WorkingCopy) -> None:
    (copy.root / ".env").write_text("DATABASE_URL=mysql://nowhere\n")
    said = last_words(copy, "make", "dev", PORT=str(free_port()))
    assert said == "DATABASE_URL: must be a postgresql:// URL."


def test_a_database_that_is_away_is_said(copy: WorkingCopy) -> None:
    (copy.root / ".env").write_text(
        f"DATABASE_URL=postgresql://u:secret@127.0.0.1:{free_port()}/d\n"
    )
    said = last_words(copy, "make", "dev", PORT=str(free_port()))
    assert said.startswith("DATABASE_URL does not work (")
    assert "Connection refused" in said
    assert said.endswith(
        "): correct it, or take it out of .env and the environment, and make dev brings a database "
        "of its own."
    )
    assert "secret" not in said


def test_a_wrong_password_is_said(copy: WorkingCopy, database: Database) -> None:
    url = database.app_url.replace(":local@", ":wrong@")
    (copy.root / ".env").write_text(f"DATABASE_URL={url}\n")
    said = last_words(copy, "make", "dev", PORT=str(free_port()))
    assert said.startswith("DATABASE_URL does not work (")
    assert "password authentication failed" in said


def test_a_database_without_tables_is_said(copy: WorkingCopy, cluster: Cluster) -> None:
    with cluster.clone("template0") as empty:
        (copy.root / ".env").write_text(f"DATABASE_URL={empty.app_url}\n")
        said = last_words(copy, "make", "dev", PORT=str(free_port()))
    assert said == (
        "The database of DATABASE_URL is not prepared: run make migrate with its direct URL as "
        "DATABASE_URL_UNPOOLED."
    )
