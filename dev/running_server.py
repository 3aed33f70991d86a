"""Records the server that runs in this folder, so that `make smoke` and `make token` find it.

Only the standard library is imported: dev/smoke.py also runs where nothing else is installed.
"""

import fcntl
import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

LOCAL = Path(__file__).parent.parent / ".local"
COMMANDS = ("dev", "offline")


@dataclass(frozen=True)
class RunningServer:
    """A server on this machine and its process."""

    url: str
    pid: int


class AlreadyRunning(Exception):
    """The same command is already running. `server` is None while it is still starting."""

    def __init__(self, server: RunningServer | None) -> None:
        super().__init__(server)
        self.server = server


@contextmanager
def recorded(command: str, url: str, folder: Path = LOCAL) -> Generator[None]:
    """Record this process as the server that `make <command>` runs. Raises AlreadyRunning."""
    folder.mkdir(exist_ok=True)
    with _file(folder, command).open("a+") as file:
        if not _lock(file.fileno()):
            raise AlreadyRunning(_read(file.name))
        file.truncate(0)
        json.dump(asdict(RunningServer(url, os.getpid())), file)
        file.flush()
        yield


def find_server(folder: Path = LOCAL) -> RunningServer | None:
    """Return the running server, or None. Records of processes that have ended are ignored."""
    for command in COMMANDS:
        try:
            with _file(folder, command).open() as file:
                # The kernel releases the lock when its process ends, however that happens.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(file.name)
        except OSError:
            continue
    return None


def _file(folder: Path, command: str) -> Path:
    return folder / f"server-{command}.json"


def _lock(descriptor: int) -> bool:
    # find_server() in another process may hold the lock for an instant.
    for _ in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def _read(name: str) -> RunningServer | None:
    try:
        return RunningServer(**json.loads(Path(name).read_text()))
    except (OSError, ValueError, TypeError):
        return None
