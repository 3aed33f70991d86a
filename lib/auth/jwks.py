"""Verifies tokens with the issuer's public keys, which are fetched, cached and rotated.

The cache withstands floods of tokens with invented key ids (one fetch per cooldown), and a source
that is slow, unreachable or malformed (known keys stay in use).
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from threading import Thread
from typing import Any

import jwt

from lib import log
from lib.errors import KeysUnavailable
from lib.http_client import TransportError, request
from lib.settings import Settings
from lib.settings.key_set import Keys, UnusableKeySet, read_keys

# All durations are in seconds.
REFRESH_AFTER = 600.0  # then keys are fetched again in the background; no request waits
DISCARD_AFTER = 24 * 3600.0  # keys of a source that has failed for this long
COOLDOWN = 10.0  # from the start of one fetch to the next
COOLDOWN_AFTER_FAILURE = 5.0  # the Retry-After of KeysUnavailable
MAX_WAIT = 1.5  # of one request; the fetch continues after it
FETCH_TIMEOUT = 10.0
# A Lambda sandbox is frozen between requests: the first one must wait for the whole fetch. Together
# with the time budget of the database this stays below the timeout of the function.
LAMBDA_TIMEOUT = 5.0
MAX_BYTES = 150_000

type Decode = Callable[[str, jwt.PyJWK, Settings], dict[str, Any]]


class UnknownKey(jwt.InvalidTokenError):
    """The token names a key that the set does not have, or names none where it must."""


async def verified_by_key_set(token: str, settings: Settings, decode: Decode) -> dict[str, Any]:
    """What `decode` returns for the key that the token names.

    Raises jwt.PyJWTError, or KeysUnavailable where no key set is available.
    """
    header = jwt.get_unverified_header(token)
    # Before the keys are looked up: a token of another algorithm must not cause a fetch.
    if header.get("alg") != settings.JWT_ALGORITHM:
        raise jwt.InvalidAlgorithmError
    key_set = _key_set(
        settings.JWKS_URL,
        settings.JWKS,
        settings.JWT_ALGORITHM,
        settings.SSL_CERT_FILE,
        settings.platform == "lambda",
    )
    key = await key_set.find(header.get("kid"))
    try:
        return decode(token, key, settings)
    except jwt.InvalidSignatureError:
        # The issuer may have published a new key under the same id.
        return decode(token, await key_set.find(header.get("kid"), instead_of=key), settings)


@lru_cache(maxsize=1)
def _key_set(
    url: str | None, static: str | None, algorithm: str, ca_bundle: str | None, on_lambda: bool
) -> "KeySet":
    def fetch() -> Keys:
        timeout = LAMBDA_TIMEOUT if on_lambda else FETCH_TIMEOUT
        return read_keys(static or _fetch(url or "", timeout, ca_bundle), algorithm)

    return KeySet(fetch, LAMBDA_TIMEOUT if on_lambda else MAX_WAIT)


def _fetch(url: str, timeout: float, ca_bundle: str | None) -> bytes:
    response = request("GET", url, timeout=timeout, max_bytes=MAX_BYTES, ca_bundle=ca_bundle)
    if response.status != 200:
        raise UnusableKeySet(f"its URL responded with status {response.status}")
    return response.body


class KeySet:
    """Keys by their id, fetched when they are needed.

    `fetch` returns all keys or raises; it runs in a thread, one call at a time. A request waits at
    most `max_wait` seconds for it, and later requests use what it brings.
    """

    def __init__(self, fetch: Callable[[], Keys], max_wait: float = MAX_WAIT) -> None:
        self._fetch = fetch
        self._max_wait = max_wait
        self._keys: Keys = {}
        # The start of the last fetch, and of the last one that succeeded. By the wall clock, which
        # continues while the platform freezes the process.
        self._attempted_at = self._fetched_at = float("-inf")
        self._refresh: Future[None] = Future()
        self._refresh.set_result(None)

    async def find(self, kid: Any, instead_of: jwt.PyJWK | None = None) -> jwt.PyJWK:
        """The key with this id, after a refresh if it is unknown or is `instead_of`.

        Raises UnknownKey, or KeysUnavailable where the last fetch failed or is still running.
        """
        key = self._known(kid)
        if key is not None and key is not instead_of:
            if time.time() - self._fetched_at > REFRESH_AFTER:
                self._start_refresh()
            return key
        refresh = asyncio.wrap_future(self._start_refresh())
        await asyncio.wait([refresh], timeout=self._attempted_at + self._max_wait - time.time())
        if (key := self._known(kid)) is not None:
            return key
        raise UnknownKey if self._fetched_at == self._attempted_at else KeysUnavailable

    def _known(self, kid: Any) -> jwt.PyJWK | None:
        if time.time() - self._fetched_at >= DISCARD_AFTER:
            return None
        return self._keys.get(kid) or self._keys.get(None)

    def _start_refresh(self) -> Future[None]:
        """Start a fetch unless one is running or the cooldown is not over; return the last one."""
        succeeded = self._fetched_at == self._attempted_at
        cooldown = COOLDOWN if succeeded else COOLDOWN_AFTER_FAILURE
        if self._refresh.done() and time.time() - self._attempted_at >= cooldown:
            self._attempted_at = time.time()
            refresh: Future[None] = Future()
            # A daemon: the process must be able to end while a fetch is running.
            Thread(target=self._run_refresh, args=[refresh], daemon=True).start()
            self._refresh = refresh
        return self._refresh

    def _run_refresh(self, refresh: Future[None]) -> None:
        try:
            self._keys, self._fetched_at = self._fetch(), self._attempted_at
        except Exception as error:  # noqa: BLE001 - any failure: the known keys stay in use
            log.log_warning(
                "The key set could not be refreshed. Known keys stay in use.",
                error=type(error).__name__,
                why=str(error) if isinstance(error, UnusableKeySet | TransportError) else None,
            )
        refresh.set_result(None)
