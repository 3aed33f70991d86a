"""Runs the smoke test for schedulers: EventBridge sends an event, Vercel requests a URL."""

import api  # noqa: F401 - Vercel's runtime imports this file alone

# isort: split
import asyncio
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

from lib import log
from lib.lambda_handler import create_lambda_handler
from lib.schemas import ErrorResponse
from lib.settings import load_settings
from lib.smoke.report import SmokeReport
from lib.smoke.run import run_smoke_test
from lib.web.app import create_app
from lib.web.cron_secret import require_cron_secret

# The minimum time in seconds between the starts of two runs of this process.
MIN_INTERVAL = 30

router = APIRouter(
    prefix="/api/smoke", tags=["operations"], dependencies=[Depends(require_cron_secret)]
)

_lock = threading.Lock()
_latest: tuple[Future[SmokeReport], float] | None = None


@router.get(
    "",
    response_model=SmokeReport,
    responses={
        401: {"model": ErrorResponse, "description": "The cron secret is missing or wrong"},
        503: {"model": SmokeReport, "description": "A step failed"},
    },
    openapi_extra={"security": [{"cron": []}]},
)
async def get_smoke() -> Response:
    """Run the smoke test.

    If a run started within the last 30 seconds, its report is returned.
    """
    run, started = _share_run()
    # The run continues if this client disconnects, because it has its own thread.
    report = await asyncio.wrap_future(run)
    headers = {}
    if not report.ok:
        _log_failure(report)
        headers["Retry-After"] = str(max(1, round(started + MIN_INTERVAL - time.time())))
    return JSONResponse(jsonable_encoder(report), 200 if report.ok else 503, headers)


def _log_failure(report: SmokeReport) -> None:
    failed = [asdict(step) for step in report.steps if step.result == "failed"]
    log.log_warning(
        "Smoke test failed.", detail=report.detail, run=report.run, url=report.url, steps=failed
    )


def _share_run() -> tuple[Future[SmokeReport], float]:
    """Return the run in progress, a recent one or a new one, and the timestamp of its start."""
    global _latest  # noqa: PLW0603 - one run at a time per process
    with _lock:
        # Wall-clock time, because the monotonic clock may stop while a sandbox is frozen.
        if _latest is None or (_latest[0].done() and time.time() - _latest[1] >= MIN_INTERVAL):
            # In a thread, because the event loop may have to serve the requests of the run.
            run: Future[SmokeReport] = Future()
            run.set_running_or_notify_cancel()
            threading.Thread(target=_complete, args=(run,), daemon=True).start()
            _latest = run, time.time()
        return _latest


def _complete(run: Future[SmokeReport]) -> None:
    try:
        run.set_result(run_smoke_test(load_settings()))
    except BaseException as error:
        run.set_exception(error)
        raise


def run_on_schedule() -> dict[str, Any]:
    """Run the smoke test, write its metrics, and return its report.

    Never raises: Lambda would retry, and the alarm also reacts to missing metrics.
    """
    try:
        report = run_smoke_test(load_settings())
        tried = {s.name: s.milliseconds for s in report.steps if s.result != "not tried"}
        log.emit_metrics(
            {
                "SmokeSuccess": ("Count", [float(report.ok)]),
                "SmokeMilliseconds": ("Milliseconds", [report.milliseconds]),
                # All steps share one metric, because each metric costs money. `steps` names them.
                "SmokeStepMilliseconds": ("Milliseconds", list(tried.values())),
            },
            run=report.run,
            failed=report.failed,
            steps=tried,
        )
        if not report.ok:
            _log_failure(report)
        return jsonable_encoder(report)
    except Exception as error:  # noqa: BLE001 - see the docstring
        log.log_failure("The smoke test could not run.", error)
        return {"ok": False, "detail": "The smoke test could not run. See the log."}


app = create_app(router)
_handle_request = create_lambda_handler(app)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle an HTTP API event as a request, and any other event as a scheduled run."""
    if isinstance(event, dict) and "requestContext" in event:
        return _handle_request(event, context)
    return run_on_schedule()
