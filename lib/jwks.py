"""Public keys of the token issuer: fetched, cached, bounded; knows no claims.

What it defends against: a flood of tokens with invented key ids (one fetch per cooldown), a source
that is slow, endless or gone (known keys go on), and sets that hold more than signing keys.
"""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import certifi
import jwt

from lib import log
from lib.errors import KeysUnavailable
from lib.settings import Settings

REFRESH_AFTER = 600.0  # seconds; fetched again in the background, nobody waits
FORGET_AFTER = 24 * 3600.0  # a source that fails for longer is no source
COOLDOWN = 10.0  # between two fetches, successful or not
FETCH_BUDGET = 1.5
MOST_BYTES = 150_000
MOST_KEYS = 100
KEY_TYPES = {"EdDSA": ("OKP", "Ed25519"), "ES256": ("EC", "P-256"), "RS256": ("RSA", None)}
LEAST_RSA_BITS = 2048

type Keys = dict[str, jwt.PyJWK]
type Decode = Callable[[str, jwt.PyJWK, Settings], dict[str, Any]]


async def verified_by_key_set(token: str, settings: Settings, decode: Decode) -> dict[str, Any]:
    """The claims of a token that a key of the set verifies.

    Raises jwt.PyJWTError, or KeysUnavailable where it cannot be told.
    """
    header = jwt.get_unverified_header(token)
    # Before any key is looked for: a token of another algorithm must not cause a fetch.
    if header.get("alg") != settings.JWT_ALGORITHM:
        raise jwt.InvalidAlgorithmError("not the configured algorithm")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise jwt.InvalidTokenError("no key id")
    key_set = _key_set(settings.JWKS_URL, settings.JWKS, settings.JWT_ALGORITHM)
    key = await key_set.find(kid)
    try:
        return decode(token, key, settings)
    except jwt.InvalidSignatureError:
        # The source may have put a new key under the old name.
        other = await key_set.find(kid, instead_of=key)
        if other is key:
            raise
        return decode(token, other, settings)


@lru_cache(maxsize=1)
def _key_set(url: str | None, static: str | None, algorithm: str) -> "KeySet":
    if static is not None:
        return KeySet(None, read_keys(static.encode(), algorithm))
    return KeySet(lambda: read_keys(fetch(url or "", FETCH_BUDGET), algorithm))


class KeySet:
    """Keys by their id. `fetch_keys` gives all of them anew, or raises; None: they never change."""

    def __init__(self, fetch_keys: Callable[[], Keys] | None, keys: Keys | None = None) -> None:
        self._fetch_keys = fetch_keys
        self._keys: Keys = keys or {}
        self._fetched = self._attempted = float("-inf")
        self._failed = False
        self._in_flight: Future[None] | None = None
        self._lock = threading.Lock()
        # A thread of its own: nothing that fetches may stop a loop that serves others.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jwks")

    async def find(self, kid: str, instead_of: jwt.PyJWK | None = None) -> jwt.PyJWK:
        """The key of this id, waiting for a fetch only where it is unknown or `instead_of` failed.

        Raises jwt.InvalidTokenError for a key that the source does not have, KeysUnavailable while
        the source cannot be asked.
        """
        age = time.time() - self._fetched
        key = self._keys.get(kid) if self._fetch_keys is None or age < FORGET_AFTER else None
        if key is not None and key is not instead_of:
            if self._fetch_keys is not None and age > REFRESH_AFTER:
                self._start_fetch()
            return key
        if (fetch := self._start_fetch()) is not None:
            await asyncio.wait([asyncio.wrap_future(fetch)], timeout=FETCH_BUDGET)
            key = self._keys.get(kid, key)
        if key is not None:
            return key
        if self._failed or (self._fetch_keys is not None and not self._keys):
            raise KeysUnavailable
        raise jwt.InvalidTokenError("unknown key id")

    def _start_fetch(self) -> Future[None] | None:
        """The fetch in flight, a new one if the cooldown allows it, or none."""
        if self._fetch_keys is None:
            return None
        with self._lock:
            if self._in_flight is not None and not self._in_flight.done():
                return self._in_flight
            if time.time() - self._attempted < COOLDOWN:
                return None
            self._attempted = time.time()
            self._in_flight = self._thread.submit(self._fetch)
            return self._in_flight

    def _fetch(self) -> None:
        assert self._fetch_keys is not None  # noqa: S101 - told to the type checker
        try:
            self._keys = self._fetch_keys()
            self._fetched, self._failed = time.time(), False
        except Exception as error:  # noqa: BLE001 - whatever the network brings: the old keys go on
            self._failed = True
            log.log_notice(
                "The key set of JWKS_URL cannot be used; known keys go on.",
                error=type(error).__name__,
                why=str(error) if isinstance(error, UnusableKeys) else None,
            )


class UnusableKeys(Exception):
    """The set holds no key that could verify a token; the text says why."""


def read_keys(document: bytes, algorithm: str) -> Keys:
    """The keys of a JSON Web Key Set (RFC 7517) that may verify `algorithm`, by their id.

    Others are passed over, so one odd key spoils nothing. Raises UnusableKeys if none is left.
    """
    try:
        entries = json.loads(document)["keys"][:MOST_KEYS]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnusableKeys("it is no JSON Web Key Set") from error
    keys: Keys = {}
    for entry in entries:
        if _is_for(algorithm, entry):
            try:
                key = jwt.PyJWK(entry, algorithm)
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
            if (
                getattr(key.key, "key_size", LEAST_RSA_BITS) >= LEAST_RSA_BITS
                or algorithm != "RS256"
            ):
                keys[entry["kid"]] = key
    if not keys:
        raise UnusableKeys(f"it has no key for {algorithm}: set JWT_ALGORITHM to what it holds")
    return keys


def _is_for(algorithm: str, entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
        return False
    kind, curve = KEY_TYPES[algorithm]
    return (
        entry.get("kty") == kind
        and entry.get("crv") == curve
        and entry.get("alg", algorithm) == algorithm
        and entry.get("use", "sig") == "sig"
        and "d" not in entry  # a private key has no place in a public set
    )


def fetch(url: str, budget: float) -> bytes:
    """The body of a 200 answer, without redirects, at most MOST_BYTES, within `budget` seconds.

    Raises OSError, http.client.HTTPException or UnusableKeys.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=certifi.where())
        connection = http.client.HTTPSConnection(host, parts.port, timeout=budget, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=budget)
    # The timeout of a socket starts anew with each byte: only this ends a source that drips.
    watchdog = threading.Timer(budget, _hang_up, [connection])
    watchdog.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise UnusableKeys(f"the source answered {response.status}")
        body = response.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise UnusableKeys(f"it is larger than {MOST_BYTES} bytes")
        return body
    finally:
        watchdog.cancel()
        connection.close()


def _hang_up(connection: http.client.HTTPConnection) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):  # it may have ended by itself just now
            connection.sock.shutdown(socket.SHUT_RDWR)
