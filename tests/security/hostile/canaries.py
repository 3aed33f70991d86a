"""Strings that must never be seen outside, and ears for every place where they might be.

Nothing here knows which requests provoke what.
"""

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

# What each stands for; all of letters and digits, so that no encoding but base64 changes them.
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
    """What stays of the text in base64, whatever stands before and behind it."""
    for offset in range(3):
        encoded = base64.urlsafe_b64encode(b"\0" * offset + text.encode()).decode()
        yield encoded[4 if offset else 0 : -4]


FORMS = {name: (text, *_in_base64(text)) for name, text in CANARIES.items()}


@dataclass
class Heard:
    """All that went outside, by where it was heard."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, place: str, *texts: str) -> None:
        self.places.setdefault(place, []).extend(texts)

    def leaks(self) -> list[str]:
        """Each canary that was heard, with the place and what stands around it."""
        return [
            f"{name} in {place}: {around(text, form)}"
            for place, texts in self.places.items()
            for text in texts
            for name, forms in FORMS.items()
            for form in forms
            if form in text
        ]


def around(text: str, form: str) -> str:
    at = text.index(form)
    return text[max(0, at - 150) : at + len(form) + 50]


class _EveryRecord(logging.Handler):
    """Takes records with all that they hold, also what no format shows."""

    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.NOTSET)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("http"):
            return  # the test's own client
        shown = logging.Formatter().format(record)  # the traceback as well
        self._heard.add(f"log record of {record.name}", f"{shown} {record.__dict__}")


@contextmanager
def listening(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Generator[Heard]:
    """Hear log lines, the records of every library at DEBUG, stdout, stderr, spans, metrics."""
    heard, lines = Heard(), StringIO()
    ours = log._get_logger()._logger
    root = logging.getLogger()
    every = _EveryRecord(heard)
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
        yield heard
        heard.add("span", *(span.to_json() for span in telemetry.spans.get_finished_spans()))
        records = telemetry.records.get_finished_logs()
        heard.add("telemetry log", *(record.to_json() for record in records))
        data = telemetry.metrics.get_metrics_data()
        heard.add("telemetry metric", data.to_json() if data else "")
    captured = capfd.readouterr()
    printed = captured.out.splitlines()
    of_requests = [line for line in printed if '"message":"request"' in line]
    heard.add("log line", *of_requests, *lines.getvalue().splitlines())
    heard.add("stdout", *printed)
    heard.add("stderr", *captured.err.splitlines())


@dataclass(frozen=True)
class _Telemetry:
    spans: InMemorySpanExporter
    metrics: InMemoryMetricReader
    records: InMemoryLogRecordExporter


@contextmanager
def _telemetry(monkeypatch: pytest.MonkeyPatch) -> Generator[_Telemetry]:
    """OpenTelemetry as an operator might install it: FastAPI's hooks find the global providers."""
    kept = _Telemetry(InMemorySpanExporter(), InMemoryMetricReader(), InMemoryLogRecordExporter())
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(kept.spans))
    loggers = LoggerProvider()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(kept.records))
    meters = MeterProvider([kept.metrics])
    with monkeypatch.context() as patch:
        # The API lets a process set them once only.
        patch.setattr(trace, "_TRACER_PROVIDER", tracers)
        patch.setattr(metrics_internal, "_METER_PROVIDER", meters)
        patch.setattr(logs_internal, "_LOGGER_PROVIDER", loggers)
        assert trace.get_tracer_provider() is tracers
        assert metrics.get_meter_provider() is meters
        assert _logs.get_logger_provider() is loggers
        yield kept
    for provider in (tracers, meters, loggers):
        provider.shutdown()


def shown(answer: Any) -> str:
    """An answer as a text that holds every part of it."""
    return json.dumps(answer, default=str, ensure_ascii=False)
