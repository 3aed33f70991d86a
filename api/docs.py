"""Stub."""
from fastapi import APIRouter

from lib.app import create_app, mangum_handler

router = APIRouter()


@router.get("/api/docs")
async def get_docs() -> dict[str, str]:
    return {"stub": "docs"}


app = create_app(router)
lambda_handler = mangum_handler(app)
