"""Liveness and readiness. Liveness imports no database module."""

import api  # noqa: F401 - Vercel's runtime imports this file alone

# isort: split
import asyncio
import time
from dataclasses import dataclass
from functools import cache

from fastapi import APIRouter

from lib import log
from lib.lambda_handler import create_lambda_handler
from lib.schemas import ErrorResponse, Health
from lib.settings import Settings, load_settings
from lib.web.app import create_app

# The time in seconds for which requests share the result of a readiness check, success or failure.
RESULT_LIFETIME = 1.0

router = APIRouter(prefix="/api/health", tags=["operations"])


@router.get("")
async def get_health() -> Health:
    """Check that the service runs.

    Does not access the database.
    """
    return Health()


@router.get(
    "/ready",
    responses={503: {"model": ErrorResponse, "description": "The database is unavailable"}},
)
async def get_readiness() -> Health:
    """Check that the service can use its database.

    Requests within a second share one check.
    """
    row_level_security_applies = await _check_database_once()
    if not row_level_security_applies:
        _warn_about_role()
    return Health()


@dataclass(slots=True)
class ReadinessCheck:
    """A readiness check with certain settings. `finished` is None while it is running."""

    settings: Settings
    task: asyncio.Task[bool]
    finished: float | None = None

    def is_current(self, settings: Settings) -> bool:
        if self.settings is not settings:
            return False
        if self.finished is None:
            return self.task.get_loop() is asyncio.get_running_loop()
        return 0 <= time.time() - self.finished < RESULT_LIFETIME


_latest: ReadinessCheck | None = None


async def _check_database_once() -> bool:
    """Return or raise the result of a recent check, of the running one, or of a new one.

    Without sharing, anyone could occupy the database, because these requests need no token.
    """
    global _latest  # noqa: PLW0603 - one per process
    settings = load_settings()
    check = _latest
    if check is None or not check.is_current(settings):
        check = _latest = ReadinessCheck(settings, asyncio.create_task(_check_database()))
        check.task.add_done_callback(lambda _: _finish(check))
    # A client that disconnects must not cancel a check that other requests share.
    return await asyncio.shield(check.task)


def _finish(check: ReadinessCheck) -> None:
    # Wall-clock time, because the monotonic clock may stop while a sandbox is frozen.
    check.finished = time.time()


async def _check_database() -> bool:
    from lib.db import readiness  # noqa: PLC0415 - liveness must not import the database modules

    return await readiness.check_ready()


@cache
def _warn_about_role() -> None:
    log.log_warning("The database role bypasses row-level security. See docs/database.md, Roles.")


app = create_app(router)
lambda_handler = create_lambda_handler(app)
