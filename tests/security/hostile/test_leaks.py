"""No secret and no text of a user leaves by a log line, an error, a metric or a span.

Canaries stand in everything the API is given, while it is made to refuse and to fail in every way.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from lib import log
from lib.db.pool import close
from lib.settings import aws_secrets
from lib.web import app
from lib.web import middleware as boundary
from tests.security.hostile import provocations
from tests.security.hostile.canaries import listening
from tests.security.hostile.provocations import PROVOCATIONS, Provocation, Stage
from tests.security.hostile.transports import DOORS, Transport
from tests.support.databases import Database


@pytest.mark.parametrize("provoke", PROVOCATIONS, ids=lambda provoke: provoke.__name__)
@pytest.mark.parametrize("door", DOORS)
def test_no_canary_is_heard(
    door: Transport,
    provoke: Provocation,
    fresh_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with listening(monkeypatch, capfd) as heard:
        provoke(Stage(door, fresh_database, heard, monkeypatch))
    close()
    assert heard.places["log line"]
    assert heard.places["span"] or provoke is provocations.a_smoke_test_that_fails
    if door == "lambda" and provoke is provocations.a_smoke_test_that_fails:
        assert '"_aws"' in "".join(heard.places["stdout"]), "its metrics were heard as well"
    assert heard.leaks() == []


# Each gives the API a leak, as somebody might in good faith, and says what must hear it.


def log_the_headers(patch: pytest.MonkeyPatch) -> None:
    usual = boundary._log_request

    def with_headers(scope: Any, *rest: Any) -> None:
        log.log_notice("request", headers=[str(header) for header in scope["headers"]])
        usual(scope, *rest)

    patch.setattr(boundary, "_log_request", with_headers)


def log_the_text_of_errors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(log, "log_failure", lambda message, error: log.log_notice(f"{message}: {error}"))


def log_with_a_traceback(patch: pytest.MonkeyPatch) -> None:
    # As logging.exception() would: no field of the line, but everything below it.
    patch.setattr(log, "log_failure", lambda message, _: log._get_logger().exception(message))


def answer_with_the_error(patch: pytest.MonkeyPatch) -> None:
    usual = boundary.error_response

    def telling(status: int, detail: str, **more: Any) -> Any:
        error = sys.exc_info()[1]
        return usual(status, f"{detail} {error!r}" if status == 500 else detail, **more)

    patch.setattr(boundary, "error_response", telling)


def trace_the_query(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(app.Application, "__call__", FastAPI.__call__)


def hear_botocore(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aws_secrets.logging.getLogger("botocore"), "level", logging.DEBUG)


type Mutant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: list[tuple[Mutant, Provocation, Transport, str]] = [
    (log_the_headers, provocations.ordinary_requests, "asgi", "token in log line"),
    (log_the_headers, provocations.keys_and_tags_that_do_not_fit, "lambda", "key in log line"),
    (log_the_text_of_errors, provocations.statements_that_fail, "asgi", "title in log line"),
    (log_with_a_traceback, provocations.statements_that_fail, "lambda", "title in log record"),
    (log_the_text_of_errors, provocations.errors_that_nobody_expected, "lambda", "exception in"),
    (answer_with_the_error, provocations.errors_that_nobody_expected, "asgi", "exception in error"),
    (answer_with_the_error, provocations.errors_that_nobody_expected, "lambda", "exception in"),
    (trace_the_query, provocations.ordinary_requests, "asgi", "title in span"),
    (trace_the_query, provocations.ordinary_requests, "lambda", "title in span"),
    (hear_botocore, provocations.secrets_that_aws_keeps, "lambda", "stored in log record"),
]


@pytest.mark.parametrize(
    ("mutant", "provoke", "door", "heard_as"),
    MUTANTS,
    ids=lambda part: getattr(part, "__name__", str(part).replace(" ", "-")),
)
def test_a_planted_leak_is_heard(
    mutant: Mutant,
    provoke: Provocation,
    door: Transport,
    heard_as: str,
    fresh_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    mutant(monkeypatch)
    with listening(monkeypatch, capfd) as heard:
        provoke(Stage(door, fresh_database, heard, monkeypatch))
    close()
    assert any(leak.startswith(heard_as) for leak in heard.leaks()), heard.leaks()
