"""Runs a command as in a terminal: reads its lines and ends it with Ctrl-C."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

TIMEOUT = 240  # seconds; long enough for a crowded machine


class Terminal:
    """A running command and the lines it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Start to read."""
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text: str, *, after: int = 0) -> int:
        """Wait for a line with `text`, from line `after` on; returns the number of the next line.

        Raises AssertionError with all lines if there is none.
        """
        until = time.monotonic() + TIMEOUT
        while time.monotonic() < until:
            for number, line in enumerate(list(self.lines[after:]), after):
                if text in line:
                    return number + 1
            if not self._reader.is_alive():
                break
            time.sleep(0.05)
        raise AssertionError(f"{text!r} was not printed:\n" + "\n".join(self.lines))

    def wait(self) -> int:
        """Wait until the command has ended and every line is read; returns the exit code."""
        code = self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        return code


@contextmanager
def typed(
    *command: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Generator[Terminal]:
    """Run a command in a folder for the length of the `with`, then end it with Ctrl-C."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    terminal = Terminal(process)
    try:
        yield terminal
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        terminal.wait()
        assert process.stdout
        process.stdout.close()
