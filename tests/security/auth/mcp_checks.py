"""Checks of the MCP endpoint's authorization that the tables of tokens do not contain.

Each check takes the modules under test by name, so that a mutant can be checked too.
"""

import asyncio
from types import FunctionType
from typing import Any
from unittest.mock import patch

import time_machine

from lib.errors import InsufficientScope, Unauthenticated
from lib.settings import Settings, read_settings
from tests.security.auth.access_tokens import READ, WRITE, AccessForge
from tests.security.auth.keys import signing
from tests.security.auth.remembered import Modules, counted_verifications
from tests.security.auth.tokens import NOW, RESOURCE, SERVER, USER, Forge, variables
from tests.security.auth.verdicts import METADATA_URL

METADATA = {
    "resource": RESOURCE,
    "authorization_servers": [SERVER],
    "scopes_supported": [READ, WRITE],
    "bearer_methods_supported": ["header"],
}


def settings_of(algorithm: str = "EdDSA", deployment: str = "mcp bare", **more: str) -> Settings:
    return read_settings(variables(algorithm, deployment) | more)


def access_forge() -> AccessForge:
    return AccessForge("EdDSA", signing("EdDSA", "ours"), signing("EdDSA", "foreign"))


def session_forge(algorithm: str = "EdDSA") -> Forge:
    return Forge(algorithm, signing(algorithm, "ours"), signing(algorithm, "foreign"))


def at_mcp(modules: Modules, token: str, settings: Settings) -> Any:
    """The access of the token at the MCP endpoint, or the detail of the refusal."""
    with patch.object(modules["mcp_access"], "load_settings", lambda: settings):
        try:
            return asyncio.run(modules["mcp_access"].authenticate_mcp([f"Bearer {token}"]))
        except Unauthenticated as refusal:
            return refusal.detail


def elsewhere(modules: Modules, token: str, settings: Settings) -> str:
    """The user of the token at the other routes, or the detail of the refusal."""
    try:
        return asyncio.run(modules["tokens"].authenticate(f"Bearer {token}", settings)).id
    except Unauthenticated as refusal:
        return refusal.detail


INVALID = "The token is invalid."


def a_remembered_signature_says_nothing_about_claims(modules: Modules) -> None:
    """Both endpoints share the signatures, and neither the verdicts."""
    settings = settings_of()
    access, session = access_forge().token(), session_forge().token()
    other = access_forge().claiming(aud="https://other.example/api/mcp")
    foreign_issuer = access_forge().claiming(iss="https://other.example")
    with counted_verifications() as calls:
        for _ in range(3):
            assert at_mcp(modules, access, settings).user.id == USER
            assert elsewhere(modules, access, settings) == INVALID
            assert elsewhere(modules, session, settings) == USER
            assert at_mcp(modules, session, settings).scopes is None
            assert at_mcp(modules, other, settings) == INVALID
            assert at_mcp(modules, foreign_issuer, settings) == INVALID
            assert elsewhere(modules, other, settings) == INVALID
    assert len(calls) == 4


def an_order_of_endpoints_changes_nothing(modules: Modules) -> None:
    """A token that another route refused first is as good at the MCP endpoint."""
    settings, token = settings_of(), access_forge().token()
    assert elsewhere(modules, token, settings) == INVALID
    assert at_mcp(modules, token, settings).scopes == {READ, WRITE}


def times_are_checked_on_every_request_of_mcp(modules: Modules) -> None:
    settings, token = settings_of(), access_forge().claiming(exp=NOW + 60, nbf=NOW)
    assert at_mcp(modules, token, settings).user.id == USER
    for at, expected in ((NOW + 90, "The token has expired."), (NOW - 31, INVALID)):
        with time_machine.travel(at, tick=False):
            assert at_mcp(modules, token, settings) == expected


