"""Lists the implementations that the benchmark compares."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Implementation:
    """One implementation of the task API.

    packages: the packages of its artifact, in the versions of requirements.txt.
    files: its source files.
    module: the module with `lambda_handler`.
    application: the ASGI application, or None if it is not compared as a server.
    bytecode: whether its artifact contains compiled bytecode.
    """

    name: str
    title: str
    module: str
    packages: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    application: str | None = None
    bytecode: bool = True
    node: bool = False


DATABASE = ("psycopg[binary]", "pyjwt")

FLOOR = Implementation(
    "floor", "floor: plain handler", "floor", DATABASE,
    ("bench/floor.py", "bench/floor_server.py"), "floor_server:app",
)  # fmt: skip
OURS = Implementation("ours", "**this API**", "api.tasks", (), ("api", "lib"), "api.tasks:app")
POWERTOOLS = Implementation(
    "powertools", "Powertools resolver", "powertools_resolver",
    ("aws-lambda-powertools", *DATABASE), ("bench/powertools_resolver.py",),
)  # fmt: skip
HONO = Implementation("hono", "hono + pg on Node", "app.cjs", node=True, application="server.cjs")
TUTORIAL = Implementation(
    "tutorial", "tutorial FastAPI + SQLModel", "tutorial",
    ("fastapi", "mangum", "sqlmodel", *DATABASE), ("bench/tutorial.py",), "tutorial:app",
)  # fmt: skip
AS_ZIPPED = Implementation(
    "tutorial-as-zipped", "the same, as usually zipped", "tutorial",
    TUTORIAL.packages, TUTORIAL.files, bytecode=False,
)  # fmt: skip

# Only as a server: asyncpg's pool belongs to one event loop, and Mangum may run several.
EXPERT = Implementation(
    "expert", "expert FastAPI + asyncpg", "expert", ("fastapi", "asyncpg", "pyjwt"),
    ("bench/expert.py",), "expert:app",
)  # fmt: skip

IMPLEMENTATIONS = (FLOOR, OURS, POWERTOOLS, HONO, TUTORIAL, AS_ZIPPED)


@dataclass(frozen=True)
class Server:
    """An implementation behind an HTTP server: one process with one event loop.

    options: those of uvicorn.
    """

    name: str
    title: str
    implementation: Implementation
    options: tuple[str, ...] = ()


H11 = ("--loop", "asyncio", "--http", "h11")
HTTPTOOLS = ("--loop", "asyncio", "--http", "httptools")  # as on Vercel
UVLOOP = ("--loop", "uvloop", "--http", "httptools")

FLOOR_SERVER = Server("floor uvloop", FLOOR.title, FLOOR, UVLOOP)
FLOOR_HTTPTOOLS_SERVER = Server("floor httptools", "floor, without uvloop", FLOOR, HTTPTOOLS)
FLOOR_H11_SERVER = Server("floor h11", "floor, with h11", FLOOR, H11)
OUR_SERVER = Server("ours uvloop", "**this API**", OURS, UVLOOP)
HONO_SERVER = Server("hono", HONO.title, HONO)
EXPERT_SERVER = Server("expert uvloop", EXPERT.title, EXPERT, UVLOOP)
TUTORIAL_SERVER = Server("tutorial uvloop", TUTORIAL.title, TUTORIAL, UVLOOP)
SERVERS = (
    FLOOR_SERVER,
    OUR_SERVER,
    EXPERT_SERVER,
    HONO_SERVER,
    TUTORIAL_SERVER,
    FLOOR_HTTPTOOLS_SERVER,
    Server("ours httptools", "this API, without uvloop, as on Vercel", OURS, HTTPTOOLS),
    FLOOR_H11_SERVER,
    Server("ours h11", "this API, with h11", OURS, H11),
)
