"""The OpenAPI document and its interactive page, which loads nothing from other hosts."""

import api  # noqa: F401 - Vercel's runtime imports this file alone

# isort: split
import gzip
import re
from functools import cache
from hashlib import sha256
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

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
# The time in seconds for which browsers and shared caches may reuse a response. Swagger UI's files
# are large and change only with its version.
MAX_AGE, SWAGGER_UI_MAX_AGE = 300, 86400

RESPONSES: dict[int | str, dict[str, Any]] = {
    304: {"description": "Unchanged: `If-None-Match` has the current `ETag`"},
    404: {"model": ErrorResponse, "description": "The documentation is disabled"},
}

router = APIRouter(prefix="/api", tags=["docs"])


@router.get(
    "/openapi.json",
    response_class=Response,
    responses=RESPONSES | {200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
    response_description="The document",
)
async def get_openapi(request: Request) -> Response:
    """Get the OpenAPI document of this API."""
    return _respond(request, DOCUMENT, "application/json")


@router.get(
    "/docs",
    response_class=Response,
    responses=RESPONSES | {200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
    response_description="The page",
)
async def get_docs(request: Request) -> Response:
    """Get the interactive documentation."""
    return _respond(request, PAGE / "index.html", "text/html")


@router.get("/docs/{name}", response_class=Response, include_in_schema=False)
async def get_docs_file(request: Request, name: str) -> Response:
    """Get a file of the documentation page."""
    match name:
        case "start.js":
            return _respond(request, PAGE / name, "text/javascript")
        case "style.css":
            return _respond(request, PAGE / name, "text/css")
        case "swagger-ui-bundle.min.js":
            return _respond(request, _swagger_ui() / name, "text/javascript", SWAGGER_UI_MAX_AGE)
        case "swagger-ui.min.css":
            return _respond(request, _swagger_ui() / name, "text/css", SWAGGER_UI_MAX_AGE)
    raise NotFound


def _respond(request: Request, path: Path, media_type: str, max_age: int = MAX_AGE) -> Response:
    """Respond with a file, compressed if the client accepts gzip, or with 304 if it has the file.

    Raises NotFound if the documentation is disabled.
    """
    if not load_settings().DOCS_ENABLED:
        error = NotFound()
        error.reason = "DOCS_ENABLED is false"
        raise error
    content, digest = _read(path)
    plain, compressed = f'"{digest}"', f'"{digest}-gzip"'
    accepts_gzip = _accepts_gzip(request.headers.get("accept-encoding", ""))
    headers = {
        "Cache-Control": f"public, max-age={max_age}",
        "ETag": compressed if accepts_gzip else plain,
        "Vary": "Accept-Encoding",
    }
    if media_type == "text/html":
        # Also on a 304, because caches replace the stored headers with those of the 304.
        headers["Content-Security-Policy"] = POLICY
    if _etags(request.headers.get("if-none-match", "")) & {plain, compressed, "*"}:
        return Response(status_code=304, headers=headers)
    if accepts_gzip:
        content = _compress(path)
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=media_type, headers=headers)


def _accepts_gzip(accept_encoding: str) -> bool:
    for coding in accept_encoding.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", weight)
    return False


def _etags(if_none_match: str) -> set[str]:
    """The ETags in If-None-Match without `W/`: the comparison is weak (RFC 9110, 13.1.2)."""
    return {etag.strip().removeprefix("W/") for etag in if_none_match.split(",")}


@cache
def _read(path: Path) -> tuple[bytes, str]:
    """The content of a file and its digest."""
    content = path.read_bytes()
    return content, sha256(content).hexdigest()[:32]


@cache
def _compress(path: Path) -> bytes:
    # Compressing Swagger UI takes 60 ms: 1.5 MB become 0.4 MB. Level 9 would save 0.3 % more.
    return gzip.compress(_read(path)[0], compresslevel=6, mtime=0)


@cache
def _swagger_ui() -> Path:
    # Powertools includes Swagger UI. This finds its folder without importing Powertools.
    spec = PathFinder.find_spec("aws_lambda_powertools")
    [package] = list(spec.submodule_search_locations or ()) if spec else [""]
    return Path(package) / "event_handler" / "openapi" / "swagger_ui"


app = create_app(router)
lambda_handler = create_lambda_handler(app)
