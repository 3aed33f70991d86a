"""Public keys of the token issuer: cached, bounded, rotated; knows no claims and no HTTP.

What it defends against: a flood of tokens with invented key ids (one fetch per cooldown), a source
that is slow, endless or gone (known keys go on), and sets that hold more than signing keys.
"""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from threading import Thread
from typing import Any

import jwt

from lib import log
from lib.download import DownloadError, download
from lib.errors import KeysUnavailable
from lib.settings import Settings

REFRESH_AFTER = 600.0  # seconds; fetched again in the background, nobody waits
FORGET_AFTER = 24 * 3600.0  # a source that fails for longer is no source
COOLDOWN = 10.0  # between two fetches
COOLDOWN_AFTER_FAILURE = 5.0  # the Retry-After of KeysUnavailable
FETCH_BUDGET = 1.5  # and no request waits longer
MAX_BYTES = 150_000
KEY_TYPES = {
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
    "ES256": {"kty": "EC", "crv": "P-256"},
    "RS256": {"kty": "RSA"},
}

type Keys = dict[str, jwt.PyJWK]
type Decode = Callable[[str, jwt.PyJWK, Settings], dict[str, Any]]


class UnknownKey(jwt.InvalidTokenError):
    """The token names a key that the source does not have, or none."""


class UnusableKeys(Exception):
    """The source has no key that could verify a token; the text says why."""


async def verified_by_key_set(token: str, settings: Settings, decode: Decode) -> dict[str, Any]:
    """The claims of a token that a key of the set verifies.

    Raises jwt.PyJWTError, or KeysUnavailable where it cannot be told.
    """
    header = jwt.get_unverified_header(token)
    # Before any key is looked for: a token of another algorithm must not cause a fetch.
    if header.get("alg") != settings.JWT_ALGORITHM:
        raise jwt.InvalidAlgorithmError
    key_set = _key_set(settings.JWKS_URL, settings.JWKS, settings.JWT_ALGORITHM)
    key = await key_set.find(header.get("kid"))
    try:
        return decode(token, key, settings)
    except jwt.InvalidSignatureError:
        # The source may have put a new key under the old name.
        return decode(token, await key_set.find(header.get("kid"), instead_of=key), settings)


@lru_cache(maxsize=1)
def _key_set(url: str | None, static: str | None, algorithm: str) -> "KeySet":
    # A static set is a source like any other, which answers at once.
    return KeySet(lambda: read_keys(static or _fetch(url or ""), algorithm))


def _fetch(url: str) -> bytes:
    return download(url, FETCH_BUDGET, MAX_BYTES)


class KeySet:
    """Keys by their id. `ask_source` gives all of them anew, or raises."""

    def __init__(self, ask_source: Callable[[], Keys]) -> None:
        self._ask_source = ask_source
        self._keys: Keys = {}
        # When the last question was asked, and the last one that was answered: by the wall clock,
        # which goes on while the platform freezes the process.
        self._asked = self._answered = float("-inf")
        self._question: Future[None] = Future()
        self._question.set_result(None)

    async def find(self, kid: Any, instead_of: jwt.PyJWK | None = None) -> jwt.PyJWK:
        """The key of this id, after a question to the source where it is unknown or `instead_of`.

        Raises UnknownKey, or KeysUnavailable where the last question was not answered.
        """
        key = self._known(kid)
        if key is not None and key is not instead_of:
            if time.time() - self._answered > REFRESH_AFTER:
                self._ask()
            return key
        question = asyncio.wrap_future(self._ask())
        await asyncio.wait([question], timeout=self._asked + FETCH_BUDGET - time.time())
        if (key := self._known(kid)) is not None:
            return key
        raise UnknownKey if self._answered == self._asked else KeysUnavailable

    def _known(self, kid: Any) -> jwt.PyJWK | None:
        return self._keys.get(kid) if time.time() - self._answered < FORGET_AFTER else None

    def _ask(self) -> Future[None]:
        """The last question, or a new one where that is answered and the cooldown is over."""
        answered = self._answered == self._asked
        cooldown = COOLDOWN if answered else COOLDOWN_AFTER_FAILURE
        if self._question.done() and time.time() - self._asked >= cooldown:
            self._asked = time.time()
            question: Future[None] = Future()
            # A thread, for name servers cannot be hurried; a daemon, so that the process can end
            # before they answer.
            Thread(target=self._take_answer, args=[question], daemon=True).start()
            self._question = question
        return self._question

    def _take_answer(self, question: Future[None]) -> None:
        try:
            self._keys, self._answered = self._ask_source(), self._asked
        except Exception as error:  # noqa: BLE001 - whatever the network brings: the old keys go on
            log.log_notice(
                "The key set cannot be used; known keys go on.",
                error=type(error).__name__,
                why=str(error) if isinstance(error, UnusableKeys | DownloadError) else None,
            )
        question.set_result(None)


def read_keys(document: bytes | str, algorithm: str) -> Keys:
    """The keys of a JSON Web Key Set (RFC 7517) that may verify `algorithm`, by their id.

    Others are passed over, so one odd key spoils nothing. Raises UnusableKeys if none is left.
    """
    try:
        entries = list(json.loads(document)["keys"])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UnusableKeys("it is no JSON Web Key Set") from error
    keys: Keys = {}
    for entry in entries:
        if _is_for(algorithm, entry):
            try:
                keys[entry["kid"]] = jwt.PyJWK(entry, algorithm)
            except Exception:  # noqa: BLE001, S112 - cryptography refuses keys in many ways
                continue
    if not keys:
        held = [other for other in KEY_TYPES if any(_is_for(other, entry) for entry in entries)]
        cure = f"set JWT_ALGORITHM={held[0]}" if held else f"make your issuer sign with {algorithm}"
        raise UnusableKeys(f"it has no key for {algorithm}: {cure}")
    return keys


def _is_for(algorithm: str, entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and KEY_TYPES[algorithm].items() <= entry.items()
        and isinstance(entry.get("kid"), str)
        and entry.get("alg", algorithm) == algorithm
        and entry.get("use", "sig") == "sig"
        and "d" not in entry  # a private key has no place in a public set
    )
