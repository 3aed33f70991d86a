"""Runs the retention job for schedulers: EventBridge sends an event, Vercel requests a URL."""

import api  # noqa: F401 - Vercel's runtime imports this file alone

# isort: split
import asyncio
from contextlib import suppress
from dataclasses import asdict, astuple
from typing import Any

from fastapi import APIRouter, Depends

from lib import log
from lib.db.pool import close_pools
from lib.db.retention import RetentionReport, remove_expired
from lib.errors import ApiError
from lib.lambda_handler import create_lambda_handler
from lib.schemas import ErrorResponse
from lib.settings import SettingsError
from lib.web.app import create_app
from lib.web.cron_secret import require_cron_secret

router = APIRouter(
    prefix="/api/retention", tags=["operations"], dependencies=[Depends(require_cron_secret)]
)


@router.get(
    "",
    responses={
        401: {"model": ErrorResponse, "description": "The cron secret is missing or wrong"},
        503: {
            "model": ErrorResponse,
            "description": "The database is unavailable, or the job fails",
        },
    },
    openapi_extra={"security": [{"cron": []}]},
)
async def get_retention() -> RetentionReport:
    """Remove what has expired.

    Removes records of idempotency keys after 24 hours, the texts of deleted tasks after 30 days and
    their ids after 31 days, of all users. A run stops after 8 seconds; the next one continues.
    """
    return await remove_expired()


def run_on_schedule() -> dict[str, Any]:
    """Run the retention job, write its metrics, and return its report.

    Never raises: Lambda would retry, and the alarm also reacts to missing metrics.
    """
    try:
        report = asyncio.run(remove_expired())
        log.emit_metrics(
            {
                "RetentionSuccess": ("Count", [1.0]),
                "RetentionRemoved": ("Count", [sum(astuple(report.removed))]),
                "RetentionBacklog": ("Count", [sum(astuple(report.left))]),
                "RetentionMilliseconds": ("Milliseconds", [report.milliseconds]),
            },
            removed=asdict(report.removed),
            left=asdict(report.left),
            overdue_seconds=report.overdue_seconds,
        )
        return asdict(report)
    except Exception as error:  # noqa: BLE001 - see the docstring
        if isinstance(error, ApiError) and error.reason:
            log.log_warning("The retention job failed.", reason=error.reason)
        else:
            log.log_failure("The retention job failed.", error)
        with suppress(SettingsError):
            log.emit_metrics({"RetentionSuccess": ("Count", [0.0])})
        return {"detail": "The retention job failed. See the log."}


app = create_app(router, needs=("DATABASE_URL",), at_exit=close_pools)
_handle_request = create_lambda_handler(app)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle an HTTP API event as a request, and any other event as a scheduled run."""
    if isinstance(event, dict) and "requestContext" in event:
        return _handle_request(event, context)
    return run_on_schedule()
