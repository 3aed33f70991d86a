"""Stub."""
from fastapi import APIRouter

from lib.app import create_app, mangum_handler

router = APIRouter()


@router.get("/api/tasks")
async def get_tasks() -> dict[str, str]:
    return {"stub": "tasks"}


app = create_app(router)
lambda_handler = mangum_handler(app)
