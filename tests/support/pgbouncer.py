"""Runs PgBouncer, which is Neon's connection pooler, in front of a server of dev.postgres."""

import contextlib
import fcntl
import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg

from dev import unprivileged
from dev.postgres import HOST, Server, free_port
from tests.support.certificate import Certificate, write_certificate

# The program, or a dynamic loader with arguments that end in the program.
type Command = tuple[str, ...]

# The first version with prepared statements in transaction mode, which Neon supports.
OLDEST = (1, 21)

_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "pgbouncer"

# Debian 13 has version 1.24.1, as Neon has. With its own libraries it also runs on Debian 12.
_SUITE = "trixie"
_PACKAGES = (
    *("pgbouncer", "libc6", "libcares2", "libevent-2.1-7t64", "libpam0g", "libssl3t64"),
    *("libsystemd0", "libaudit1", "libcap-ng0", "libcap2", "libzstd1"),
)
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_SETTINGS = {
    "pool_mode": "transaction",
    "max_prepared_statements": "1000",
    "default_pool_size": "10",
    "max_client_conn": "1000",
    "query_wait_timeout": "120",
    "ignore_startup_parameters": "extra_float_digits",
    "auth_type": "scram-sha-256",
    "server_tls_sslmode": "disable",
    "unix_socket_dir": "",
}

_START_TIMEOUT = 30


class PgBouncerError(Exception):
    """PgBouncer cannot run. The text is for the terminal: a sentence, then the end of the log."""


@dataclass(frozen=True)
class Pooler:
    """A PgBouncer that listens on 127.0.0.1.

    ca: the file with the CA of its certificate, or None without TLS.
    admin_url: the URL of the console (PAUSE, RESUME, KILL, SHOW), which needs autocommit.
    """

    port: int
    pid: int
    ca: Path | None
    admin_url: str = field(repr=False)

    def url(self, database: str, *, user: str, password: str) -> str:
        """The libpq URL of a database behind the pooler. With TLS it is verified in full."""
        return _url(self.port, self.ca, database, user, password)


@contextmanager
def running(
    server: Server,
    *,
    users: Mapping[str, str],
    folder: Path,
    tls: bool = True,
    settings: Mapping[str, str] | None = None,
) -> Generator[Pooler]:
    """Run a pooler for every database of the server until the end of the `with`.

    users: the password of each role that may connect, by the role's name in PostgreSQL.
    folder: for the configuration, keys and `log`; created if need be.
    settings: of the section [pgbouncer]; they override those that imitate Neon's pooler.

    It stops when this process ends, however that happens (see dev/unprivileged.py).
    Raises PgBouncerError.
    """
    command = binary()
    folder = folder.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate = write_certificate(folder) if tls else None
    admin, admin_password = "pooler_admin", secrets.token_hex(16)
    _write_users(folder / "users.txt", {**users, admin: admin_password})

    for attempt in range(5):
        port = free_port()
        lines = _SETTINGS | _tls_settings(certificate) | dict(settings or {})
        lines |= {
            "listen_addr": HOST,
            "listen_port": str(port),
            "auth_file": str(folder / "users.txt"),
            "admin_users": admin,
        }
        _write_configuration(folder / "pgbouncer.ini", server, lines)
        ca = certificate.ca if certificate else None
        admin_url = _url(port, ca, "pgbouncer", admin, admin_password)
        process = _start(command, folder)
        try:
            if _wait_until_ready(process, admin_url, folder):
                yield Pooler(port, process.pid, ca, admin_url)
                return
        finally:
            # It has no state to save, and other signals wait for clients.
            process.kill()
            process.wait()
        if attempt == 4 or "Address already in use" not in _log(folder):
            raise _with_log("PgBouncer stopped while it started.", folder)


