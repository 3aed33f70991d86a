"""The two users of the smoke test, and where their tokens come from."""

import base64
import json
import time
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import jwt

from lib.http_client import request
from lib.settings import Settings
from lib.smoke.report import CheckFailed

USER, OTHER_USER = "smoke", "smoke-other"
TOKEN_LIFETIME = 300  # seconds


@dataclass(frozen=True, slots=True)
class Users:
    """The user who owns the tasks of a run, and another user, who must not see them.

    `tasks` and `others_tasks` are the paths of their lists.
    """

    id: str
    token: str = field(repr=False)
    tasks: str
    others_token: str = field(repr=False)
    others_tasks: str


def find_users(settings: Settings, seconds: float) -> tuple[Users, str]:
    """Return the two users with their tokens, and the source of the tokens.

    The tokens come from the settings, from Better Auth, or are signed here. Raises CheckFailed or
    TransportError.
    """
    token, others = settings.SMOKE_TOKEN, settings.SMOKE_OTHER_TOKEN
    source = "tokens provided by SMOKE_TOKEN and SMOKE_OTHER_TOKEN"
    if not token and not others:
        token, others = _sign(settings, USER), _sign(settings, OTHER_USER)
        source = "tokens signed with BETTER_AUTH_SECRET"
    elif not token or not others:
        raise CheckFailed("set both SMOKE_TOKEN and SMOKE_OTHER_TOKEN, or neither")
    elif settings.SMOKE_TOKEN_URL:
        token, others = (_fetch(settings, session, seconds) for session in (token, others))
        source = f"tokens fetched from {urlsplit(settings.SMOKE_TOKEN_URL).netloc}"
    user, other = _subject(token), _subject(others)
    if user == other:
        raise CheckFailed(
            "both tokens belong to one user: set SMOKE_OTHER_TOKEN to a token of another user"
        )
    tasks, others_tasks = (f"/api/{quote(name, safe='')}/tasks" for name in (user, other))
    return Users(user, token, tasks, others, others_tasks), source


def _sign(settings: Settings, user: str) -> str:
    if settings.JWT_ALGORITHM != "HS256":
        raise CheckFailed(
            f"{settings.JWT_ALGORITHM} tokens cannot be signed here: set SMOKE_TOKEN and"
            " SMOKE_OTHER_TOKEN (docs/smoke.md)"
        )
    if not settings.BETTER_AUTH_SECRET:
        raise CheckFailed("no tokens: set BETTER_AUTH_SECRET, or SMOKE_TOKEN and SMOKE_OTHER_TOKEN")
    now = int(time.time())
    lifetime = min(TOKEN_LIFETIME, settings.JWT_MAX_LIFETIME or TOKEN_LIFETIME)
    claims = {
        "sub": user,
        "name": "Smoke test",
        "iat": now,
        "exp": now + lifetime,
        "iss": settings.JWT_ISSUER,
        "aud": settings.JWT_AUDIENCE,
    }
    set_claims = {name: value for name, value in claims.items() if value}
    return jwt.encode(set_claims, settings.BETTER_AUTH_SECRET, algorithm="HS256")


def _fetch(settings: Settings, session: str, seconds: float) -> str:
    """Get a JWT for a Better Auth session. Raises CheckFailed or TransportError."""
    response = request(
        "GET",
        settings.SMOKE_TOKEN_URL or "",
        timeout=seconds,
        headers={"Authorization": f"Bearer {session}"},
        ca_bundle=settings.SSL_CERT_FILE,
    )
    if response.status != 200:
        raise CheckFailed(
            "SMOKE_TOKEN_URL returned no token: has the session ended?", str(response.status)
        )
    return str(response.json()["token"])


def _subject(token: str) -> str:
    try:
        payload = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])
    except (ValueError, LookupError, TypeError):
        raise CheckFailed("a token is not a JSON Web Token") from None
