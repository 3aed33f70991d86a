"""No secret and no text of a user leaks into a log line, an error, a metric or a span.

Every input of the API contains canaries, while the API is made to refuse and fail in every way.
"""

import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fastapi import FastAPI

from lib import log
from lib.db import transaction
from lib.db.pool import close_pools
from lib.settings import aws_secrets
from lib.web import app, middleware
from tests.security.hostile import provocations
from tests.security.hostile.canaries import capturing
from tests.security.hostile.provocations import PROVOCATIONS, Api, Provocation
from tests.security.hostile.transports import TRANSPORTS, Transport
from tests.support.databases import Database


@pytest.mark.parametrize("provoke", PROVOCATIONS, ids=lambda provoke: provoke.__name__)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_canary_leaks(
    transport: Transport,
    provoke: Provocation,
    fresh_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with capturing(monkeypatch, capfd) as captured:
        provoke(Api(transport, fresh_database, captured, monkeypatch))
    close_pools()
    assert captured.outputs["log line"]
    assert captured.outputs["span"] or provoke is provocations.a_smoke_test_that_fails
    if transport == "lambda" and provoke is provocations.a_smoke_test_that_fails:
        assert '"_aws"' in "".join(captured.outputs["stdout"]), "its metrics were not captured"
    assert captured.leaks() == []


# Each adds a leak to the API as a developer might in good faith.


def log_the_headers(patch: pytest.MonkeyPatch) -> None:
    usual = middleware._log_request

    def with_headers(scope: Any, *rest: Any) -> None:
        log.log_warning("request", headers=[str(header) for header in scope["headers"]])
        usual(scope, *rest)

    patch.setattr(middleware, "_log_request", with_headers)


def log_messages_of_the_database(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transaction, "describe", partial(transaction.describe, with_message=True))


def log_the_text_of_errors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(log, "log_failure", lambda message, error: log.log_warning(f"{message}: {error}"))


def log_with_a_traceback(patch: pytest.MonkeyPatch) -> None:
    # As logging.exception() does: the traceback is written below the line.
    patch.setattr(log, "log_failure", lambda message, _: log._get_logger().exception(message))


def respond_with_the_error(patch: pytest.MonkeyPatch) -> None:
    usual = middleware.error_response

    def disclose(status: int, detail: str, **more: Any) -> Any:
        error = sys.exc_info()[1]
        return usual(status, f"{detail} {error!r}" if status == 500 else detail, **more)

    patch.setattr(middleware, "error_response", disclose)


def trace_the_query(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(app.Application, "__call__", FastAPI.__call__)


def log_botocore(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aws_secrets.logging.getLogger("botocore"), "level", logging.DEBUG)


type Mutant = Callable[[pytest.MonkeyPatch], None]
# With the provocation and the transport under which the leak shows, and its description.
MUTANTS: list[tuple[Mutant, Provocation, Transport, str]] = [
    (log_the_headers, provocations.ordinary_requests, "asgi", "token in log line"),
    (log_the_headers, provocations.mismatched_keys_and_tags, "lambda", "key in log line"),
    (log_messages_of_the_database, provocations.statements_that_fail, "asgi", "title in log line"),
    (log_messages_of_the_database, provocations.statements_that_fail, "lambda", "title in log"),
    (log_with_a_traceback, provocations.unexpected_errors, "lambda", "exception in log record"),
    (log_the_text_of_errors, provocations.unexpected_errors, "lambda", "exception in"),
    (respond_with_the_error, provocations.unexpected_errors, "asgi", "exception in error"),
    (respond_with_the_error, provocations.unexpected_errors, "lambda", "exception in"),
    (trace_the_query, provocations.ordinary_requests, "asgi", "title in span"),
    (trace_the_query, provocations.ordinary_requests, "lambda", "title in span"),
    (log_botocore, provocations.secrets_kept_by_aws, "lambda", "stored in log record"),
]


@pytest.mark.parametrize(
    ("mutant", "provoke", "transport", "leak"),
    MUTANTS,
    ids=lambda part: getattr(part, "__name__", str(part).replace(" ", "-")),
)
def test_a_leak_is_detected(
    mutant: Mutant,
    provoke: Provocation,
    transport: Transport,
    leak: str,
    fresh_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    mutant(monkeypatch)
    with capturing(monkeypatch, capfd) as captured:
        provoke(Api(transport, fresh_database, captured, monkeypatch))
    close_pools()
    assert any(found.startswith(leak) for found in captured.leaks()), captured.leaks()
