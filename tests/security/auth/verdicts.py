"""What a verifier makes of the table: runs it, knows no token."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass

import jwt
import time_machine

from lib.auth.tokens import AuthenticatedUser
from lib.errors import KeysUnavailable, Unauthenticated
from lib.settings import Settings, read_settings
from tests.security.auth.tokens import ACCEPT, FREE, KINDS, NOW, REFUSE, Case, table, variables

type Authenticate = Callable[[str | None, Settings], Awaitable[AuthenticatedUser]]


@dataclass(frozen=True)
class Said:
    """What the verifier said to one case in one deployment."""

    case: Case
    algorithm: str
    deployment: str
    verdict: str  # accept, refuse, or the name of an exception that came out
    caller: AuthenticatedUser | None = None
    challenge: str | None = None
    reason: str = ""

    @property
    def fault(self) -> str | None:
        """What is wrong with it, in a word."""
        case, expected = self.case, self.case.expected[self.deployment]
        if self.verdict not in (ACCEPT, REFUSE):
            return f"leaked {self.verdict}"
        if expected not in (FREE, self.verdict):
            return f"wrongly {self.verdict}"
        if self.caller:
            profile = (self.caller.name, self.caller.email, self.caller.email_verified)
            right = self.caller.id == case.subject and case.profile in (None, profile)
            return None if right else f"taken for {self.caller}"
        if expected == REFUSE and self.challenge != case.challenge:
            return f"challenge {self.challenge!r}"
        if expected == REFUSE and not self.reason.startswith(case.reason or ""):
            return f"reason {self.reason!r}"
        return None

    def __str__(self) -> str:
        return f"{self.algorithm} {self.deployment}, {self.case}: {self.fault}"


async def say(authenticate: Authenticate, case: Case, algorithm: str, deployment: str) -> Said:
    settings = _settings(algorithm, deployment)
    try:
        caller = await authenticate(case.authorization, settings)
    except Unauthenticated as refusal:
        header = refusal.headers.get("WWW-Authenticate")
        reason = refusal.reason or type(refusal.__cause__).__name__
        return Said(case, algorithm, deployment, REFUSE, None, header, reason)
    except KeysUnavailable:
        return Said(case, algorithm, deployment, "KeysUnavailable")
    except Exception as leak:  # noqa: BLE001 - that none comes out is what the table is for
        return Said(case, algorithm, deployment, type(leak).__name__)
    return Said(case, algorithm, deployment, ACCEPT, caller)


_known: dict[tuple[str, str], Settings] = {}


def _settings(algorithm: str, deployment: str) -> Settings:
    if (algorithm, deployment) not in _known:
        _known[algorithm, deployment] = read_settings(variables(algorithm, deployment))
    return _known[algorithm, deployment]


def read_table(
    authenticate: Authenticate, *algorithms: str, kinds: Collection[str] = KINDS
) -> Iterator[Said]:
    """The table of these algorithms, case by case, at its moment."""
    with time_machine.travel(NOW, tick=False), asyncio.Runner() as runner:
        for algorithm in algorithms:
            for case in table(algorithm):
                for deployment in case.expected if case.kind in kinds else ():
                    yield runner.run(say(authenticate, case, algorithm, deployment))


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
    """The errors that would come out of `authenticate` if PyJWT raised them.

    Of these, 2.15.1 raises the first few only; versions before it raised more.
    """
    case = table("HS256")[0]
    real = jwt.decode_complete
    with asyncio.Runner() as runner:
        for error in ERRORS:

            def fail(*_: object, error: Exception | type[Exception] = error, **__: object) -> None:
                raise error

            vars(jwt)["decode_complete"] = fail
            try:
                said = runner.run(say(authenticate, case, "HS256", "strict"))
            finally:
                vars(jwt)["decode_complete"] = real
            if said.verdict != REFUSE:
                yield f"{said.verdict} of PyJWT"
