"""All endpoint groups in one ASGI application, for the local server; deployed, each is a function
of its own.
"""

import os

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import docs, health, smoke, tasks

GROUPS = (tasks, health, docs, smoke)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand a request to the first group that has its path, as the platforms' routes do.

    A server that has started up prints the BANNER of its environment.
    """
    if scope["type"] == "lifespan":
        send = _then_print(send)
    await _group_of(scope)(scope, receive, send)


def _then_print(send: Send) -> Send:
    async def send_and_print(message: Message) -> None:
        await send(message)
        if message["type"] == "lifespan.startup.complete" and (banner := os.environ.get("BANNER")):
            print(banner, flush=True)

    return send_and_print


def _group_of(scope: Scope) -> ASGIApp:
    if scope["type"] == "http":
        path = scope["path"].removesuffix("/") or "/"
        for group in GROUPS:
            routes = group.app.router.routes
            if any(route.matches(dict(scope, path=path))[0] is not Match.NONE for route in routes):
                return group.app
    return health.app
