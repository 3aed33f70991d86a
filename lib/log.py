"""Writes structured logs and metrics, one JSON object per line, through Powertools."""

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

# The names of asyncio tasks add nothing to a line that has a request id.
logging.logAsyncioTasks = False  # ty: ignore[missing-attribute]

SERVICE = "task-api"

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_logger: Logger | None = None
# json.dumps would create an encoder per line. Every stream accepts its ASCII output.
_to_json = json.JSONEncoder(separators=(",", ":"), default=str).encode


class CurrentStdout(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stdout`, which may be replaced after this handler is created."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # ty: ignore[incompatible-property-override]
        return sys.stdout or sys.stderr  # a process may start with standard output closed


def _get_logger() -> Logger:
    global _logger  # noqa: PLW0603 - created at the first line, when the settings are readable
    if _logger is None:
        try:
            level = load_settings().LOG_LEVEL
        except SettingsError:
            level = "INFO"  # the line may be about the invalid settings
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
    """Add a request id to every line of this request. Concurrent requests keep their own."""
    # Powertools' own context keys cost as much as writing the line.
    _request_id.set(request_id)


def log_request(**fields: Any) -> None:
    """Write the line of a completed request, in the format of Powertools.

    It does not pass through Powertools and `logging`, which would take 135,000 more instructions, a
    tenth of a warm request. Handlers added to `logging` therefore receive the other lines only.
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
    # As in `logging`, a line that cannot be written does not fail the request.
    with suppress(Exception):
        stream = sys.stdout or sys.stderr
        stream.write(f"{_to_json(present)}\n")
        stream.flush()


def log_notice(message: str, **fields: Any) -> None:
    """Log a warning that an operator should look at."""
    _get_logger().warning(message, request_id=_request_id.get(), **fields)


def log_failure(message: str, error: BaseException) -> None:
    """Log an unexpected error: the class and stack frames of it and of its causes.

    The messages of errors are left out, because they may quote SQL parameters, titles or connection
    strings. In local use a full traceback is printed to standard error as well.
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

    `metrics` maps each name to its unit and values. `properties` are added to the line for log
    queries.
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
