"""From a Lambda event to the ASGI application and back: Mangum, made safe against everything that
is no HTTP request.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from mangum import Mangum

from lib import log
from lib.errors import ApiError
from lib.settings import runs_on_lambda

# One loop for the whole life of the process: Mangum asks for the current one at every event, and
# any asyncio.run() elsewhere would have taken it away.
_runner = asyncio.Runner()

# It would log method and path, and so the user's id, in its own format.
logging.getLogger("mangum.http").setLevel(logging.ERROR)

type LambdaHandler = Callable[[dict[str, Any], Any], dict[str, Any]]


def mangum_handler(app: FastAPI) -> LambdaHandler:
    """The handler that AWS Lambda calls for `app`.

    It never raises: an event that is no HTTP request gets `{"handled": false, "reason": ...}`.
    """
    asyncio.set_event_loop(_runner.get_loop())
    adapter = Mangum(app, lifespan="off")
    if runs_on_lambda():
        # Settings that cannot work fail the deployment, not the first user; and what is built here
        # runs at the full speed of the init phase.
        app.middleware_stack = app.build_middleware_stack()

    def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        if not isinstance(event, dict) or "http" not in (event.get("requestContext") or {}):
            log.log_notice("event ignored", reason="it is no HTTP request")
            return {"handled": False, "reason": "The event is no HTTP API request (payload 2.0)."}
        asyncio.set_event_loop(_runner.get_loop())
        try:
            return adapter(event, context)
        except Exception as error:  # noqa: BLE001 - a worker that raises is a hung emulator
            log.log_failure("event not understood", error)
            return {
                "statusCode": 500,
                "headers": {"content-type": "application/json", "cache-control": "no-store"},
                "body": json.dumps({"detail": ApiError.detail}),
                "isBase64Encoded": False,
            }

    return lambda_handler
