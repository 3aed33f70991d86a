"""From an Authorization header to the caller: knows JSON Web Tokens, never the database.

PyJWT does the cryptography and most checks; the rest follows RFC 8725 (JWT best current practices).
"""

import base64
import re
import time
from functools import cache
from typing import Any

import jwt

from lib.errors import Unauthenticated
from lib.schemas import AuthenticatedUser
from lib.settings import Settings

MAX_TOKEN_LENGTH = 8192  # PyJWT decodes before it verifies: a long token costs time for nothing
LEEWAY = 30  # seconds between the issuer's clock and ours
LAST_MOMENT = 253402300799  # the end of the year 9999, which catches milliseconds too

# A JWT of another purpose says so in `typ`: Better Auth's session cache shares the signing key.
TYPES = {"jwt", "at+jwt"}
# Where the keys of each algorithm come from, as the log puts it.
KEY_SETTINGS = {
    "HS256": "BETTER_AUTH_SECRET",
    **dict.fromkeys(("EdDSA", "ES256", "RS256"), "JWKS_URL=<frontend>/api/auth/jwks"),
}

_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# 1 to 255 characters, no blank at either end, no control character, no half of a surrogate pair.
_SUBJECT = re.compile(r"(?!\s)[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}(?<!\s)")


class UntrustedToken(jwt.InvalidTokenError):
    """A check of our own failed; the text says which, and may be logged."""


async def authenticate(authorization: str | None, settings: Settings) -> AuthenticatedUser:
    """The caller that the Authorization header of a request proves; repeated ones come joined.

    Raises Unauthenticated, or KeysUnavailable where no key can be had to tell.
    """
    token = _bearer_token(authorization)
    try:
        return _caller(await _verified_claims(token, settings), settings)
    except jwt.ExpiredSignatureError as error:
        raise Unauthenticated(
            "The token has expired.", error="invalid_token", reason=type(error).__name__
        ) from error
    except (
        jwt.PyJWTError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        RecursionError,
    ) as error:
        # PyJWT promises its own errors only; odd tokens bring out others (UnicodeEncodeError and
        # OverflowError are a ValueError and an ArithmeticError of the standard library).
        raise Unauthenticated(
            "The token is invalid.", error="invalid_token", reason=_reason(error, token, settings)
        ) from error


def _bearer_token(authorization: str | None) -> str:
    if not authorization:
        raise Unauthenticated
    if "," in authorization:
        raise Unauthenticated("Send only one Authorization header.", error="invalid_request")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated
    if len(token) > MAX_TOKEN_LENGTH or not _SHAPE.fullmatch(token):
        raise Unauthenticated("The token is invalid.", error="invalid_token")
    return token


async def _verified_claims(token: str, settings: Settings) -> dict[str, Any]:
    if settings.JWT_ALGORITHM != "HS256":
        # Only deployments with public keys import the modules that fetch and use them.
        from lib.auth.jwks import verified_by_key_set  # noqa: PLC0415

        return await verified_by_key_set(token, settings, _decode)
    *others, last = settings.shared_secrets
    for secret in others:
        try:
            return _decode(token, _shared_key(secret), settings)
        except jwt.InvalidSignatureError:
            continue  # signed before the rotation, perhaps
    return _decode(token, _shared_key(last), settings)


@cache
def _shared_key(secret: str) -> jwt.PyJWK:
    """A secret as a key, made once: for a text PyJWT asks each time whether it is a public key."""
    encoded = base64.urlsafe_b64encode(secret.encode()).decode()
    return jwt.PyJWK({"kty": "oct", "k": encoded, "alg": "HS256"})


def _decode(token: str, key: Any, settings: Settings) -> dict[str, Any]:
    decoded = jwt.decode_complete(
        token,
        key,
        algorithms=[settings.JWT_ALGORITHM],
        issuer=settings.JWT_ISSUER,
        audience=settings.JWT_AUDIENCE,
        leeway=LEEWAY,
        options={
            "require": ["exp", "sub"],
            # Better Auth always sets an audience; it is compared when ours is configured.
            "verify_aud": settings.JWT_AUDIENCE is not None,
            # RSA keys; the settings refuse short secrets wherever they would do harm.
            "enforce_minimum_key_length": settings.JWT_ALGORITHM != "HS256",
        },
    )
    if str(decoded["header"].get("typ", "JWT")).lower() not in TYPES:
        raise UntrustedToken("typ is of another purpose")
    return decoded["payload"]


def _caller(claims: dict[str, Any], settings: Settings) -> AuthenticatedUser:
    expiry, subject = claims["exp"], claims["sub"]
    # PyJWT would convert: "1e3" and true are no moments.
    if type(expiry) not in (int, float) or expiry > LAST_MOMENT:
        raise UntrustedToken("exp is no moment")
    if settings.JWT_MAX_LIFETIME is not None:
        issued = claims.get("iat", time.time())
        if type(issued) not in (int, float) or expiry - issued > settings.JWT_MAX_LIFETIME:
            raise UntrustedToken("it lives longer than JWT_MAX_LIFETIME")
    if not _SUBJECT.fullmatch(subject):
        raise UntrustedToken("sub is no user id")
    return AuthenticatedUser(
        id=subject,
        name=_text(claims.get("name"), subject),
        email=_text(claims.get("email"), None),
        email_verified=claims.get("emailVerified") is True,
    )


def _text[T: (str, None)](claim: object, otherwise: T) -> str | T:
    usable = isinstance(claim, str) and claim and not re.search(r"[\x00\ud800-\udfff]", claim)
    return str(claim) if usable else otherwise


def _reason(error: Exception, token: str, settings: Settings) -> str:
    """What the log says: nothing that quotes the token, and the cure for settings at fault."""
    name = type(error).__name__
    if isinstance(error, UntrustedToken):
        return f"{name}: {error}"
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"{name}: {error.claim}"
    if isinstance(error, jwt.InvalidAlgorithmError):
        theirs = jwt.get_unverified_header(token).get("alg")
        if isinstance(theirs, str) and (keys := KEY_SETTINGS.get(theirs)):
            return (
                f"{name}: the token says {theirs}, JWT_ALGORITHM is {settings.JWT_ALGORITHM}: if"
                f" your frontend signs so, set JWT_ALGORITHM={theirs} and {keys}"
            )
    return name
