"""The OpenAPI document of the whole API and its interactive page, without any outside network."""

from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from fastapi import APIRouter, Response

from lib.app import create_app
from lib.errors import ApiError
from lib.lambda_handler import mangum_handler
from lib.settings import load_settings

DOCUMENT = Path(__file__).parent.parent / "lib" / "openapi.json"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Task API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/api/docs/swagger-ui.min.css">
</head>
<body>
<div id="page" data-document="/api/openapi.json"></div>
<script src="/api/docs/swagger-ui-bundle.min.js"></script>
<script src="/api/docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: document.getElementById("page").dataset.document,
  dom_id: "#page",
  deepLinking: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)

router = APIRouter(prefix="/api", tags=["docs"])


class Hidden(ApiError):
    status = 404
    detail = "There is nothing at this path."


@router.get("/openapi.json", response_class=Response)
async def get_openapi() -> Response:
    """Get the OpenAPI document of this API."""
    return _file(DOCUMENT, "application/json")


@router.get("/docs", response_class=Response)
async def get_docs() -> Response:
    """Show the interactive documentation."""
    _check_shown()
    return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": POLICY})


@router.get("/docs/{name}", response_class=Response, include_in_schema=False)
async def get_docs_file(name: str) -> Response:
    """Get a part of the documentation page."""
    _check_shown()
    if name == "start.js":
        return Response(START, media_type="text/javascript")
    media_type = {
        "swagger-ui.min.css": "text/css",
        "swagger-ui-bundle.min.js": "text/javascript",
    }.get(name)
    if media_type is None:
        raise Hidden
    return _file(_swagger_ui() / name, media_type)


def _check_shown() -> None:
    if not load_settings().DOCS_ENABLED:
        raise Hidden


def _file(path: Path, media_type: str) -> Response:
    _check_shown()
    return Response(_read(path), media_type=media_type)


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
lambda_handler = mangum_handler(app)