def other_settings_of_mcp_are_checked_at_once(modules: Modules) -> None:
    token = access_forge().token()
    assert at_mcp(modules, token, settings_of()).user.id == USER
    for more in (
        {"MCP_RESOURCE": "https://other.example/api/mcp"},
        {"MCP_AUTHORIZATION_SERVER": "https://other.example"},
        {"MCP_RESOURCE": "", "MCP_AUTHORIZATION_SERVER": ""},
        {"JWT_MAX_LIFETIME": "299"},
    ):
        assert at_mcp(modules, token, settings_of(**more)) == INVALID, more


def several_headers_are_refused(modules: Modules) -> None:
    settings = settings_of()
    header = f"Bearer {access_forge().token()}"
    for headers in ([header, header], [header, "Basic YTpi"], ["", header], [header, ""]):
        try:
            with patch.object(modules["mcp_access"], "load_settings", lambda: settings):
                asyncio.run(modules["mcp_access"].authenticate_mcp(headers))
        except Unauthenticated as refusal:
            assert refusal.detail == "Send only one Authorization header."  # noqa: PT017
        else:
            raise AssertionError(f"accepted: {len(headers)} headers")


def scopes_are_required(modules: Modules) -> None:
    module = modules["mcp_access"]
    settings = settings_of()
    for scopes, allowed in (
        ((READ,), {READ}),
        ((WRITE,), {WRITE}),
        ((READ, WRITE), {READ, WRITE}),
        ((), set()),
    ):
        token = access_forge().claiming(scope=" ".join(("openid", *scopes)))
        access = at_mcp(modules, token, settings)
        for needed in (READ, WRITE):
            challenge = challenge_of(module, access, needed, settings)
            assert (challenge is None) == (needed in allowed), (scopes, needed)
            assert challenge is None or challenge == (
                'Bearer error="insufficient_scope", error_description="This operation needs the'
                f' scope {needed}. Connect again and grant it.", scope="{needed}",'
                f' resource_metadata="{METADATA_URL}"'
            )
    access = at_mcp(modules, session_forge().token(), settings)
    for needed in (READ, WRITE):
        assert challenge_of(module, access, needed, settings) is None


def challenge_of(module: Any, access: Any, scope: str, settings: Settings) -> str | None:
    """The challenge of the 403, or None."""
    with patch.object(module, "load_settings", lambda: settings):
        try:
            module.require_scope(access, scope)
        except InsufficientScope as error:
            assert error.status == 403  # noqa: PT017
            assert "token" not in error.detail  # noqa: PT017
            return error.headers["WWW-Authenticate"]
    return None


def metadata_is_offered_where_access_tokens_are_accepted(modules: Modules) -> None:
    module = modules["mcp_access"]
    for algorithm, deployment, expected in (
        ("EdDSA", "mcp strict", METADATA),
        ("ES256", "mcp bare", METADATA),
        ("RS256", "mcp strict", METADATA),
        ("EdDSA", "strict", None),
        ("HS256", "mcp strict", None),
        ("HS256", "strict", None),
    ):
        settings = settings_of(algorithm, deployment)
        with patch.object(module, "load_settings", lambda settings=settings: settings):
            assert module.protected_resource_metadata() == expected, (algorithm, deployment)
            # Of a request without a token.
            challenge = f'Bearer resource_metadata="{METADATA_URL}"' if expected else "Bearer"
            assert challenge_without_token(module) == challenge


def challenge_without_token(module: Any) -> str:
    try:
        asyncio.run(module.authenticate_mcp([]))
    except Unauthenticated as refusal:
        return refusal.headers["WWW-Authenticate"]
    raise AssertionError("accepted")


CHECKS: tuple[FunctionType, ...] = (
    a_remembered_signature_says_nothing_about_claims,
    an_order_of_endpoints_changes_nothing,
    times_are_checked_on_every_request_of_mcp,
    other_settings_of_mcp_are_checked_at_once,
    several_headers_are_refused,
    scopes_are_required,
    metadata_is_offered_where_access_tokens_are_accepted,
)
