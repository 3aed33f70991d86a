"""Writes logs and metrics as JSON, one object per line, in the format of Powertools."""

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

from lib.settings import SettingsError, load_settings, runs_on_lambda, trace_id

# Lines are matched by request id, so `logging` need not look up the current asyncio task.
logging.logAsyncioTasks = False  # ty: ignore[missing-attribute]

SERVICE = "task-api"

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_logger: Logger | None = None
# json.dumps would create an encoder for each line. The output is ASCII, which any stream encodes.
_to_json = json.JSONEncoder(separators=(",", ":"), default=str).encode


class CurrentStdout(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stdout`, which may be replaced after this handler is created."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # ty: ignore[incompatible-property-override]
        return sys.stdout or sys.stderr  # a process may start with standard output closed


def _get_logger() -> Logger:
    global _logger  # noqa: PLW0603 - created with the first line: imports read no settings
    if _logger is None:
        try:
            level = load_settings().LOG_LEVEL
        except SettingsError:
            level = "INFO"  # so that the invalid settings can be logged
        _logger = Logger(
            service=SERVICE,
            level=level,
            logger_handler=CurrentStdout(),
            use_rfc3339=True,
            utc=True,
            location=None,
        )
    return _logger


def begin_request(request_id: str) -> None:
    """Set the request id for every later line of this request, and of no concurrent one."""
    # Not with Powertools' context keys: setting them takes as long as writing a line.
    _request_id.set(request_id)


def log_request(**fields: Any) -> None:
    """Log a completed request.

    The line has the format of Powertools but is written directly. That saves 135,000 instructions,
    a tenth of a warm request (bench/NOTES.md). Handlers of `logging` do not receive this line.
    """
    if _get_logger().log_level > logging.INFO:
        return
    line = {
        "level": "INFO",
        "message": "request",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "service": SERVICE,
        "request_id": _request_id.get(),
        **fields,
        "xray_trace_id": trace_id(),
    }
    present = {name: value for name, value in line.items() if value is not None}
    # Like `logging`, ignore an error of the stream: it must not fail the request.
    with suppress(Exception):
        stream = sys.stdout or sys.stderr
        stream.write(f"{_to_json(present)}\n")
        stream.flush()


def log_info(message: str, **fields: Any) -> None:
    """Log the result of a scheduled job."""
    _get_logger().info(message, request_id=_request_id.get(), **fields)


def log_warning(message: str, **fields: Any) -> None:
    """Log a condition that an operator should look at."""
    _get_logger().warning(message, request_id=_request_id.get(), **fields)


def log_failure(message: str, error: BaseException) -> None:
    """Log an unexpected error: its class and stack frames, and those of its causes.

    Error messages are omitted, because they may quote SQL parameters, titles or connection strings.
    In local use the full traceback is also printed to standard error.
    """
    causes, current = [], error
    while current is not None and len(causes) < 5:
        frames = traceback.extract_tb(current.__traceback__)[-8:]
        causes.append(
            {
                "error": type(current).__name__,
                "sqlstate": getattr(current, "sqlstate", None),
                "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        current = current.__cause__ or current.__context__
    _get_logger().error(message, request_id=_request_id.get(), causes=causes)
    if _is_local():
        with suppress(Exception):
            traceback.print_exception(error)


def _is_local() -> bool:
    try:
        return load_settings().is_local
    except SettingsError:
        return False


def emit_metrics(metrics: Mapping[str, tuple[str, list[float]]], **properties: Any) -> None:
    """Write CloudWatch metrics as one log line in the embedded metric format, on Lambda only.

    `metrics` maps each name to its unit and values. `properties` are added to the line, for queries
    in the log.
    """
    if not runs_on_lambda():
        return
    emf = EphemeralMetrics(namespace=load_settings().POWERTOOLS_METRICS_NAMESPACE, service=SERVICE)
    for name, (unit, values) in metrics.items():
        for value in values:
            emf.add_metric(name, unit, value)
    for name, value in properties.items():
        emf.add_metadata(name, value)
    emf.flush_metrics()
