"""The whole API as one ASGI application, for the local server and the tests.

A deployment runs each endpoint group as a separate function. `app` routes requests to the groups as
the platforms do.
"""

from fastapi import APIRouter
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from api import docs, health, mcp, retention, smoke, tasks
from lib.web.app import create_app

GROUPS = (tasks, mcp, health, docs, smoke, retention)
NEEDS = sorted({name for group in GROUPS for name in group.app.state.needs})


def close() -> None:
    """Call what the groups call when a server shuts down."""
    for group in GROUPS:
        if group.app.state.at_exit:
            group.app.state.at_exit()


# Starts and stops the server for all groups, and responds where none has the path.
server = create_app(APIRouter(), needs=NEEDS, at_exit=close)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Pass a request to the first endpoint group that has a route for its path."""
    await _group_of(scope)(scope, receive, send)


def _group_of(scope: Scope) -> ASGIApp:
    if scope["type"] == "http":
        path = scope["path"].removesuffix("/") or "/"
        for group in GROUPS:
            routes = group.app.router.routes
            if any(route.matches(dict(scope, path=path))[0] is not Match.NONE for route in routes):
                return group.app
    return server
