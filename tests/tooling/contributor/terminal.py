"""A command as somebody at a terminal meets it: its lines as they come, Ctrl-C to end it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 240  # seconds: bounds a hang, on a crowded machine too


class Terminal:
    """A running command and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Begin to read."""
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text: str, *, after: int = 0) -> int:
        """Wait for a line with this text, not before line `after`; gives the number behind it."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for number, line in enumerate(list(self.lines[after:]), after):
                if text in line:
                    return number + 1
            if not self._reader.is_alive():
                break
            time.sleep(0.05)
        raise AssertionError(f"{text!r} was not said:\n" + "\n".join(self.lines))

    def wait(self) -> int:
        """Wait for the end; gives the exit code, with every line read."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code


@contextmanager
def typed(
    *command: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Generator[Terminal]:
    """Run a command in a folder; Ctrl-C ends it with the block, if it has not ended before."""
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
