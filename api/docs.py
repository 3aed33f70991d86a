"""The OpenAPI document of the whole API and its interactive page, without any outside network."""

from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response

from lib.app import create_app
from lib.errors import ApiError
from lib.lambda_handler import mangum_handler
from lib.models import ErrorResponse
from lib.settings import load_settings

DOCUMENT = Path(__file__).parent.parent / "lib" / "openapi.json"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Task API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/api/docs/swagger-ui.min.css">
<link rel="stylesheet" href="/api/docs/style.css">
</head>
<body>
<div id="page" data-document="/api/openapi.json"></div>
<noscript>This page needs JavaScript; the document itself is at /api/openapi.json.</noscript>
<script src="/api/docs/swagger-ui-bundle.min.js"></script>
<script src="/api/docs/start.js"></script>
</body>
</html>
"""
# The token stays in memory: whoever reloads the page enters it again.
START = """const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
followScheme();
dark.addEventListener("change", followScheme);

function subjectOf(token) {
  try {
    const bytes = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)))).sub;
  } catch {
    return undefined;
  }
}

// Whoever authorises need not type their user id into every path.
const fillUserId = (authorize, { specActions, specSelectors }) => (given) => {
  const result = authorize(given);
  const user = subjectOf(given.bearer?.value ?? "");
  for (const operation of user ? specSelectors.operations() : []) {
    const place = [operation.get("path"), operation.get("method")];
    if (place[0].includes("{user_id}")) {
      specActions.changeParam(place, "user_id", "path", user, false);
    }
  }
  return result;
};

SwaggerUIBundle({
  url: document.getElementById("page").dataset.document,
  dom_id: "#page",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  plugins: [{ statePlugins: { auth: { wrapActions: { authorize: fillUserId } } } }],
});
"""
STYLE = """body { margin: 0; }
noscript { display: block; padding: 2rem; }
.swagger-ui .wrapper { max-width: 60rem; }
.swagger-ui .info { margin: 2rem 0 0; }
.swagger-ui .scheme-container { background: none; box-shadow: none; margin: 0; padding: 1rem 0; }
.swagger-ui .info :is(p, li), .swagger-ui .markdown p { line-height: 1.7; }
.swagger-ui :is(.markdown, .renderedMarkdown) code { padding: 1px 5px; font-weight: 500; }
.swagger-ui .opblock .opblock-summary-method { color: #111; text-shadow: none; }
.swagger-ui textarea.body-param__text { min-height: 9rem; }
.swagger-ui table.headers td { color: inherit; font-weight: 400; padding: 2px 1rem 2px 0; }
.swagger-ui table.headers td.header-col:first-child { white-space: nowrap; }
.swagger-ui table tbody tr td:first-of-type { min-width: 10rem; }
.swagger-ui .responses-table tbody tr td:first-of-type { min-width: 3rem; }
.swagger-ui .parameters-col_description input { max-width: 100%; }

/* One server, one form of body, no links between operations: nothing to choose. */
.swagger-ui :is(.servers-title, .servers, .content-type-wrapper, .response-controls,
  .response-control-media-type, .response-col_links, .try-out) { display: none; }

@media (max-width: 640px) {
  .swagger-ui .wrapper { padding: 0 12px; }
  .swagger-ui .info .title { font-size: 1.75rem; }
  .swagger-ui .opblock-tag { padding: 10px 0; }
  .swagger-ui .opblock .opblock-summary-method { min-width: 62px; padding: 6px 0; }
  .swagger-ui .opblock .opblock-section-header { padding: 8px 12px; }
  .swagger-ui :is(.parameters-container, .parameters, .responses-inner) { padding: 0; }
  .swagger-ui :is(.table-container, .responses-inner) { padding: 8px 12px; }
  .swagger-ui :is(.parameters, .responses-table) > :is(thead, tbody) > tr > * { padding: 6px 0; }
  .swagger-ui .responses-table table.headers :is(tr, td) { display: block; padding: 0; }
  .swagger-ui .responses-table table.headers :is(thead, td:last-child),
  .swagger-ui .parameters > thead { display: none; }
  .swagger-ui .parameters > tbody > tr > td { display: block; min-width: 0; width: 100%; }
  .swagger-ui .parameter__name { display: inline-block; margin-right: 8px; }
  .swagger-ui :is(.parameter__type, .parameter__in) { display: inline-block; padding: 0 8px 0 0; }
  .swagger-ui .parameters-col_description :is(input, select) { width: 100%; }
  .swagger-ui .dialog-ux .modal-ux { width: calc(100vw - 24px); min-width: 0; }
}
"""
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


class Hidden(ApiError):
    status = 404
    detail = "There is nothing at this path."


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
    _check_shown()
    return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": POLICY})


@router.get("/docs/{name}", response_class=Response, include_in_schema=False)
async def get_docs_file(name: str) -> Response:
    """Get a part of the documentation page."""
    _check_shown()
    if name == "start.js":
        return Response(START, media_type="text/javascript")
    if name == "style.css":
        return Response(STYLE, media_type="text/css")
    media_type = {
        "swagger-ui.min.css": "text/css",
        "swagger-ui-bundle.min.js": "text/javascript",
    }.get(name)
    if media_type is None:
        raise Hidden
    return _file(_swagger_ui() / name, media_type, A_DAY)


def _check_shown() -> None:
    if not load_settings().DOCS_ENABLED:
        raise Hidden


def _file(path: Path, media_type: str, headers: dict[str, str] | None = None) -> Response:
    _check_shown()
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
lambda_handler = mangum_handler(app)
