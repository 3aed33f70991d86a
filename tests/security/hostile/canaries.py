"""Strings that the API must never disclose, and a recorder of all outputs where they might be."""

import base64
import json
import logging
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import pytest
from opentelemetry import _logs, metrics, trace
from opentelemetry._logs import _internal as logs_internal
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lib import log

# One for each kind of value. They are letters and digits, so that only base64 changes them.
CANARIES = {
    name: f"canary{name}5b9e0c7d"
    for name in (
        "title", "description", "search", "key", "name", "email", "token", "signature", "secret",
        "previous", "cron", "password", "member", "document", "exception", "cookie", "header",
        "parameter", "basic", "smoke", "bypass", "kid", "stored", "tag",
    )
}  # fmt: skip


def canary(name: str) -> str:
    return CANARIES[name]


def _in_base64(text: str) -> Iterator[str]:
    """The part of its base64 form that does not depend on the text before and after it."""
    for offset in range(3):
        encoded = base64.urlsafe_b64encode(b"\0" * offset + text.encode()).decode()
        yield encoded[4 if offset else 0 : -4]


FORMS = {name: (text, *_in_base64(text)) for name, text in CANARIES.items()}


@dataclass
class Captured:
    """Everything that the API put out, by the output in which it was."""

    outputs: dict[str, list[str]] = field(default_factory=dict)

    def add(self, output: str, *texts: str) -> None:
        self.outputs.setdefault(output, []).extend(texts)

    def leaks(self) -> list[str]:
        """Each canary that leaked, with the output and an excerpt of it."""
        return [
            f"{name} in {output}: {excerpt(text, form)}"
            for output, texts in self.outputs.items()
            for text in texts
            for name, forms in FORMS.items()
            for form in forms
            if form in text
        ]


def excerpt(text: str, form: str) -> str:
    start = text.index(form)
    return text[max(0, start - 150) : start + len(form) + 50]


class _EveryRecord(logging.Handler):
    """Captures log records with all their attributes, also those that no format prints."""

    def __init__(self, captured: Captured) -> None:
        super().__init__(logging.NOTSET)
        self._captured = captured

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("http"):
            return  # a record of the test's own client
        text = logging.Formatter().format(record)  # with the traceback
        self._captured.add(f"log record of {record.name}", f"{text} {record.__dict__}")


@contextmanager
def capturing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Generator[Captured]:
    """Capture log lines, records of every library at DEBUG, stdout, stderr, spans and metrics."""
    captured, lines = Captured(), StringIO()
    ours = log._get_logger()._logger
    root = logging.getLogger()
    every = _EveryRecord(captured)
    with ExitStack() as stack:
        usual, as_usual = ours.handlers[:], logging.StreamHandler(lines)
        as_usual.setFormatter(usual[0].formatter)
        ours.handlers[:] = [as_usual]
        stack.callback(ours.handlers.__setitem__, slice(None), usual)
        for logger in (ours, root):
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.DEBUG)
        root.addHandler(every)
        stack.callback(root.removeHandler, every)
        telemetry = stack.enter_context(_telemetry(monkeypatch))
        yield captured
        captured.add("span", *(span.to_json() for span in telemetry.spans.get_finished_spans()))
        records = telemetry.records.get_finished_logs()
        captured.add("telemetry log", *(record.to_json() for record in records))
        data = telemetry.metrics.get_metrics_data()
        captured.add("telemetry metric", data.to_json() if data else "")
    read = capfd.readouterr()
    printed = read.out.splitlines()
    of_requests = [line for line in printed if '"message":"request"' in line]
    captured.add("log line", *of_requests, *lines.getvalue().splitlines())
    captured.add("stdout", *printed)
    captured.add("stderr", *read.err.splitlines())


@dataclass(frozen=True)
class _Telemetry:
    spans: InMemorySpanExporter
    metrics: InMemoryMetricReader
    records: InMemoryLogRecordExporter


@contextmanager
def _telemetry(monkeypatch: pytest.MonkeyPatch) -> Generator[_Telemetry]:
    """OpenTelemetry as an operator may install it: FastAPI's hooks use the global providers."""
    kept = _Telemetry(InMemorySpanExporter(), InMemoryMetricReader(), InMemoryLogRecordExporter())
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(kept.spans))
    loggers = LoggerProvider()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(kept.records))
    meters = MeterProvider([kept.metrics])
    with monkeypatch.context() as patch:
        # OpenTelemetry lets a process set them only once.
        patch.setattr(trace, "_TRACER_PROVIDER", tracers)
        patch.setattr(metrics_internal, "_METER_PROVIDER", meters)
        patch.setattr(logs_internal, "_LOGGER_PROVIDER", loggers)
        assert trace.get_tracer_provider() is tracers
        assert metrics.get_meter_provider() is meters
        assert _logs.get_logger_provider() is loggers
        yield kept
    for provider in (tracers, meters, loggers):
        provider.shutdown()


def as_text(value: Any) -> str:
    """Every part of a value as one text."""
    return json.dumps(value, default=str, ensure_ascii=False)
