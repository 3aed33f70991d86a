"""Starts a program that does not run as root and that ends when its parent ends.

PostgreSQL and PgBouncer refuse to run as root, and containers and CI machines often have no other
user. subprocess can change the user, but it cannot enter a user namespace or request a signal for
the end of the parent, and its preexec_fn may deadlock in a process that has threads. So `start`
runs this file as a program, which gives up root and then replaces itself with the command.
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
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522


def choose_identity(*reachable: Path) -> str:
    """Return the identity for a program that needs to access these files and folders.

    - SELF for every user except root.
    - NAMESPACE for root: a user namespace in which root is another user, so that root still owns
      all files.
    - The id of the user nobody for root if namespaces are refused, as in most containers, or give
      no access to the paths.
    """
    if os.geteuid() != 0:
        return SELF
    return NAMESPACE if can_access(NAMESPACE, *reachable) else str(NOBODY)


@functools.cache
def can_access(identity: str, *paths: Path) -> bool:
    """Whether a program with this identity can read these files and write to these folders."""
    command = _through_this_file(0, identity, "{}", "--can-access", *map(str, paths))
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def start(
    command: Sequence[str | Path],
    *,
    identity: str,
    stop_signal: signal.Signals,
    output: IO[bytes],
    env: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command that receives `stop_signal` when this process ends, however it ends.

    Linux sends the signal when the *thread* that called this function ends: call it in the main
    thread, or in one that lives as long as the program should. macOS has no such signal.

    identity: SELF, NAMESPACE or a user id in digits. output: for standard output and errors.
    env: all variables of the command. pass_fds: file descriptors that it inherits. cwd: the folder
    to start in.
    """
    words = [str(word) for word in command]
    own_env = dict(env)
    if sys.platform == "linux":
        # This file's Python may need the caller's variables (LD_LIBRARY_PATH); the command gets
        # only `env`.
        words = _through_this_file(int(stop_signal), identity, json.dumps(own_env), *words)
        own_env = dict(os.environ)
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=own_env,
        # Ctrl-C must not reach the command: its parent stops it.
        start_new_session=True,
        pass_fds=pass_fds,
        cwd=cwd,
    )


def _through_this_file(stop_signal: int, identity: str, env: str, *command: str) -> list[str]:
    this_file = [sys.executable, "-I", "-S", __file__]
    return [*this_file, str(os.getpid()), str(stop_signal), identity, env, *command]


def _become(
    parent: int, stop_signal: int, identity: str, env: dict[str, str], command: list[str]
) -> None:
    libc = ctypes.CDLL(None)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if identity == NAMESPACE:
        _enter_namespace()
    elif identity != SELF:
        _lower_to(libc, int(identity))
    if command[0] == "--can-access":
        sys.exit(not all(map(_is_accessible, command[1:])))
    # Not earlier: a change of identity resets it.
    libc.prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("The process that started this program has ended.")
    # Python ignores these two signals, and the command would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execve(command[0], command, env)


def _is_accessible(path: str) -> bool:
    return os.access(path, os.R_OK | os.X_OK | (os.W_OK if Path(path).is_dir() else 0))


def _enter_namespace() -> None:
    os.unshare(os.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", "1000 0 1"), ("gid_map", "1000 0 1")):
        Path("/proc/self", name).write_text(text)


def _lower_to(libc: ctypes.CDLL, uid: int) -> None:
    # Keep the capabilities when the user changes. PostgreSQL examines its own programs with
    # access(2), which takes them into account. If this bit is refused, the next call still keeps
    # them during the change.
    libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # Keep one capability, so that the programs and the data may be in folders that only root can
    # enter, such as a home folder or pytest's temporary folders.
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
        sys.exit(f"Cannot start as {identity}: {error}")
