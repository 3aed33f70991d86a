"""Makes a cold start cheap: every function imports this package first.

Each module does so by `import api`, because Vercel's runtime executes the file of a function
without importing its package.

With these four measures, a cold start takes 1.6 billion instructions until its first response:

- The garbage collector is off during imports. Imports create many objects and free few, so
  collections find almost nothing and cost 56 million instructions. `create_lambda_handler` turns
  the collector on again.
- FastAPI's Pydantic models of the OpenAPI document are built at first use, and no function uses
  them. Building them costs 168 million instructions. `defer_build` is set only for this import.
- `pydantic.v1` is marked as not installed, which FastAPI supports. FastAPI would import it only to
  recognize models of Pydantic 1, for 77 million instructions.
- `create_lambda_handler` calls `gc.freeze()`, so that later collections skip the objects that the
  imports created.

bench/NOTES.md has the measurements. tests/tooling/bench/test_import_budget.py limits the imports.
"""

import gc
import sys
from importlib.util import find_spec

gc.disable()
sys.modules["pydantic.v1"] = None  # ty: ignore[invalid-assignment]

from pydantic import BaseModel  # noqa: E402

BaseModel.model_config["defer_build"] = True
import fastapi  # noqa: E402, F401

del BaseModel.model_config["defer_build"]

# For every request, Vercel's runtime tries to import modules of Vercel's SDK. Where it is not
# installed, each try searches all of sys.path: 1.4 of 4.8 million instructions per request.
if "vercel_runtime" in sys.modules and find_spec("vercel") is None:
    sys.modules["vercel"] = None  # ty: ignore[invalid-assignment]
