"""Decides who may use the MCP endpoint, and for what.

Two kinds of tokens are accepted: the session tokens of the other routes, with the same checks, and
OAuth access tokens (RFC 9068) that the authorization server issued for this endpoint. `typ` in the
header, which the signature covers, decides between the two sets of rules.
"""

from typing import Any, Literal, NamedTuple

from lib.auth.signatures import verifier_for
from lib.auth.tokens import (
    TOKEN_ERRORS,
    UntrustedToken,
    authenticate,
    bearer_token,
    decode,
    refusal,
    user_of,
)
from lib.errors import ApiError, InsufficientScope, Unauthenticated
from lib.schemas import AuthenticatedUser
from lib.settings import MCP_PATH, Settings, load_settings

type Scope = Literal["tasks:read", "tasks:write"]

SCOPES: tuple[Scope, ...] = ("tasks:read", "tasks:write")
# RFC 9728, section 3.1: the well-known prefix stands before the path of the endpoint.
METADATA_PATH = f"/.well-known/oauth-protected-resource{MCP_PATH}"

# Claims of access tokens that are valid under conditions which this API does not check:
# - with a proof of possession (RFC 7800, such as DPoP): cnf
# - for a delegate (RFC 8693): act, may_act
# - for less than their scopes say (RFC 9396): authorization_details
# and claims of ID tokens, which are no access tokens whatever their `typ` says.
UNSUPPORTED_CLAIMS = (
    "cnf", "act", "may_act", "authorization_details", "nonce", "at_hash", "c_hash", "s_hash",
)  # fmt: skip


class McpAccess(NamedTuple):
    """The user of a token, and its scopes. A session token has no scopes (None), so it has all."""

    user: AuthenticatedUser
    scopes: frozenset[str] | None


async def authenticate_mcp(authorization_headers: list[str]) -> McpAccess:
    """Return the user of the token in the Authorization header, and what the token allows.

    Raises Unauthenticated, or KeysUnavailable if there are no keys to verify the token with.
    """
    settings = load_settings()
    try:
        return await _authenticate(",".join(authorization_headers), settings)
    except Unauthenticated as error:
        _add_metadata(error, settings)
        raise


def require_scope(access: McpAccess, scope: Scope) -> None:
    """Raise InsufficientScope if the token does not allow operations that need this scope."""
    if access.scopes is not None and scope not in access.scopes:
        error = InsufficientScope(scope)
        _add_metadata(error, load_settings())
        raise error


def protected_resource_metadata() -> dict[str, Any] | None:
    """Return the metadata of the endpoint (RFC 9728), or None where it accepts no access tokens."""
    settings = load_settings()
    if not _accepts_access_tokens(settings):
        return None
    return {
        "resource": settings.MCP_RESOURCE,
        "authorization_servers": [settings.MCP_AUTHORIZATION_SERVER],
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
    }


def _accepts_access_tokens(settings: Settings) -> bool:
    # The secret that verifies HS256 tokens can also sign them, so OAuth needs a key pair.
    return settings.MCP_AUTHORIZATION_SERVER is not None and settings.JWT_ALGORITHM != "HS256"


def _add_metadata(error: ApiError, settings: Settings) -> None:
    """Tell OAuth clients in the challenge where the metadata is (RFC 9728, section 5.1)."""
    if _accepts_access_tokens(settings):
        origin = str(settings.MCP_RESOURCE).removesuffix(MCP_PATH)
        challenge = error.headers["WWW-Authenticate"]
        separator = " " if challenge == "Bearer" else ", "
        error.headers["WWW-Authenticate"] = (
            f'{challenge}{separator}resource_metadata="{origin}{METADATA_PATH}"'
        )


async def _authenticate(authorization: str, settings: Settings) -> McpAccess:
    token = bearer_token(authorization)
    try:
        if not (_accepts_access_tokens(settings) and _is_access_token(token, settings)):
            return McpAccess(await authenticate(authorization, settings), None)
        # Imported here, because deployments with a shared secret do not need this module.
        from lib.auth.jwks import verified_by_key_set  # noqa: PLC0415

        verified = await verified_by_key_set(token, settings, _decode)
        claims = verified["payload"]
        _require_user_without_conditions(claims)
        return McpAccess(user_of(claims, settings), _scopes_of(claims))
    except TOKEN_ERRORS as error:
        raise refusal(error, token, settings) from error


def _is_access_token(token: str, settings: Settings) -> bool:
    typ = verifier_for(settings).get_unverified_header(token).get("typ")
    return isinstance(typ, str) and typ.lower() in ("at+jwt", "application/at+jwt")


def _decode(token: str, key: Any, settings: Settings) -> dict[str, Any]:
    return decode(
        token,
        key,
        settings,
        issuer=settings.MCP_AUTHORIZATION_SERVER,
        audience=settings.MCP_RESOURCE,
        required=("exp", "iat", "sub"),
    )


def _require_user_without_conditions(claims: dict[str, Any]) -> None:
    for name in UNSUPPORTED_CLAIMS:
        if name in claims:
            raise UntrustedToken(f"the claim {name} marks a token that this API cannot check")
    # A client that acts for itself (grant type client_credentials) is no user.
    if claims["sub"] in (claims.get("client_id"), claims.get("azp")):
        raise UntrustedToken("sub names the client, not a user")


def _scopes_of(claims: dict[str, Any]) -> frozenset[str]:
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise UntrustedToken("scope is not a string")
    return frozenset(SCOPES).intersection(scope.split(" "))
