"""Log lines: their format, their stream, and what they contain about errors."""

import asyncio
import io
import json
import logging
import sys
import time
from datetime import UTC, datetime

import pytest

from lib import log
from tests.conftest import RequestLines, StartApi, bearer


def test_request_line_has_the_format_of_powertools(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-69223b1d-3b7d2c5e;Parent=53995c3f;Sampled=0")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    log.begin_request("of-this-test")
    log.log_warning("creates the logger")
    capsys.readouterr()

    async def write() -> None:  # in a task, whose name must not be logged
        log.log_warning("request", status=200)
        log.log_request(status=200, user_id=None)

    asyncio.run(write())
    monkeypatch.undo()
    time.tzset()
    powertools, direct = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(direct) == list(powertools)
    timestamps = [datetime.fromisoformat(line.pop("timestamp")) for line in (powertools, direct)]
    assert all(timestamp.tzinfo == UTC for timestamp in timestamps)
    assert direct | {"level": "WARNING"} == powertools
    assert direct["xray_trace_id"] == "1-69223b1d-3b7d2c5e"


def test_no_request_line_above_level_info(
    start_api: StartApi, request_lines: RequestLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = start_api()
    api.get("/api/health")
    assert len(request_lines()) == 1
    monkeypatch.setattr(logging.getLogger(log.SERVICE), "level", logging.WARNING)
    api.get("/api/health")
    assert request_lines() == []


@pytest.mark.parametrize("user", ["zoë", "任务", "🙂"])
def test_request_line_is_ascii(
    user: str, start_api: StartApi, capfd: pytest.CaptureFixture[str]
) -> None:
    assert start_api().get(f"/api/{user}/tasks", headers=bearer(user)).status_code == 200
    [line] = [line for line in capfd.readouterr().out.splitlines() if '"request"' in line]
    assert line.isascii()
    assert json.loads(line)["user_id"] == user


def test_a_short_path_is_logged_as_the_same_route(
    start_api: StartApi, request_lines: RequestLines
) -> None:
    api = start_api()
    for path in ("/api/eve/tasks", "/api/tasks"):
        assert api.get(path, headers=bearer("eve")).status_code == 200
    assert {line["route"] for line in request_lines()} == {"/api/{user_id}/tasks"}


class CountingStream(io.StringIO):
    flushes = 0

    def flush(self) -> None:
        self.flushes += 1


def test_lines_are_flushed_to_the_current_standard_output(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_api()
    for _ in range(2):
        monkeypatch.setattr(sys, "stdout", stream := CountingStream())
        log.log_warning("first")
        log.log_request(status=200)
        notice, request = map(json.loads, stream.getvalue().splitlines())
        assert (notice["message"], request["message"]) == ("first", "request")
        assert stream.flushes == 2


def test_lines_go_to_standard_error_without_standard_output(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start_api()
    monkeypatch.setattr(sys, "stdout", None)
    log.log_warning("first")
    log.log_request(status=200)
    assert len(capsys.readouterr().err.splitlines()) == 2
    monkeypatch.setattr(sys, "stderr", None)
    log.log_warning("first")
    log.log_request(status=200)


class FullStream(io.StringIO):
    def flush(self) -> None:
        raise OSError(28, "No space left on device")


class ClosedStream(io.StringIO):
    def write(self, _: str) -> int:
        raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("stream", [FullStream, ClosedStream])
def test_a_stream_that_cannot_be_written_raises_nothing(
    stream: type[io.StringIO], start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_api()
    monkeypatch.setattr(sys, "stdout", stream())
    log.log_request(status=200)


# Unexpected errors, over HTTP


def cause_an_error(monkeypatch: pytest.MonkeyPatch, api: StartApi, **variables: str) -> None:
    client = api(**variables)
    with monkeypatch.context() as patch:
        patch.setattr("api.tasks._task_headers", lambda _: 1 / 0)
        response = client.post("/api/eve/tasks", json={"title": "x"}, headers=bearer("eve"))
    assert response.status_code == 500
    assert response.json() == {"detail": "Internal server error."}


def test_local_use_prints_the_message_and_traceback_of_an_unexpected_error(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cause_an_error(monkeypatch, start_api)
    printed = capsys.readouterr().err
    assert "Traceback (most recent call last):" in printed
    assert printed.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    "platform", [{"VERCEL": "1"}, {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}]
)
def test_a_deployment_logs_the_class_and_position_of_an_unexpected_error_only(
    platform: dict[str, str],
    start_api: StartApi,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cause_an_error(monkeypatch, start_api, **platform)
    printed = capsys.readouterr()
    assert "division by zero" not in printed.out + printed.err
    lines = map(json.loads, printed.out.splitlines())
    [failure] = [line for line in lines if line["message"] == "Unexpected error."]
    [cause] = failure["causes"]
    assert cause["error"] == "ZeroDivisionError"
    assert "api/tasks.py:" in cause["where"][-2]
