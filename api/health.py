"""Whether the service lives and whether it can work; liveness imports no database."""

from functools import cache

from fastapi import APIRouter

from lib import log
from lib.lambda_handler import create_lambda_handler
from lib.schemas import ErrorResponse, Health
from lib.web.app import create_app

router = APIRouter(prefix="/api/health", tags=["health"])


@router.get("")
async def get_health() -> Health:
    """Tell that the service runs, without touching the database."""
    return Health()


@router.get(
    "/ready", responses={503: {"model": ErrorResponse, "description": "The database is away"}}
)
async def get_readiness() -> Health:
    """Tell whether the database answers."""
    from lib.db import tasks  # noqa: PLC0415 - a liveness check must not import it

    if not await tasks.check_ready():
        _warn_of_role()
    return Health()


@cache
def _warn_of_role() -> None:
    log.log_notice(
        "The database role passes row-level security by: one lock less. docs/database.md, Roles."
    )


app = create_app(router)
lambda_handler = create_lambda_handler(app)
