"""Runs the table of tokens against a verifier."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any
from unittest.mock import patch

import jwt
import time_machine

from lib.auth.tokens import AuthenticatedUser
from lib.errors import KeysUnavailable, Unauthenticated
from lib.settings import Settings, read_settings
from tests.security.auth.tokens import ACCEPT, FREE, NOW, REFUSE, Case, table, variables

# Of the REST routes, or of MCP: then it returns a user and scopes.
type Authenticate = Callable[[str | None, Settings], Awaitable[Any]]

METADATA_URL = "https://api.example.com/.well-known/oauth-protected-resource/api/mcp"


@dataclass(frozen=True)
class Result:
    """The result of the verifier for one case in one deployment."""

    case: Case
    algorithm: str
    deployment: str
    verdict: str  # accept, refuse, or the name of an unexpected exception
    user: AuthenticatedUser | None = None
    scopes: frozenset[str] | None = None
    challenge: str | None = None
    reason: str = ""

    @property
    def fault(self) -> str | None:
        """What is wrong with it, or None."""
        case, expected = self.case, self.case.expected[self.deployment]
        if self.verdict not in (ACCEPT, REFUSE):
            return f"leaked {self.verdict}"
        if expected not in (FREE, self.verdict):
            return f"wrongly {self.verdict}"
        if self.user:
            profile = (self.user.name, self.user.email, self.user.email_verified)
            right = self.user.id == case.subject and case.profile in (None, profile)
            right = right and self.scopes == case.scopes
            return None if right else f"taken for {self.user} with the scopes {self.scopes}"
        if expected == REFUSE and self.challenge != case.challenge:
            return f"challenge {self.challenge!r}"
        if expected == REFUSE and not self.reason.startswith(case.reason or ""):
            return f"reason {self.reason!r}"
        return None

    def __str__(self) -> str:
        return f"{self.algorithm} {self.deployment}, {self.case}: {self.fault}"


async def judge(authenticate: Authenticate, case: Case, algorithm: str, deployment: str) -> Result:
    """The result for a case, which must be the same for a second request with the same token."""
    first, second = [await _judge(authenticate, case, algorithm, deployment) for _ in range(2)]
    return (
        first if first == second else replace(second, verdict=f"{second.verdict}, the second time")
    )


async def _judge(authenticate: Authenticate, case: Case, algorithm: str, deployment: str) -> Result:
    settings = _settings(algorithm, deployment)
    try:
        access = await authenticate(case.authorization, settings)
    except Unauthenticated as refusal:
        header = refusal.headers.get("WWW-Authenticate")
        reason = refusal.reason or type(refusal.__cause__).__name__
        return Result(case, algorithm, deployment, REFUSE, None, None, header, reason)
    except KeysUnavailable:
        return Result(case, algorithm, deployment, "KeysUnavailable")
    except Exception as leak:  # noqa: BLE001 - reported as a fault
        return Result(case, algorithm, deployment, type(leak).__name__)
    user, scopes = getattr(access, "user", access), getattr(access, "scopes", None)
    return Result(case, algorithm, deployment, ACCEPT, user, scopes)


def at_mcp(module: ModuleType) -> Authenticate:
    """The verifier of the MCP endpoint. Its challenges must name the metadata, which is removed."""

    async def authenticate(authorization: str | None, settings: Settings) -> Any:
        headers = [] if authorization is None else [authorization]
        try:
            with patch.object(module, "load_settings", lambda: settings):
                return await module.authenticate_mcp(headers)
        except Unauthenticated as refusal:
            if settings.MCP_AUTHORIZATION_SERVER and settings.JWT_ALGORITHM != "HS256":
                challenge = refusal.headers["WWW-Authenticate"]
                plain, _, _ = challenge.rpartition("resource_metadata=")
                plain = plain.removesuffix(" ").removesuffix(",")
                separator = " " if plain == "Bearer" else ", "
                assert challenge == f'{plain}{separator}resource_metadata="{METADATA_URL}"'
                refusal.headers["WWW-Authenticate"] = plain
            raise

    return authenticate


_cached: dict[tuple[str, str], Settings] = {}


def _settings(algorithm: str, deployment: str) -> Settings:
    if (algorithm, deployment) not in _cached:
        _cached[algorithm, deployment] = read_settings(variables(algorithm, deployment))
    return _cached[algorithm, deployment]


def run_table(
    authenticate: Authenticate,
    *algorithms: str,
    kinds: Collection[str] | None = None,
    cases: Callable[[str], Sequence[Case]] = table,
) -> Iterator[Result]:
    """The results of a table for these algorithms, at the time of the table."""
    with time_machine.travel(NOW, tick=False), asyncio.Runner() as runner:
        for algorithm in algorithms:
            for case in cases(algorithm):
                for deployment in case.expected if kinds is None or case.kind in kinds else ():
                    yield runner.run(judge(authenticate, case, algorithm, deployment))


ERRORS = (
    jwt.PyJWTError,
    jwt.InvalidKeyError,
    jwt.PyJWKError,
    ValueError,
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    ZeroDivisionError,
    RecursionError,
)


def leaks(
    authenticate: Authenticate,
    case: Case | None = None,
    algorithm: str = "HS256",
    deployment: str = "strict",
) -> Iterator[str]:
    """The errors that `authenticate` would let through if PyJWT raised them.

    PyJWT 2.15.1 raises only the first few of these; earlier versions raised more.
    """
    case = case or table(algorithm)[0]
    with asyncio.Runner() as runner:
        for error in ERRORS:

            def fail(*_: object, error: Exception | type[Exception] = error, **__: object) -> None:
                raise error

            with patch.object(jwt.PyJWT, "decode_complete", fail):
                result = runner.run(judge(authenticate, case, algorithm, deployment))
            if result.verdict != REFUSE:
                yield f"{result.verdict} of PyJWT"
