"""The smoke test where platforms start it: EventBridge by a schedule, Vercel's cron by a URL."""

import asyncio
import hmac
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

from lib import log
from lib.errors import Unauthenticated
from lib.lambda_handler import create_lambda_handler
from lib.schemas import ErrorResponse
from lib.settings import load_settings
from lib.smoke.report import SmokeReport
from lib.smoke.run import run_smoke_test
from lib.web.app import create_app

# Seconds from the beginning of a run in which this process begins no other.
MIN_INTERVAL = 30

router = APIRouter(prefix="/api/smoke", tags=["operations"])

_lock = threading.Lock()
_latest: tuple[Future[SmokeReport], float] | None = None


@router.get(
    "",
    response_model=SmokeReport,
    responses={
        401: {"model": ErrorResponse, "description": "Not the cron secret"},
        503: {"model": SmokeReport, "description": "A step failed"},
    },
    openapi_extra={"security": [{"cron": []}]},
)
async def get_smoke(request: Request) -> Response:
    """Run the smoke test, or get what it found within the last half minute."""
    _check_secret(request.headers.get("authorization", ""))
    run, began = _run_of_now()
    # The run goes on in its own thread, for every caller that waits: this one may go away.
    report = await asyncio.wrap_future(run)
    headers = {}
    if not report.ok:
        _log_failure(report)
        headers["Retry-After"] = str(max(1, round(began + MIN_INTERVAL - time.time())))
    return JSONResponse(jsonable_encoder(report), 200 if report.ok else 503, headers)


def _log_failure(report: SmokeReport) -> None:
    failed = [asdict(step) for step in report.steps if step.result == "failed"]
    log.log_notice(
        "smoke test failed", detail=report.detail, run=report.run, url=report.url, steps=failed
    )


def _check_secret(authorization: str) -> None:
    secret = load_settings().CRON_SECRET
    scheme, _, given = authorization.partition(" ")
    # Bytes, for strings beyond ASCII cannot be compared in constant time.
    same = hmac.compare_digest(given.encode("latin-1", "replace"), (secret or "").encode())
    if not secret or scheme.lower() != "bearer" or not same:
        reason = None if secret else "CRON_SECRET is not set"
        raise Unauthenticated("The cron secret is required.", reason=reason)


def _run_of_now() -> tuple[Future[SmokeReport], float]:
    """The run that is under way or was a moment ago, else a new one; and when it began."""
    global _latest  # noqa: PLW0603 - one at a time: it is the whole point
    with _lock:
        # The wall clock, which goes on while a function is frozen.
        if _latest is None or (_latest[0].done() and time.time() - _latest[1] >= MIN_INTERVAL):
            # Not on the event loop, which may have to answer the very requests of the test.
            run: Future[SmokeReport] = Future()
            run.set_running_or_notify_cancel()
            threading.Thread(target=_run_into, args=(run,), daemon=True).start()
            _latest = run, time.time()
        return _latest


def _run_into(run: Future[SmokeReport]) -> None:
    try:
        run.set_result(run_smoke_test(load_settings()))
    except BaseException as error:
        run.set_exception(error)
        raise


def run_on_schedule() -> dict[str, Any]:
    """Run the smoke test and write its metrics: a failure is a metric, never an exception."""
    try:
        report = run_smoke_test(load_settings())
        tried = {s.name: s.milliseconds for s in report.steps if s.result != "not tried"}
        log.emit_metrics(
            {
                "SmokeSuccess": ("Count", [float(report.ok)]),
                "SmokeMilliseconds": ("Milliseconds", [report.milliseconds]),
                # One metric for all steps, since each has its price; their names stand beside it.
                "SmokeStepMilliseconds": ("Milliseconds", list(tried.values())),
            },
            run=report.run,
            failed=report.failed,
            steps=tried,
        )
        if not report.ok:
            _log_failure(report)
        return jsonable_encoder(report)
    except Exception as error:  # noqa: BLE001 - a missing metric is an alarm too; a raise is a retry
        log.log_failure("the smoke test could not run", error)
        return {"ok": False, "detail": "The smoke test could not run: see the log."}


app = create_app(router)
_answer = create_lambda_handler(app)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an HTTP API event; every other one is the schedule's, or an operator's invoke."""
    if isinstance(event, dict) and "requestContext" in event:
        return _answer(event, context)
    return run_on_schedule()
