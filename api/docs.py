"""The OpenAPI document of the whole API and its interactive page, without any outside network."""

from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response

from lib.errors import NotFound
from lib.lambda_handler import create_lambda_handler
from lib.schemas import ErrorResponse
from lib.settings import load_settings
from lib.web.app import create_app

STATIC = Path(__file__).parent.parent / "lib" / "static"
DOCUMENT, PAGE = STATIC / "openapi.json", STATIC / "docs_page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The files of Swagger UI change with a deployment only, and are large.
A_DAY = {"Cache-Control": "public, max-age=86400"}

HIDDEN: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "This deployment shows no documentation"}
}

router = APIRouter(prefix="/api", tags=["docs"])


@router.get(
    "/openapi.json",
    response_class=Response,
    responses=HIDDEN | {200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
    response_description="The document",
)
async def get_openapi() -> Response:
    """Get the OpenAPI document of this API."""
    return _file(DOCUMENT, "application/json")


@router.get(
    "/docs",
    response_class=Response,
    responses=HIDDEN | {200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
    response_description="The page",
)
async def get_docs() -> Response:
    """Show the interactive documentation."""
    return _file(PAGE / "index.html", "text/html", {"Content-Security-Policy": POLICY})


@router.get("/docs/{name}", response_class=Response, include_in_schema=False)
async def get_docs_file(name: str) -> Response:
    """Get a part of the documentation page."""
    match name:
        case "start.js":
            return _file(PAGE / name, "text/javascript")
        case "style.css":
            return _file(PAGE / name, "text/css")
        case "swagger-ui-bundle.min.js":
            return _file(_swagger_ui() / name, "text/javascript", A_DAY)
        case "swagger-ui.min.css":
            return _file(_swagger_ui() / name, "text/css", A_DAY)
    raise NotFound


def _file(path: Path, media_type: str, headers: dict[str, str] | None = None) -> Response:
    if not load_settings().DOCS_ENABLED:
        raise NotFound
    return Response(_read(path), media_type=media_type, headers=headers)


@cache
def _read(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _swagger_ui() -> Path:
    # Powertools carries a copy of Swagger UI: found as a file, so that nothing of it is imported.
    spec = PathFinder.find_spec("aws_lambda_powertools")
    [package] = list(spec.submodule_search_locations or ()) if spec else [""]
    return Path(package) / "event_handler" / "openapi" / "swagger_ui"


app = create_app(router)
lambda_handler = create_lambda_handler(app)
