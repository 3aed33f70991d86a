"""Verifies the bearer token of a request and names its user.

PyJWT does the cryptography and most checks; the rest follows RFC 8725, the best current practices
for JSON Web Tokens.
"""

import re
import time
from collections.abc import Sequence
from typing import Any

import jwt

from lib.auth.signatures import verifier_for
from lib.errors import Unauthenticated
from lib.schemas import AuthenticatedUser, has_surrogate
from lib.settings import Settings

MAX_TOKEN_LENGTH = 8192  # in characters, because PyJWT decodes a token before it verifies it
LEEWAY = 30  # seconds by which the clocks of the issuer and of this machine may differ
MAX_EXPIRY = 253402300799  # the end of the year 9999; an expiry in milliseconds exceeds it

# Claims that mark a token as issued to an OAuth client, which may belong to a third party. The same
# key can sign such tokens, and where no audience is configured nothing else tells them apart:
# - access tokens: of Better Auth (azp, scope), RFC 9068 (client_id, scope), Okta (scp), Microsoft
#   Entra (scp, appid), Auth0 (azp, gty), RFC 9396 (authorization_details)
# - ID tokens of OpenID Connect: acr, auth_time, nonce and the hashes (at_hash, c_hash, s_hash)
# - tokens for delegation (RFC 8693: act, may_act)
# - tokens that are only valid with a proof of possession (RFC 7800: cnf), which is not checked here
# Better Auth puts all fields of a user into a session token, and the names of custom fields are
# free. So only registered claims and unmistakable names are listed: cid, sid, scopes, roles, ver
# and others may be fields of a user. The providers that issue them also issue a listed claim.
OAUTH_CLAIMS = (
    "azp", "client_id", "scope", "scp", "appid", "gty", "authorization_details",
    "acr", "auth_time", "nonce", "at_hash", "c_hash", "s_hash",
    "act", "may_act", "cnf",
)  # fmt: skip
# The setting that each algorithm needs, for the log.
KEY_SETTINGS = {
    "HS256": "BETTER_AUTH_SECRET",
    **dict.fromkeys(("EdDSA", "ES256", "RS256"), "JWKS_URL=<frontend>/api/auth/jwks"),
}

_COMPACT_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# 1 to 255 characters, no white space at either end, no control characters. A range of surrogates
# would take most of the import of this module.
_USER_ID = re.compile(r"(?!\s)[^\x00-\x1f\x7f-\x9f]{1,255}(?<!\s)")


# The errors of a verification. For some malformed tokens PyJWT raises built-in exceptions, such as
# UnicodeEncodeError (a ValueError) and OverflowError (an ArithmeticError).
TOKEN_ERRORS = (
    jwt.PyJWTError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)


class UntrustedToken(jwt.InvalidTokenError):
    """A check of this package failed.

    The text names the check and contains no value of a claim, so it can be logged.
    """


async def authenticate(authorization: str | None, settings: Settings) -> AuthenticatedUser:
    """Return the user of the session token in an Authorization header.

    The values of repeated headers must be joined by commas. Raises Unauthenticated, or
    KeysUnavailable if there are no keys to verify the token with.
    """
    token = bearer_token(authorization)
    try:
        verified = await _verified(token, settings)
        _require_session_token(verified["header"], verified["payload"])
        return user_of(verified["payload"], settings)
    except TOKEN_ERRORS as error:
        raise refusal(error, token, settings) from error


def refusal(error: Exception, token: str, settings: Settings) -> Unauthenticated:
    """Return the response to a token whose verification raised one of TOKEN_ERRORS."""
    if isinstance(error, jwt.ExpiredSignatureError):
        return Unauthenticated(
            "The token has expired.", error="invalid_token", reason=type(error).__name__
        )
    return _invalid_token(_reason(error, token, settings))


def _invalid_token(reason: str) -> Unauthenticated:
    return Unauthenticated("The token is invalid.", error="invalid_token", reason=reason)


def bearer_token(authorization: str | None) -> str:
    """Return the token in an Authorization header. Raises Unauthenticated."""
    if not authorization:
        raise Unauthenticated
    if "," in authorization:
        raise Unauthenticated("Send only one Authorization header.", error="invalid_request")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated
    if len(token) > MAX_TOKEN_LENGTH:
        raise _invalid_token(
            f"the token has {len(token)} characters, the limit is {MAX_TOKEN_LENGTH}: put fewer"
            " claims into it (definePayload in Better Auth)"
        )
    if not _COMPACT_JWT.fullmatch(token):
        raise _invalid_token("the token is not a JSON Web Token")
    return token


