"""The line of a request, which is written past `logging`: still as Powertools writes lines."""

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


def test_it_has_the_form_of_powertools_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-69223b1d-3b7d2c5e;Parent=53995c3f;Sampled=0")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    log.begin_request("of-this-test")
    log.log_notice("first, to make the logger")
    capsys.readouterr()

    async def write() -> None:  # the name of a task is no news
        log.log_notice("request", status=200)
        log.log_request(status=200, user_id=None)

    asyncio.run(write())
    monkeypatch.undo()
    time.tzset()
    theirs, ours = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(ours) == list(theirs)
    moments = [datetime.fromisoformat(line.pop("timestamp")) for line in (theirs, ours)]
    assert all(moment.tzinfo == UTC for moment in moments)
    assert ours | {"level": "WARNING"} == theirs
    assert ours["xray_trace_id"] == "1-69223b1d-3b7d2c5e"


def test_a_level_above_info_silences_it(
    start_api: StartApi, request_lines: RequestLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = start_api()
    api.get("/api/health")
    assert len(request_lines()) == 1
    monkeypatch.setattr(logging.getLogger(log.SERVICE), "level", logging.WARNING)
    api.get("/api/health")
    assert request_lines() == []


@pytest.mark.parametrize("user", ["zoë", "任务", "🙂"])
def test_it_can_be_written_whatever_the_stream_is_made_for(
    user: str, start_api: StartApi, capfd: pytest.CaptureFixture[str]
) -> None:
    assert start_api().get(f"/api/{user}/tasks", headers=bearer(user)).status_code == 200
    [line] = [line for line in capfd.readouterr().out.splitlines() if '"request"' in line]
    assert line.isascii()
    assert json.loads(line)["user_id"] == user


class Counting(io.StringIO):
    flushed = 0

    def flush(self) -> None:
        self.flushed += 1


def test_both_kinds_go_at_once_to_what_is_standard_output_now(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_api()
    for _ in range(2):
        monkeypatch.setattr(sys, "stdout", stream := Counting())
        log.log_notice("first")
        log.log_request(status=200)
        notice, request = map(json.loads, stream.getvalue().splitlines())
        assert (notice["message"], request["message"]) == ("first", "request")
        assert stream.flushed == 2


def test_without_standard_output_it_is_the_other(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start_api()
    monkeypatch.setattr(sys, "stdout", None)
    log.log_notice("first")
    log.log_request(status=200)
    assert len(capsys.readouterr().err.splitlines()) == 2
    monkeypatch.setattr(sys, "stderr", None)
    log.log_notice("first")
    log.log_request(status=200)


class Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(28, "No space left on device")


class Closed(io.StringIO):
    def write(self, _: str) -> int:
        raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("stream", [Full, Closed])
def test_a_stream_that_takes_nothing_is_no_error(
    stream: type[io.StringIO], start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_api()
    monkeypatch.setattr(sys, "stdout", stream())
    log.log_request(status=200)
