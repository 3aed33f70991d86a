"""A function that our adapter wraps, for what the real ones must never do; runs in Lambda's runtime
only, never in a test's own process.
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
    """Tell what reached the application."""
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
async def give_bytes() -> Response:
    """Give what is no text."""
    return Response(bytes(range(256)), media_type="application/octet-stream")


@router.get("/fail")
async def fail() -> Response:
    """Fail as nobody expects."""
    raise RuntimeError("a secret text")


@router.get("/stop")
async def stop() -> Response:
    """Ask Python to end."""
    raise SystemExit(3)


@router.get("/die")
async def die() -> Response:
    """End the process at once, as a crash in a library of C does."""
    os._exit(3)


@router.get("/hang")
async def hang() -> Response:
    """Take longer than the function may."""
    time.sleep(30)  # noqa: ASYNC251 - a hang, not a wait
    return Response()


@router.get("/lose-loop")
def lose_loop() -> dict[str, bool]:
    """Do in a worker thread what takes the current loop away from whoever does it."""
    asyncio.run(asyncio.sleep(0))
    return {"done": True}


app = create_app(router)
wrapped = create_lambda_handler(app)


def lambda_handler(event: dict, context: object) -> dict:
    """The handler, once after somebody else's asyncio.run in its own thread."""
    if isinstance(event, dict) and event.get("rawPath") == "/lose-loop":
        asyncio.run(asyncio.sleep(0))
    return wrapped(event, context)
