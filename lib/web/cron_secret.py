"""Protects the routes that a platform's scheduler requests."""

import hmac

from fastapi import Request

from lib.errors import Unauthenticated
from lib.settings import load_settings


async def require_cron_secret(request: Request) -> None:
    """Raise Unauthenticated unless the request has the secret: `Authorization: Bearer <secret>`."""
    secret = load_settings().CRON_SECRET
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Compared as bytes, because compare_digest accepts only ASCII strings.
    equal = hmac.compare_digest(given.encode("latin-1", "replace"), (secret or "").encode())
    if not secret or scheme.lower() != "bearer" or not equal:
        reason = "wrong cron secret" if secret else "CRON_SECRET is not set"
        raise Unauthenticated("The cron secret is required.", reason=reason)
