"""Verifies tokens with the public keys of the issuer, which are fetched and cached.

Tokens with unknown key ids cause at most one fetch per cooldown, however many arrive. If the key
server is slow, unreachable or sends something invalid, the known keys stay in use.
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
from lib.auth.signatures import verifier_for
from lib.errors import KeysUnavailable
from lib.http_client import TransportError, request
from lib.settings import Settings
from lib.settings.key_set import Keys, UnusableKeySet, read_keys

# All durations are in seconds.
REFRESH_AFTER = 600.0  # the age at which keys are fetched again, while requests use them
DISCARD_AFTER = 24 * 3600.0  # the age at which keys are no longer used
COOLDOWN = 10.0  # the minimum time between the starts of two fetches
COOLDOWN_AFTER_FAILURE = 5.0  # after a failed fetch; also the Retry-After of the 503
MAX_WAIT = 1.5  # how long a request waits for a fetch, which continues after that
FETCH_TIMEOUT = 10.0
# Replaces MAX_WAIT and FETCH_TIMEOUT on Lambda, where a sandbox is frozen between requests and no
# fetch can continue. With the time budget of the database this is below the function's timeout.
LAMBDA_TIMEOUT = 5.0
MAX_BYTES = 150_000

type Decode = Callable[[str, jwt.PyJWK, Settings], dict[str, Any]]


class UnknownKey(jwt.InvalidTokenError):
    """The key set has no key with the key id of the token."""


async def verified_by_key_set(token: str, settings: Settings, decode: Decode) -> dict[str, Any]:
    """Call `decode` with the key that the token names, and return its result.

    Raises jwt.PyJWTError, or KeysUnavailable if there is no key set.
    """
    header = verifier_for(settings).get_unverified_header(token)
    # Checked before the key is looked up: a token of another algorithm must not cause a fetch.
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
        # The issuer may have published a new key with the same id.
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
    most `max_wait` seconds for it; later requests use its result.
    """

    def __init__(self, fetch: Callable[[], Keys], max_wait: float = MAX_WAIT) -> None:
        self._fetch = fetch
        self._max_wait = max_wait
        self._keys: Keys = {}
        # When the last fetch started, and the last successful one. Wall-clock time, because the
        # monotonic clock may stop while the platform freezes the process.
        self._attempted_at = self._fetched_at = float("-inf")
        self._refresh: Future[None] = Future()
        self._refresh.set_result(None)

    async def find(self, kid: Any, instead_of: jwt.PyJWK | None = None) -> jwt.PyJWK:
        """Return the key with this id. If it is unknown or is `instead_of`, refresh the set first.

        Raises UnknownKey, or KeysUnavailable if the last fetch failed or is still running.
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
        """Start a fetch, unless one is running or the cooldown is not over. Return the last one."""
        succeeded = self._fetched_at == self._attempted_at
        cooldown = COOLDOWN if succeeded else COOLDOWN_AFTER_FAILURE
        if self._refresh.done() and time.time() - self._attempted_at >= cooldown:
            self._attempted_at = time.time()
            refresh: Future[None] = Future()
            # A daemon thread, so that the process can end while a fetch is running.
            Thread(target=self._run_refresh, args=[refresh], daemon=True).start()
            self._refresh = refresh
        return self._refresh

    def _run_refresh(self, refresh: Future[None]) -> None:
        try:
            self._keys, self._fetched_at = self._fetch(), self._attempted_at
        except Exception as error:  # noqa: BLE001 - the known keys stay in use after any failure
            has_keys = time.time() - self._fetched_at < DISCARD_AFTER
            log.log_warning(
                "The key set could not be refreshed. "
                + ("Known keys stay in use." if has_keys else "No key is known."),
                error=type(error).__name__,
                why=str(error) if isinstance(error, UnusableKeySet | TransportError) else None,
            )
        refresh.set_result(None)
