"""Creates the handler that AWS Lambda calls, with Mangum as the adapter to ASGI."""

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
from mangum.handlers import HTTPGateway
from mangum.types import Scope

from lib import log
from lib.errors import ApiError
from lib.settings import (
    forget_settings,
    initializes_for_snapshot,
    load_settings,
    require,
    runs_on_lambda,
)

type LambdaHandler = Callable[[dict[str, Any], Any], dict[str, Any]]

# One event loop for the life of the process.
_loop = asyncio.new_event_loop()

# Mangum would log the method and the path, which contains the user's id, in a format of its own.
logging.getLogger("mangum.http").setLevel(logging.ERROR)


class CachedHttpGateway(HTTPGateway):
    """Mangum's handler for HTTP API events, with a cached `scope`.

    Mangum builds the scope twice per event. The cache saves 78,000 instructions per request.
    """

    @cached_property
    def scope(self) -> Scope:
        try:
            return super().scope
        except (AttributeError, ValueError):
            # Mangum fails on an IPv6 address in Host, on a port that is not a number, and on null
            # for the headers, which the emulator may send. The application uses none of these.
            headers = self.event.get("headers") or {}
            parsed = ("host", "x-forwarded-port")
            kept = {name: text for name, text in headers.items() if name.lower() not in parsed}
            self.event = self.event | {"headers": kept}
            return super().scope


def create_lambda_handler(app: FastAPI) -> LambdaHandler:
    """Create the handler that AWS Lambda calls for `app`.

    The handler never raises. An event that is not an HTTP request gets
    `{"handled": false, "reason": ...}`.
    """
    asyncio.set_event_loop(_loop)  # Mangum calls asyncio.get_event_loop()
    adapter = Mangum(app, lifespan="off", custom_handlers=[CachedHttpGateway])

    def prepare() -> None:
        # During the init phase, which Lambda runs at full CPU speed.
        app.middleware_stack = app.build_middleware_stack()

    def restore() -> None:
        # Raises SettingsError, because Lambda repeats a restore that fails. Without a snapshot the
        # application starts, and responds with 500 while its settings are invalid.
        require(load_settings(), *app.state.needs)
        prepare()

    def forget() -> None:
        if app.state.at_exit:
            app.state.at_exit()
        forget_settings()
        app.middleware_stack = None

    if initializes_for_snapshot():
        _register_snapshot_hooks(forget, restore)
    elif runs_on_lambda():
        prepare()
    # The start is over: see api/__init__.py.
    gc.freeze()
    gc.enable()

    def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        if not isinstance(event, dict) or "http" not in (event.get("requestContext") or {}):
            log.log_warning("Event ignored.", reason="not an HTTP request")
            return {
                "handled": False,
                "reason": "The event is not an HTTP API request (payload format 2.0).",
            }
        try:
            # Code that called asyncio.run() in this thread has unset the current event loop.
            asyncio.set_event_loop(_loop)
            return adapter(_with_encoded_path(event) if runs_on_lambda() else event, context)
        except Exception as error:  # noqa: BLE001 - an emulator's worker hangs if its handler raises
            log.log_failure("Event not readable.", error)
            return {
                "statusCode": 500,
                "headers": {"content-type": "application/json", "cache-control": "no-store"},
                "body": json.dumps({"detail": ApiError.detail}),
                "isBase64Encoded": False,
            }

    return lambda_handler


def _with_encoded_path(event: dict[str, Any]) -> dict[str, Any]:
    """The event with an encoded path: API Gateway has decoded it, and Mangum decodes it again.

    The emulator leaves the path encoded, so this is for the real runtime only.
    """
    http = event["requestContext"]["http"]
    http = http | {"path": quote(http["path"])}
    return event | {"requestContext": event["requestContext"] | {"http": http}}


def _register_snapshot_hooks(before: Callable[[], None], after: Callable[[], None]) -> None:
    """Keep secrets and connections out of a SnapStart snapshot, and load them after a restore."""
    # Part of the Lambda runtime, not installed anywhere else.
    from snapshot_restore_py import (  # noqa: PLC0415  # ty: ignore[import-not-found]
        register_after_restore,
        register_before_snapshot,
    )

    register_before_snapshot(before)
    register_after_restore(after)
    # Restored sandboxes would otherwise share one sequence of random retry delays.
    register_after_restore(random.seed)
