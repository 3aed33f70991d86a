"""A function that echoes requests, crashes, hangs and so on, behind our Lambda adapter.

It runs in Lambda's runtime only, never in the process of a test.
"""

import asyncio
import os
import sys
import time

from fastapi import APIRouter, Request, Response

from lib.lambda_handler import create_lambda_handler
from lib.web.app import create_app

router = APIRouter()


@router.api_route("/echo/{rest:path}", methods=["GET", "POST"])
async def echo(request: Request) -> dict[str, object]:
    """Return the request as the application received it."""
    return {
        "path": request.scope["path"],
        "query": request.scope["query_string"].decode(),
        "headers": [[name.decode(), value.decode()] for name, value in request.headers.raw],
        "body": list(await request.body()),
        "process": os.getpid(),
        "modules": sorted(name for name in sys.modules if name in ("boto3", "sqlalchemy")),
    }


@router.get("/cookies")
async def set_cookies() -> Response:
    """Set two cookies, and one header twice."""
    response = Response("ok", media_type="text/plain")
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    response.headers.append("Link", "</1>")
    response.headers.append("Link", "</2>")
    return response


@router.get("/bytes")
async def send_bytes() -> Response:
    """Return a binary body."""
    return Response(bytes(range(256)), media_type="application/octet-stream")


@router.get("/fail")
async def fail() -> Response:
    """Raise an unexpected error."""
    raise RuntimeError("a secret text")


@router.get("/stop")
async def stop() -> Response:
    """Raise SystemExit."""
    raise SystemExit(3)


@router.get("/die")
async def die() -> Response:
    """End the process immediately, as a crash in a C extension does."""
    os._exit(3)


@router.get("/hang")
async def hang() -> Response:
    """Block for longer than the timeout of the function."""
    time.sleep(30)  # noqa: ASYNC251 - a hang, not a wait
    return Response()


@router.get("/lose-loop")
def lose_loop() -> dict[str, bool]:
    """Run asyncio.run in a worker thread, which removes that thread's event loop."""
    asyncio.run(asyncio.sleep(0))
    return {"done": True}


app = create_app(router)
wrapped = create_lambda_handler(app)


def lambda_handler(event: dict, context: object) -> dict:
    """Call the handler, for one path after another asyncio.run in the same thread."""
    if isinstance(event, dict) and event.get("rawPath") == "/lose-loop":
        asyncio.run(asyncio.sleep(0))
    return wrapped(event, context)
