"""The server process of `make dev`: serves the API on the socket that dev/serve.py opened.

uvicorn's --reload leaves requests waiting while the code cannot be imported. This process responds
to them with the file and line of the error.
"""

import json
import os
import socket
import sys
import traceback
from pathlib import Path

import uvicorn
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dev.readable_log import show_readable_lines

ROOT = Path(__file__).parent.parent
WATCHED = ("api", "lib", "dev")


def main(descriptor: int, failure: str = "") -> None:
    """Serve on an inherited listening socket.

    failure: why the API cannot be served; every response is then an error with this text.
    """
    app = _failing(failure) if failure else _load()
    if sys.stdout.isatty():
        app = show_readable_lines(app)
    config = uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=2)
    # Not uvicorn's --fd, which treats every socket as a Unix socket: asyncio then does not set
    # TCP_NODELAY, and responses on kept-alive connections take 40 ms longer.
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def _load() -> ASGIApp:
    banner = os.environ.get("BANNER", "")
    try:
        from dev.app import app  # noqa: PLC0415 - the import may fail, which is handled here
    except (Exception, SystemExit) as error:  # noqa: BLE001
        traceback.print_exc()
        failure = describe(error)
        notice = f"Every request fails with this error until you save a correction:\n{failure}"
        return _announced(_failing(failure), f"{banner}\n\n{notice}" if banner else notice)
    return _announced(_with_start_page(app), banner)


def _with_start_page(app: ASGIApp) -> ASGIApp:
    """Redirect `/` and `/api`, which are 404 in a deployment, to the documentation page."""
    redirect = RedirectResponse("/api/docs", headers={"Cache-Control": "no-store"})

    async def with_start_page(scope: Scope, receive: Receive, send: Send) -> None:
        opened = scope["type"] == "http" and scope["path"] in ("/", "/api", "/api/")
        await (redirect if opened else app)(scope, receive, send)

    return with_start_page


def describe(error: BaseException) -> str:
    """Return an error as `file:line: Type: message`, with the deepest line in the project."""
    file, line = None, None
    if isinstance(error, SyntaxError) and error.filename:
        file, line, message = error.filename, error.lineno, error.msg
    else:
        message = str(error)
        for frame in traceback.extract_tb(error.__traceback__):
            if Path(frame.filename).is_relative_to(ROOT) and _is_watched(frame.filename):
                file, line = frame.filename, frame.lineno
    text = f"{type(error).__name__}: {message}"
    if file is None:
        return text
    path = Path(file)
    return f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{line}: {text}"


def _is_watched(file: str) -> bool:
    return Path(file).relative_to(ROOT).parts[0] in WATCHED


def _failing(failure: str) -> ASGIApp:
    body = json.dumps({"detail": failure})
    response = Response(body, 500, {"Cache-Control": "no-store"}, "application/json")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
        else:
            await response(scope, receive, send)

    return app


def _announced(app: ASGIApp, text: str) -> ASGIApp:
    """Print `text`, if there is any, once the application has started."""

    async def announced(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_print(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete" and text:
                print(text, flush=True)

        await app(scope, receive, send_and_print if scope["type"] == "lifespan" else send)

    return announced


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
