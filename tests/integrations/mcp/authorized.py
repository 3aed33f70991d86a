"""The API for clients that cannot send a token: every request has that of CONFORMANCE_TOKEN."""

import os

from starlette.types import Receive, Scope, Send

from dev.app import app as api


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        token = os.environ["CONFORMANCE_TOKEN"].encode()
        scope = dict(scope, headers=[*scope["headers"], (b"authorization", b"Bearer " + token)])
    await api(scope, receive, send)
