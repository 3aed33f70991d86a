"""Starts a program that is never root and ends with its parent; knows not what the program does.

PostgreSQL and PgBouncer refuse to run as root, and root is what containers and CI machines give us.
The file is also the little program that stands between: `start` runs it, it lowers itself and then
becomes the real one. That is no preexec_fn, because Python code between fork and exec may deadlock
in a process that has threads (and Python warns about it).
"""

import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

SELF = "self"
NAMESPACE = "namespace"
NOBODY = 65534

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def choose_identity(*reachable: Path) -> str:
    """Who a program that needs these files and folders should be: itself, or something below root.

    Root in a user namespace of its own comes first, because every file stays root's. Where that is
    refused (most containers) or does not reach the paths, it is the user "nobody".
    """
    if os.geteuid() != 0:
        return SELF
    return NAMESPACE if _namespace_reaches(reachable) else str(NOBODY)


def start(
    command: Sequence[str | Path],
    *,
    identity: str,
    stop_signal: signal.Signals,
    output: IO[bytes],
    env: Mapping[str, str],
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start the command; when this process dies, whatever the way, the command gets `stop_signal`.

    The kernel means the *thread* that called this, not the process: call it from a thread that
    lives as long as the program should (the main one), never from a pool's worker.
    On macOS there is no such signal.

    identity: SELF, NAMESPACE or a user id in digits. pass_fds: open files that it inherits.
    """
    words = [str(word) for word in command]
    own_env = dict(env)
    if sys.platform == "linux":
        # The program gets `env` and nothing else; Python may need the caller's (LD_LIBRARY_PATH).
        words = _through_this_file(int(stop_signal), identity, json.dumps(own_env), *words)
        own_env = dict(os.environ)
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=own_env,
        # Ctrl-C in the terminal is for us: we then stop the program in our own order.
        start_new_session=True,
        pass_fds=pass_fds,
    )


@functools.cache
def _namespace_reaches(paths: tuple[Path, ...]) -> bool:
    command = _through_this_file(0, NAMESPACE, "{}", "--reaches", *map(str, paths))
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _through_this_file(stop_signal: int, identity: str, env: str, *command: str) -> list[str]:
    me = [sys.executable, "-I", "-S", __file__]
    return [*me, str(os.getpid()), str(stop_signal), identity, env, *command]


def _become(
    parent: int, stop_signal: int, identity: str, env: dict[str, str], command: list[str]
) -> None:
    libc = ctypes.CDLL(None)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if identity == NAMESPACE:
        _enter_namespace()
    elif identity != SELF:
        _lower_to(libc, int(identity))
    if command[0] == "--reaches":
        sys.exit(not all(map(_reaches, command[1:])))
    # Last, because the kernel forgets it whenever the identity changes.
    libc.prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("The process that wanted this program has ended.")
    # Python ignores these two; an ignored signal stays ignored in the program that follows.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execve(command[0], command, env)


def _reaches(path: str) -> bool:
    return os.access(path, os.R_OK | os.X_OK | (os.W_OK if Path(path).is_dir() else 0))


def _enter_namespace() -> None:
    os.unshare(os.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", "1000 0 1"), ("gid_map", "1000 0 1")):
        Path("/proc/self", name).write_text(text)


def _lower_to(libc: ctypes.CDLL, uid: int) -> None:
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # One capability stays, so that the binaries and the data may lie in folders only root enters
    # (a home folder, pytest's temporary ones). Without it the program runs where it can reach.
    bit = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if libc.capset(header, data) == 0:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


if __name__ == "__main__":
    try:
        _, parent, stop_signal, identity, env, *command = sys.argv
        _become(int(parent), int(stop_signal), identity, json.loads(env), command)
    except OSError as error:
        sys.exit(f"Not started as {identity}: {error}")
