"""Who is measured, and what each is made of; knows no figure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Partner:
    """`packages` are what its artifact holds, pinned like ours; `files` its own sources.

    `module` answers Lambda events; `application` is the ASGI one in it, none where there is no
    server to compare.
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

FLOOR = Partner(
    "floor", "floor: plain handler", "floor", DATABASE,
    ("bench/floor.py", "bench/floor_server.py"), "floor_server:app",
)  # fmt: skip
OURS = Partner("ours", "**this API**", "api.tasks", (), ("api", "lib"), "api.tasks:app")
POWERTOOLS = Partner(
    "powertools", "Powertools resolver", "powertools_resolver",
    ("aws-lambda-powertools", *DATABASE), ("bench/powertools_resolver.py",),
)  # fmt: skip
HONO = Partner("hono", "hono + pg on Node", "app.cjs", node=True, application="server.cjs")
TUTORIAL = Partner(
    "tutorial", "tutorial FastAPI + SQLModel", "tutorial",
    ("fastapi", "mangum", "sqlmodel", *DATABASE), ("bench/tutorial.py",), "tutorial:app",
)  # fmt: skip
AS_ZIPPED = Partner(
    "tutorial-as-zipped", "the same, as usually zipped", "tutorial",
    TUTORIAL.packages, TUTORIAL.files, bytecode=False,
)  # fmt: skip

PARTNERS = (FLOOR, OURS, POWERTOOLS, HONO, TUTORIAL, AS_ZIPPED)
