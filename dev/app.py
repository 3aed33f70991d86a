"""All endpoint groups in one ASGI application, for the local server; deployed, each is a function
of its own.
"""

from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from api import docs, health, smoke, tasks

GROUPS = (tasks, health, docs, smoke)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand a request to the first group that has its path, as the platforms' routes do."""
    await _group_of(scope)(scope, receive, send)


def _group_of(scope: Scope) -> ASGIApp:
    if scope["type"] == "http":
        path = scope["path"].removesuffix("/") or "/"
        for group in GROUPS:
            routes = group.app.router.routes
            if any(route.matches(dict(scope, path=path))[0] is not Match.NONE for route in routes):
                return group.app
    return health.app
