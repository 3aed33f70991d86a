"""Stub while the product is built."""
from fastapi import APIRouter, FastAPI
from mangum import Mangum


def create_app(router: APIRouter) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.include_router(router)
    return app


def mangum_handler(app: FastAPI) -> Mangum:
    return Mangum(app, lifespan="off")
