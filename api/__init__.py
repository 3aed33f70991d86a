"""Makes a cold start cheap: every function imports this package first.

Each module does so by `import api`, because Vercel's runtime executes the file of a function
without importing its package.

With these five measures, a cold start takes 1.53 billion instructions until its first response:

- The garbage collector is off during imports. Imports create many objects and free few, so
  collections find almost nothing and cost 56 million instructions. `create_lambda_handler` turns
  the collector on again.
- `create_lambda_handler` calls `gc.freeze()`, so that later collections skip the objects that the
  imports created.
- `pydantic.v1` is marked as not installed, which FastAPI supports. FastAPI would import it only to
  recognize models of Pydantic 1, for 77 million instructions.
- Pydantic does not search for plugins, because none is installed. It saves 7 million instructions.
- FastAPI's Pydantic models of the OpenAPI document are built at first use.

On Vercel, two more measures make each request cheap: see the last lines.

bench/NOTES.md has the measurements. tests/tooling/bench/test_import_budget.py limits the imports.
"""

import gc
import os
import socket
import sys
from importlib.util import find_spec
from typing import Any


def _import_fastapi_without_building_its_models() -> None:
    """Import FastAPI without building the models of the OpenAPI document, which no function uses.

    `defer_build` saves 168 million instructions. FastAPI then calls `model_rebuild()` for three
    models, which would build most of the others too: 44 million. When a model is first used,
    Pydantic calls `model_rebuild` with options.
    """
    from pydantic import BaseModel  # noqa: PLC0415

    original = BaseModel.__dict__["model_rebuild"]

    def build_if_used(model: type[BaseModel], **options: Any) -> bool | None:
        return original.__func__(model, **options) if options else None

    BaseModel.model_config["defer_build"] = True
    BaseModel.model_rebuild = classmethod(build_if_used)  # ty: ignore[invalid-assignment]
    import fastapi  # noqa: F401, PLC0415

    BaseModel.model_rebuild = original
    del BaseModel.model_config["defer_build"]


def _listen_without_delay(listener: socket.socket, *backlog: int) -> None:
    """Listen with TCP_NODELAY, which each accepted connection inherits.

    The body of a response then does not wait until the client has acknowledged the headers.
    """
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    super(socket.socket, listener).listen(*backlog)


# Each line can be removed: the API then starts more slowly and behaves the same.
gc.disable()
sys.modules["pydantic.v1"] = None  # ty: ignore[invalid-assignment]
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")  # noqa: TID251 - of Pydantic
_import_fastapi_without_building_its_models()

# For every request, Vercel's runtime tries to import modules of Vercel's SDK. Where it is not
# installed, each try searches all of sys.path: 1.4 of 4.8 million instructions per request.
if "vercel_runtime" in sys.modules and find_spec("vercel") is None:
    sys.modules["vercel"] = None  # ty: ignore[invalid-assignment]
# The runtime opens its socket in a way for which asyncio does not set TCP_NODELAY: on a kept-alive
# connection a response of 2 ms takes 40 ms longer.
if "vercel_runtime" in sys.modules:
    socket.socket.listen = _listen_without_delay  # ty: ignore[invalid-assignment]
