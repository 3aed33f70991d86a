"""Runs the table of tokens against a verifier."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, replace
from unittest.mock import patch

import jwt
import time_machine

from lib.auth.tokens import AuthenticatedUser
from lib.errors import KeysUnavailable, Unauthenticated
from lib.settings import Settings, read_settings
from tests.security.auth.tokens import ACCEPT, FREE, KINDS, NOW, REFUSE, Case, table, variables

type Authenticate = Callable[[str | None, Settings], Awaitable[AuthenticatedUser]]


@dataclass(frozen=True)
class Result:
    """The result of the verifier for one case in one deployment."""

    case: Case
    algorithm: str
    deployment: str
    verdict: str  # accept, refuse, or the name of an unexpected exception
    user: AuthenticatedUser | None = None
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
            return None if right else f"taken for {self.user}"
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
        user = await authenticate(case.authorization, settings)
    except Unauthenticated as refusal:
        header = refusal.headers.get("WWW-Authenticate")
        reason = refusal.reason or type(refusal.__cause__).__name__
        return Result(case, algorithm, deployment, REFUSE, None, header, reason)
    except KeysUnavailable:
        return Result(case, algorithm, deployment, "KeysUnavailable")
    except Exception as leak:  # noqa: BLE001 - reported as a fault
        return Result(case, algorithm, deployment, type(leak).__name__)
    return Result(case, algorithm, deployment, ACCEPT, user)


_cached: dict[tuple[str, str], Settings] = {}


def _settings(algorithm: str, deployment: str) -> Settings:
    if (algorithm, deployment) not in _cached:
        _cached[algorithm, deployment] = read_settings(variables(algorithm, deployment))
    return _cached[algorithm, deployment]


def run_table(
    authenticate: Authenticate, *algorithms: str, kinds: Collection[str] = KINDS
) -> Iterator[Result]:
    """The results of the table for these algorithms, at the time of the table."""
    with time_machine.travel(NOW, tick=False), asyncio.Runner() as runner:
        for algorithm in algorithms:
            for case in table(algorithm):
                for deployment in case.expected if case.kind in kinds else ():
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


def leaks(authenticate: Authenticate) -> Iterator[str]:
    """The errors that `authenticate` would let through if PyJWT raised them.

    PyJWT 2.15.1 raises only the first few of these; earlier versions raised more.
    """
    case = table("HS256")[0]
    with asyncio.Runner() as runner:
        for error in ERRORS:

            def fail(*_: object, error: Exception | type[Exception] = error, **__: object) -> None:
                raise error

            with patch.object(jwt.PyJWT, "decode_complete", fail):
                result = runner.run(judge(authenticate, case, "HS256", "strict"))
            if result.verdict != REFUSE:
                yield f"{result.verdict} of PyJWT"
