"""Structured logs, one JSON line a request; the only module that touches Powertools."""

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

# Names of asyncio tasks say nothing: the request id does.
logging.logAsyncioTasks = False  # ty: ignore[missing-attribute]

SERVICE = "task-api"

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_logger: Logger | None = None
# json.dumps would make one for each line. In ASCII, which no stream refuses.
_to_json = json.JSONEncoder(separators=(",", ":"), default=str).encode


class CurrentStdout(logging.StreamHandler[TextIO]):
    """Writes to what is standard output at the moment, as `print` does: it may be replaced."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # ty: ignore[incompatible-property-override]
        return sys.stdout or sys.stderr  # None where the first was closed before the start


def _get_logger() -> Logger:
    global _logger  # noqa: PLW0603 - made at the first line, when the settings are known
    if _logger is None:
        try:
            level = load_settings().LOG_LEVEL
        except SettingsError:
            level = "INFO"  # somebody has to say what is wrong
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
    """Put a request id on every line of this request; other requests of the process keep theirs."""
    # Not by Powertools' own context keys: they cost as much as the line itself.
    _request_id.set(request_id)


def log_request(**fields: Any) -> None:
    """The one line of an answered request: as Powertools would write it, if it had the time.

    By way of it and `logging` the line costs 135 k instructions more, a tenth of a warm request.
    So handlers of `logging` hear of notices and failures only.
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
    # As `logging` has it: what cannot be said is no reason to fail.
    with suppress(Exception):
        stream = sys.stdout or sys.stderr
        stream.write(f"{_to_json(present)}\n")
        stream.flush()


def log_notice(message: str, **fields: Any) -> None:
    """Something that an operator should look at."""
    _get_logger().warning(message, request_id=_request_id.get(), **fields)


def log_failure(message: str, error: BaseException) -> None:
    """An error nobody expected: its class and where it rose, with the errors that led to it.

    Without their texts, which may quote SQL parameters, titles or connection strings.
    """
    causes, seen = [], error
    while seen is not None and len(causes) < 5:
        frames = traceback.extract_tb(seen.__traceback__)[-8:]
        causes.append(
            {
                "error": type(seen).__name__,
                "sqlstate": getattr(seen, "sqlstate", None),
                "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        seen = seen.__cause__ or seen.__context__
    _get_logger().error(message, request_id=_request_id.get(), causes=causes)


def emit_metrics(metrics: Mapping[str, tuple[str, list[float]]], **properties: Any) -> None:
    """Metrics of CloudWatch, as one log line in its embedded metric format; only on Lambda.

    `metrics` gives a unit and values for each name; `properties` stand beside them in the line,
    for queries of the log.
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
