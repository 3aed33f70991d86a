"""Makes a cold start cheap: every function imports this package first.

A cold start takes 1.7 billion instructions up to its first response. Three measures keep it there:

- The garbage collector is off while modules are imported. Importing creates objects and drops
  hardly any, so collections find nothing: they cost 56 million instructions.
  `create_lambda_handler` turns it on again.
- FastAPI's Pydantic models of OpenAPI documents are built at their first use, which no function
  has. Building them costs 168 million instructions. `defer_build` is set for this import alone.
- `create_lambda_handler` calls `gc.freeze()`, so that no later collection visits the objects that
  the imports have created.

bench/NOTES.md has the measurements, tests/tooling/bench/test_import_budget.py holds them.
"""

import gc

gc.disable()

from pydantic import BaseModel  # noqa: E402

BaseModel.model_config["defer_build"] = True
import fastapi  # noqa: E402, F401

del BaseModel.model_config["defer_build"]
