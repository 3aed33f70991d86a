"""Shows the log of the local server as lines for people, where a terminal displays it.

lib/log.py writes JSON, which a deployment collects and a pipe passes on. A terminal gets one short
line for each request, with its path, which the JSON leaves out.
"""

import json
import os
import sys
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from io import TextIOBase, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

ROOT = Path(__file__).parent.parent
MAX_PATH = 120  # characters
GREEN, YELLOW, RED, CYAN = 32, 33, 31, 36
COLORS_OF_STATUS = {2: GREEN, 3: CYAN, 4: YELLOW, 5: RED}
COLORS_OF_LEVEL = {"WARNING": YELLOW, "ERROR": RED, "CRITICAL": RED}
OF_EVERY_LINE = {
    "level",
    "message",
    "timestamp",
    "service",
    "request_id",
    "xray_trace_id",
    "causes",
}

_path: ContextVar[str] = ContextVar("path", default="")


def wants_colors(environment: Mapping[str, str]) -> bool:
    """Whether the terminal shows colors, and its user has not refused them (no-color.org)."""
    return not environment.get("NO_COLOR") and environment.get("TERM", "") not in ("", "dumb")


def show_readable_lines(app: ASGIApp) -> ASGIApp:
    """Replace standard output by one that shows the log for people. Return the app to serve."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A user id may contain any letter, and the terminal may not know it.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout = ReadableLog(sys.stdout, colored=wants_colors(os.environ))

    async def with_path(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # The path alone: the query string may contain search texts. Encoded again, because a
            # decoded path may contain control characters of the terminal.
            _path.set(quote(scope["path"], safe="/:@|+,=")[:MAX_PATH])
        await app(scope, receive, send)

    return with_path


class ReadableLog(TextIOBase):
    """A stream that shows JSON lines of the log as lines for people, and passes on the rest."""

    def __init__(self, stream: TextIO, *, colored: bool) -> None:
        self.stream = stream
        self.colored = colored

    def write(self, text: str, /) -> int:
        """Write one or more complete lines, as lib/log.py and `print` do."""
        self.stream.write("".join(map(self._shown, text.splitlines(keepends=True))))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def _shown(self, line: str) -> str:
        try:
            record = json.loads(line) if line.startswith("{") else None
            return f"{describe(record, _path.get(), colored=self.colored)}\n" if record else line
        except (ValueError, KeyError, TypeError):
            return line  # not written by lib/log.py


def describe(record: Mapping[str, Any], path: str, *, colored: bool = False) -> str:
    """Describe a record of the log for people. A request has one line, an error several."""
    if record["message"] == "request":
        first = str(record["status"])
        color = COLORS_OF_STATUS.get(record["status"] // 100)
        before = f"{record['method']:6} {path:40} "
        after = [f"{record['milliseconds']:7.1f} ms", record.get("user_id", "-")]
        if reason := record.get("reason"):
            after.append(reason)
        rest = "  ".join(after)
    else:
        first, before = record["level"], ""
        color = COLORS_OF_LEVEL.get(record["level"])
        more = (f"{name}={value}" for name, value in record.items() if name not in OF_EVERY_LINE)
        rest = " ".join((record["message"], *more))
    shown = f"\033[{color}m{first}\033[0m" if colored and color else first
    return "\n".join((f"{before}{shown} {_printable(rest)}", *_causes(record)))


def _causes(record: Mapping[str, Any]) -> Generator[str]:
    for cause in record.get("causes", ()):
        state = f" (SQLSTATE {cause['sqlstate']})" if cause["sqlstate"] else ""
        yield f"  {cause['error']}{state}"
        for frame in cause["where"]:
            yield f"    {_printable(frame.removeprefix(f'{ROOT}/'))}"


def _printable(text: str) -> str:
    """`text` without control characters, which clients can send and a terminal would obey."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