async def _verified(token: str, settings: Settings) -> dict[str, Any]:
    """Verify the signature and the registered claims; return the header and the payload."""
    if settings.JWT_ALGORITHM != "HS256":
        # Deployments with a shared secret do not need this module.
        from lib.auth.jwks import verified_by_key_set  # noqa: PLC0415

        return await verified_by_key_set(token, settings, _decode)
    *others, last = verifier_for(settings).shared_keys
    for key in others:
        try:
            return _decode(token, key, settings)
        except jwt.InvalidSignatureError:
            continue  # it may be signed with the previous secret
    return _decode(token, last, settings)


def _decode(token: str, key: Any, settings: Settings) -> dict[str, Any]:
    return decode(token, key, settings, issuer=settings.JWT_ISSUER, audience=settings.JWT_AUDIENCE)


def decode(
    token: str,
    key: Any,
    settings: Settings,
    *,
    issuer: str | None,
    audience: str | None,
    required: Sequence[str] = ("exp", "sub"),
) -> dict[str, Any]:
    """Verify the signature, the times and, unless they are None, the issuer and the audience.

    Raises one of TOKEN_ERRORS.
    """
    # With `jwt.decode_complete(` instead, every request verifies the signature.
    return verifier_for(settings).decode_complete(
        token,
        key,
        algorithms=[settings.JWT_ALGORITHM],
        issuer=issuer,
        audience=audience,
        leeway=LEEWAY,
        options={
            "require": list(required),
            # PyJWT refuses a token with an audience if none is configured, and all tokens of Better
            # Auth have one.
            "verify_aud": audience is not None,
            # Refuses short RSA keys. Short secrets are refused by the settings, in deployments.
            "enforce_minimum_key_length": settings.JWT_ALGORITHM != "HS256",
        },
    )


def _require_session_token(header: dict[str, Any], claims: dict[str, Any]) -> None:
    """Refuse tokens for other purposes that are signed with the same key. Raises UntrustedToken."""
    # Better Auth's session cache, OAuth access tokens (at+jwt) and others have their own `typ`.
    if str(header.get("typ", "JWT")).lower() != "jwt":
        raise UntrustedToken("typ marks a token of another purpose")
    for name in OAUTH_CLAIMS:
        if name in claims:
            raise UntrustedToken(f"the claim {name} marks a token for an OAuth client")


def user_of(claims: dict[str, Any], settings: Settings) -> AuthenticatedUser:
    """Return the user whom verified claims name. Raises UntrustedToken."""
    expiry, subject = claims["exp"], claims["sub"]
    # PyJWT accepts strings and booleans here and converts them to numbers.
    if type(expiry) not in (int, float) or expiry > MAX_EXPIRY:
        raise UntrustedToken("exp is not a timestamp in seconds")
    if settings.JWT_MAX_LIFETIME is not None:
        issued = claims.get("iat", time.time())
        if type(issued) not in (int, float) or expiry - issued > settings.JWT_MAX_LIFETIME:
            raise UntrustedToken("its lifetime exceeds JWT_MAX_LIFETIME")
    if not _USER_ID.fullmatch(subject) or has_surrogate(subject):
        raise UntrustedToken("sub is not a valid user id")
    return AuthenticatedUser(
        id=subject,
        name=_text(claims.get("name"), subject),
        email=_text(claims.get("email"), None),
        email_verified=claims.get("emailVerified") is True,
    )


def _text[T: (str, None)](claim: object, default: T) -> str | T:
    """A claim that PostgreSQL can store: it stores no NUL and no surrogates."""
    if isinstance(claim, str) and claim and "\0" not in claim:
        return claim if claim.encode(errors="ignore").decode() == claim else default
    return default


def _reason(error: Exception, token: str, settings: Settings) -> str:
    """Return the reason for the log: no part of the token, and a setting to correct if any."""
    name = type(error).__name__
    if isinstance(error, UntrustedToken):
        return f"{name}: {error}"
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"{name}: {error.claim}"
    if isinstance(error, jwt.InvalidAlgorithmError):
        theirs = jwt.get_unverified_header(token).get("alg")
        if isinstance(theirs, str) and (keys := KEY_SETTINGS.get(theirs)):
            return (
                f"{name}: the token is signed with {theirs}, JWT_ALGORITHM is"
                f" {settings.JWT_ALGORITHM}: if your frontend signs with {theirs}, set"
                f" JWT_ALGORITHM={theirs} and {keys}"
            )
    return name
