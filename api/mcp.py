"""The tasks for AI assistants, over the Model Context Protocol."""

import api  # noqa: F401 - Vercel's runtime imports this file alone

# isort: split
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from lib.auth.mcp_access import (
    METADATA_PATH,
    authenticate_mcp,
    protected_resource_metadata,
)
from lib.auth.signatures import forget_signatures
from lib.db.pool import close_pools
from lib.errors import NotFound
from lib.lambda_handler import create_lambda_handler
from lib.mcp.protocol import check_origin, respond
from lib.settings import MCP_PATH
from lib.web.app import create_app
from lib.web.routing import read_body

# Not in the OpenAPI document: clients of MCP ask the endpoint itself for its tools.
router = APIRouter(include_in_schema=False)


@router.post(MCP_PATH)
async def post_message(request: Request) -> Response:
    """Respond to one JSON-RPC message."""
    check_origin(request.headers.get("origin"))
    access = await authenticate_mcp(request.headers.getlist("authorization"))
    request.scope["user"] = access.user
    return await respond(request, access, await read_body(request))


# Some clients look for the metadata at the second path if they were sent no challenge.
@router.get(METADATA_PATH)
@router.get(METADATA_PATH.removesuffix(MCP_PATH))
async def get_metadata() -> Response:
    """Name the authorization server (RFC 9728)."""
    metadata = protected_resource_metadata()
    if metadata is None:
        raise NotFound
    return JSONResponse(metadata)


def release() -> None:
    """Close all connections and drop all secrets: at exit, and before a snapshot."""
    close_pools()
    forget_signatures()


app = create_app(router, needs=("DATABASE_URL", "BETTER_AUTH_SECRET"), at_exit=release)
lambda_handler = create_lambda_handler(app)
