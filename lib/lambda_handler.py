"""From a Lambda event to the ASGI application and back: Mangum, made safe against everything that
is no HTTP request.
"""

import asyncio
import gc
import json
import logging
import random
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from mangum import Mangum
from mangum.handlers.api_gateway import HTTPGateway
from mangum.protocols.http import HTTPCycle
from mangum.types import Scope

from lib import log
from lib.errors import ApiError
from lib.invocation_loop import InvocationLoop
from lib.settings import (
    forget_settings,
    initializes_for_snapshot,
    load_settings,
    require,
    runs_on_lambda,
)

# One for the whole life of the process.
_loop = InvocationLoop()


class HttpApi(HTTPGateway):
    """Mangum's own, which builds the scope again to look at it: 78 k instructions a request."""

    @cached_property
    def scope(self) -> Scope:
        return super().scope


class Adapter(Mangum):
    """Mangum for that one kind of event, on our loop."""

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        gateway = HttpApi(event, context, self.config)
        cycle = HTTPCycle(gateway.scope, gateway.body)
        _loop.complete(cycle.run(self.app))
        return gateway({"status": cycle.status, "headers": cycle.headers, "body": cycle.body})


# It would log method and path, and so the user's id, in its own format.
logging.getLogger("mangum.http").setLevel(logging.ERROR)

type LambdaHandler = Callable[[dict[str, Any], Any], dict[str, Any]]


def create_lambda_handler(app: FastAPI) -> LambdaHandler:
    """The handler that AWS Lambda calls for `app`.

    It never raises: an event that is no HTTP request gets `{"handled": false, "reason": ...}`.
    """
    asyncio.set_event_loop(_loop)  # Mangum looks for one
    adapter = Adapter(app, lifespan="off")

    def prepare() -> None:
        # Settings that cannot work fail the deployment, not the first user; and what is built here
        # runs at the full speed of the init phase.
        require(load_settings(), *app.state.needs)
        app.middleware_stack = app.build_middleware_stack()

    def forget() -> None:
        if app.state.at_exit:
            app.state.at_exit()
        forget_settings()
        app.middleware_stack = None

    if initializes_for_snapshot():
        _around_snapshot(forget, prepare)
    elif runs_on_lambda():
        prepare()
    # See api/__init__.py. What is there now stays: no collection looks at it again.
    gc.freeze()
    gc.enable()

    def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        if not isinstance(event, dict) or "http" not in (event.get("requestContext") or {}):
            log.log_notice("event ignored", reason="it is no HTTP request")
            return {"handled": False, "reason": "The event is no HTTP API request (payload 2.0)."}
        try:
            return adapter(_with_encoded_path(event) if runs_on_lambda() else event, context)
        except Exception as error:  # noqa: BLE001 - a worker that raises is a hung emulator
            log.log_failure("event not understood", error)
            return {
                "statusCode": 500,
                "headers": {"content-type": "application/json", "cache-control": "no-store"},
                "body": json.dumps({"detail": ApiError.detail}),
                "isBase64Encoded": False,
            }

    return lambda_handler


def _with_encoded_path(event: dict[str, Any]) -> dict[str, Any]:
    """The event as Mangum expects it: API Gateway has decoded the path, and Mangum decodes again.

    The emulator does not decode it, so this is for the real runtime alone.
    """
    http = event["requestContext"]["http"]
    http = http | {"path": quote(http["path"])}
    return event | {"requestContext": event["requestContext"] | {"http": http}}


def _around_snapshot(before: Callable[[], None], after: Callable[[], None]) -> None:
    """SnapStart: nothing secret or connected goes into the snapshot, all is fresh behind it."""
    # Part of the Lambda runtime, and of nothing else.
    from snapshot_restore_py import (  # noqa: PLC0415  # ty: ignore[import-not-found]
        register_after_restore,
        register_before_snapshot,
    )

    register_before_snapshot(before)
    register_after_restore(after)
    # Every restored sandbox would draw the same "random" pauses.
    register_after_restore(random.seed)