def binary() -> Command:
    """The command of a recent PgBouncer: the installed one, or else one downloaded into .cache/.

    Raises PgBouncerError, which says what to install, if neither is possible.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    installed = shutil.which("pgbouncer", path=path)
    if installed and _version((installed,)) >= OLDEST:
        return (installed,)
    if platform.system() != "Linux" or _release().get("ID") != "debian":
        installer = "brew" if platform.system() == "Darwin" else "sudo apt-get"
        raise PgBouncerError(
            f"PgBouncer {_dotted(OLDEST)} or newer is missing: run {installer} install pgbouncer."
        )
    folder = _CACHE / f"{_SUITE}-{platform.machine()}"
    try:
        with _locked_cache():
            command = _command_in(folder)
            if command is None or _version(command) < OLDEST:
                _download(folder)
                command = _command_in(folder)
    except OSError as error:
        raise PgBouncerError(f"PgBouncer cannot be stored in {_CACHE}: {error}.") from error
    if command is None or _version(command) < OLDEST:
        raise PgBouncerError(
            f"The PgBouncer downloaded into {folder} does not run on this machine: "
            f"put PgBouncer {_dotted(OLDEST)} or newer on PATH."
        )
    return command


@contextmanager
def _locked_cache() -> Generator[None]:
    _CACHE.mkdir(parents=True, exist_ok=True)
    lock = os.open(_CACHE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _download(target: Path) -> None:
    """Unpack Debian's packages into `target`; the machine's apt downloads and verifies them."""
    sys.stderr.write(f"Downloading PgBouncer from Debian {_SUITE} (about 17 MB, once) ...\n")
    sys.stderr.flush()
    with tempfile.TemporaryDirectory(prefix="download-", dir=_CACHE) as name:
        work = Path(name)
        for folder in ("apt/lists/partial", "cache/archives/partial", "packages", "tree"):
            (work / folder).mkdir(parents=True)
        (work / "status").touch()
        (work / "sources.list").write_text(
            f"deb [signed-by={_KEYRING}] {_archive()} {_SUITE} main\n"
        )
        apt = ["apt-get", "-q", *_apt_options(work)]
        _run([*apt, "update"], work)
        _run([*apt, "download", *_PACKAGES], work / "packages")
        for package in sorted((work / "packages").glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(package), str(work / "tree")], work)
        shutil.rmtree(target, ignore_errors=True)
        (work / "tree").rename(target)


def _archive() -> str:
    """The URL from which this machine gets its Debian packages."""
    targets = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)"]
    codename = _release().get("VERSION_CODENAME", "")
    for line in _run([*targets, "Created-By: Packages"], Path("/")).splitlines():
        release, _, uri = line.partition(" ")
        if release == codename:
            return uri
    raise PgBouncerError(
        f"apt has no archive of Debian {codename} to download PgBouncer from: "
        f"put PgBouncer {_dotted(OLDEST)} or newer on PATH."
    )


def _apt_options(work: Path) -> list[str]:
    """Options that keep apt's files in `work`; of the machine's settings only proxies apply."""
    options = {
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State": work / "apt",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "root",
        "APT::Update::Post-Invoke": "",
        "APT::Update::Post-Invoke-Success": "",
        "APT::Update::Error-Mode": "any",
    }
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _run(command: list[str], folder: Path) -> str:
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        last = (result.stderr or result.stdout).rstrip().splitlines()[-6:]
        raise PgBouncerError(
            "\n".join(
                (
                    "PgBouncer could not be downloaded: make apt-get update work on this machine, "
                    f"or put PgBouncer {_dotted(OLDEST)} or newer on PATH.",
                    *(f"  {line}" for line in last),
                )
            )
        )
    return result.stdout


def _command_in(folder: Path) -> Command | None:
    program = folder / "usr" / "sbin" / "pgbouncer"
    loader = next(folder.glob("usr/lib/*-linux-gnu/ld-linux-*.so.*"), None)
    if loader is None or not program.exists():
        return None
    return (str(loader), "--library-path", str(loader.parent), str(program))


def _version(command: Command) -> tuple[int, ...]:
    """The version that the command reports, or (0,) if it does not run."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        printed = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=True
        )
        if found := re.search(r"PgBouncer (\d+)\.(\d+)", printed.stdout):
            return tuple(map(int, found.groups()))
    return (0,)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _tls_settings(certificate: Certificate | None) -> dict[str, str]:
    if certificate is None:
        return {"client_tls_sslmode": "disable"}
    return {
        "client_tls_sslmode": "require",
        "client_tls_cert_file": str(certificate.chain),
        "client_tls_key_file": str(certificate.key),
    }


def _write_users(file: Path, users: Mapping[str, str]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    file.touch(mode=0o600)
    file.write_text("".join(f"{quoted(name)} {quoted(users[name])}\n" for name in users))


def _write_configuration(file: Path, server: Server, settings: Mapping[str, str]) -> None:
    lines = [f"{name} = {value}" for name, value in settings.items()]
    databases = f"* = host={HOST} port={server.port}"
    file.write_text("\n".join(("[databases]", databases, "[pgbouncer]", *lines, "")))


def _start(command: Command, folder: Path) -> subprocess.Popen[bytes]:
    configuration = folder / "pgbouncer.ini"
    files = [Path(word) for word in command if word.startswith("/")]
    with (folder / "log").open("wb") as log:
        return unprivileged.start(
            [*command, configuration],
            identity=unprivileged.choose_identity(*files, configuration),
            stop_signal=signal.SIGKILL,
            output=log,
            # The machine's OpenSSL configuration may be for another version of OpenSSL.
            env={"LC_ALL": "C", "TZ": "UTC", "OPENSSL_CONF": os.devnull},
        )


def _wait_until_ready(process: subprocess.Popen[bytes], admin_url: str, folder: Path) -> bool:
    """Return True once the console responds, False if PgBouncer stops before that."""
    deadline = time.monotonic() + _START_TIMEOUT
    while process.poll() is None:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(admin_url, connect_timeout=5).close()
            return True
        if time.monotonic() > deadline:
            raise _with_log(f"PgBouncer was not ready after {_START_TIMEOUT} seconds.", folder)
        time.sleep(0.01)
    return False


def _url(port: int, ca: Path | None, database: str, user: str, password: str) -> str:
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}"
    tls = f"sslmode=verify-full&sslrootcert={quote(str(ca), safe='')}" if ca else "sslmode=disable"
    return f"postgresql://{credentials}@{HOST}:{port}/{quote(database, safe='')}?{tls}"


def _log(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")


def _with_log(message: str, folder: Path) -> PgBouncerError:
    last = _log(folder).rstrip().splitlines()[-12:]
    return PgBouncerError("\n".join((message, *(f"  {line}" for line in last))))
