"""`make smoke URL=https://...`: runs the smoke test against a deployment and prints the result.

Without a URL it tests SMOKE_BASE_URL, or else the server that `make dev` runs.

The exit code is 0 if every step passed, 1 if a step failed, and 2 if the test could not start,
which says nothing about the deployment.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from jwt import InsecureKeyLengthWarning

from dev.running_server import find_server
from lib.settings import EXAMPLE_SECRET, SettingsError, load_settings
from lib.smoke.report import SmokeReport, SmokeStep
from lib.smoke.run import run_smoke_test

ENV_FILE = Path(__file__).parent.parent / ".env"
DEFAULT_URL = "http://127.0.0.1:8000"  # of make dev with its default port
COLUMNS = "{:15} {:>8} {:>8} {:>8}   {}"


def main(arguments: list[str] | None = None) -> int:
    """Run the smoke test. Returns the exit code."""
    # A deployment has a longer secret, and refuses the token with 401.
    warnings.simplefilter("ignore", InsecureKeyLengthWarning)
    options = _options(arguments)
    _complete_environment(options.url, options.origin)
    try:
        settings = load_settings()
        if not os.environ.get("CORS_ORIGINS") and not _is_this_machine(settings.SMOKE_BASE_URL):
            # The default origin is for local use and says nothing about a deployment.
            settings = settings.model_copy(update={"CORS_ORIGINS": []})
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    # JSON goes to a file or a pipe; a person at the terminal still sees the progress.
    show_table = not options.json or sys.stderr.isatty()
    table = Table(sys.stderr if options.json else sys.stdout) if show_table else None
    if table:
        table.begin(settings.SMOKE_BASE_URL or "")
    report = run_smoke_test(settings, progress=table.show if table else None)
    if table:
        table.end(report)
    if options.json:
        print(json.dumps(asdict(report), indent=2, default=str))
    if report.failed == ["setup"]:
        return 2
    return 0 if report.ok else 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make smoke", description="Test a deployment end to end.", allow_abbrev=False
    )
    parser.add_argument(
        "url",
        nargs="?",
        help="its base URL (default: SMOKE_BASE_URL, else the server that make dev runs)",
    )
    parser.add_argument(
        "--origin", help="a frontend origin that CORS must allow (default: from CORS_ORIGINS)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args(arguments)


def _complete_environment(url: str | None, origin: str | None) -> None:
    """Add the command line's values, and .env's where the environment has none."""
    if ENV_FILE.exists():
        from dotenv import dotenv_values  # noqa: PLC0415 - CI runs this file without development packages

        _fill(dotenv_values(ENV_FILE))
    if url:
        # make dev prints the address of the API with /api, which the paths of the test contain.
        os.environ["SMOKE_BASE_URL"] = url.rstrip("/").removesuffix("/api")
    if origin:
        os.environ["CORS_ORIGINS"] = origin
    server = find_server()
    _fill({"SMOKE_BASE_URL": server.url if server else DEFAULT_URL})
    if _is_this_machine(os.environ["SMOKE_BASE_URL"]):
        _fill({"BETTER_AUTH_SECRET": EXAMPLE_SECRET})


def _fill(values: Mapping[str, str | None]) -> None:
    os.environ.update({k: v for k, v in values.items() if v and not os.environ.get(k)})


def _is_this_machine(url: str | None) -> bool:
    host = urlsplit(url or "").hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Table:
    """Prints each step when it ends; in a terminal also the name of the step that is running."""

    def __init__(self, output: IO[str]) -> None:
        self._output = output
        self._live = output.isatty()

    def begin(self, url: str) -> None:
        self._print(f"Smoke test of {url}\n")
        self._print(COLUMNS.format("step", "expected", "actual", "ms", "").rstrip())

    def show(self, name: str, step: SmokeStep | None) -> None:
        if step:
            start = "\r\x1b[K" if self._live else ""
            self._print(start + _row(step))
        elif self._live:
            self._print(f"{name} ...", end="")

    def end(self, report: SmokeReport) -> None:
        untried: dict[str, list[str]] = {}
        for step in report.steps:
            if step.result == "not tried":
                untried.setdefault(step.note, []).append(step.name)
        for reason, names in untried.items():
            because = f" ({reason})" if reason else ""
            self._print(f"\nNot tried{because}: {', '.join(names)}.")
        seconds = report.milliseconds / 1000
        self._print(f"\n{'OK' if report.ok else 'FAILED'} in {seconds:.1f} s. {report.detail}")
        if _is_this_machine(report.url) and "refused" in report.detail:
            self._print("Start the server with make dev, or name a deployment: make smoke URL=...")
        if report.failed[:1] == ["create"] and "401" in report.detail:
            self._print(
                "Check that BETTER_AUTH_SECRET, JWT_ISSUER and JWT_AUDIENCE in this shell are those"
                " of the server. The API of make demo accepts only the tokens of its page."
            )
        if report.failed[:1] == ["create"] and "403" in report.detail:
            self._print("Insert the user of the smoke test into users (docs/smoke.md, Data).")
        if not report.ok and report.failed != ["setup"]:
            self._print(f"The log lines of this run have the request id smoke-{report.run}-<step>.")

    def _print(self, text: str, end: str = "\n") -> None:
        print(text, end=end, file=self._output, flush=True)


def _row(step: SmokeStep) -> str:
    remark = step.note if step.result == "ok" else f"FAILED: {step.note}"
    milliseconds = f"{step.milliseconds:.1f}"
    return COLUMNS.format(step.name, step.expected, step.actual, milliseconds, remark).rstrip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # of `make smoke | head`
        # Python would try again to write what is left when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit("The smoke test was not completed: nothing reads its output any more.")
