"""A function whose random numbers are predictable when its snapshot is taken."""

import random

from fastapi import APIRouter

from lib.lambda_handler import create_lambda_handler
from lib.web.app import create_app

router = APIRouter()
random.seed(1)
FROZEN = random.Random(1).random()


@router.get("/chance")
async def chance() -> dict[str, float]:
    """Return the next number, and the one that the state of the snapshot would give."""
    return {"now": random.random(), "frozen": FROZEN}


lambda_handler = create_lambda_handler(create_app(router))
