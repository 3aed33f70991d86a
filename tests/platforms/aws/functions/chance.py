"""A function whose random numbers are known when its snapshot is taken."""

import random

from fastapi import APIRouter

from lib.lambda_handler import create_lambda_handler
from lib.web.app import create_app

router = APIRouter()
random.seed(1)
FROZEN = random.Random(1).random()


@router.get("/chance")
async def chance() -> dict[str, float]:
    """Give the next number, and the one that the snapshot would have given."""
    return {"now": random.random(), "frozen": FROZEN}


lambda_handler = create_lambda_handler(create_app(router))
