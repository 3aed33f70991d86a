"""Stub."""
from fastapi import APIRouter

from lib.app import create_app, mangum_handler

router = APIRouter()


@router.get("/api/health")
async def get_health() -> dict[str, str]:
    return {"stub": "health"}


app = create_app(router)
lambda_handler = mangum_handler(app)
