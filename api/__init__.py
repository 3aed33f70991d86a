"""What every function imports first: FastAPI, as cheaply as it goes; knows no function."""

import gc

# A start makes objects and drops hardly any, so looking for garbage among them is for nothing:
# 56 M instructions. `create_lambda_handler` turns the collector on again.
gc.disable()

from pydantic import BaseModel  # noqa: E402

# FastAPI's models of an OpenAPI document: no function ever uses them, and building their validators
# takes 170 M instructions. This way Pydantic builds each when it is first used.
BaseModel.model_config["defer_build"] = True
import fastapi  # noqa: E402, F401

del BaseModel.model_config["defer_build"]
