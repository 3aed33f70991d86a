"""Makes a cold start cheap: every function imports this package first.

A cold start takes 1.6 billion instructions up to its first response. Four measures keep it there:

- The garbage collector is off while modules are imported. Importing creates objects and drops
  hardly any, so collections find nothing: they cost 56 million instructions.
  `create_lambda_handler` turns it on again.
- FastAPI's Pydantic models of OpenAPI documents are built at their first use, which no function
  has. Building them costs 168 million instructions. `defer_build` is set for this import alone.
- `pydantic.v1`, which FastAPI imports to recognise models of Pydantic 1, is marked as absent.
  FastAPI handles its absence. Importing it costs 77 million instructions.
- `create_lambda_handler` calls `gc.freeze()`, so that no later collection visits the objects that
  the imports have created.

bench/NOTES.md has the measurements, tests/tooling/bench/test_import_budget.py holds them.
"""

import gc
import sys

gc.disable()
sys.modules["pydantic.v1"] = None  # ty: ignore[invalid-assignment]

from pydantic import BaseModel  # noqa: E402

BaseModel.model_config["defer_build"] = True
import fastapi  # noqa: E402, F401

del BaseModel.model_config["defer_build"]
