"""Verifies the signature of a token once and remembers the result.

A browser sends the same token for minutes. Whether its signature is valid depends only on the
token, the key and the algorithm, so the result can be reused; Envoy's JWT filter does the same. All
other checks (times, issuer, audience, user) run on every request, in PyJWT and in
lib/auth/tokens.py. This saves 362 k of the 1,381 k instructions of a warm list. `_decode` in
lib/auth/tokens.py uses this module in one line. Without that line, every request verifies the
signature.
"""

import base64
from collections import OrderedDict
from hashlib import sha256
from typing import Any

import jwt

from lib.settings import Settings

MAX_TOKENS = 1000
MAX_LENGTH = 1_000_000  # of all remembered tokens together, in characters


class Verified:
    """The result of a successful verification, and the arguments that it depends on."""

    def __init__(
        self, arguments: tuple[Any, ...], header: dict[str, Any], payload: bytes, length: int
    ) -> None:
        self.arguments = arguments
        self.header = header
        self.payload: bytes | dict[str, Any] = payload  # the claims, once PyJWT has parsed them
        self.length = length  # of the token


class RememberedSignatures(jwt.PyJWS):
    """PyJWT's verification of signatures. For equal arguments it returns its earlier result.

    - The SHA-256 of the token identifies it. Neither the token nor its signature is kept, so the
      memory contains nothing that can be sent as a token.
    - The duration of a look-up reveals nothing about other tokens: it depends on the hash, and a
      client cannot choose a token with a given hash.
    - Failures are not remembered.
    - The tokens that were unused for longest are dropped first. If one user fills the memory, the
      tokens of others are verified again, which costs as much as without this class.
    """

    def __init__(self) -> None:
        super().__init__()
        self._verified: OrderedDict[bytes, Verified] = OrderedDict()
        self._length = 0

    def decode_complete(
        self,
        jwt: str | bytes,
        key: Any = "",
        algorithms: Any = None,
        options: Any = None,
        detached_payload: bytes | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        digest = _digest(jwt)
        # PyJWK objects are compared by identity: a key of a later key set verifies again.
        arguments = key, algorithms, options, detached_payload
        verified = self._verified.get(digest)
        if verified is not None and verified.arguments == arguments:
            self._verified.move_to_end(digest)
        else:
            decoded = super().decode_complete(jwt, *arguments, **kwargs)
            verified = Verified(arguments, decoded["header"], decoded["payload"], len(jwt))
            self._remember(digest, verified)
        # Copies, because PyJWT and its callers may change them.
        return {
            "header": dict(verified.header),
            "payload": verified.payload,
            "verified": verified,
        }

    def get_unverified_header(self, jwt: str | bytes) -> dict[str, Any]:
        verified = self._verified.get(_digest(jwt))
        return dict(verified.header) if verified else super().get_unverified_header(jwt)

    def _remember(self, digest: bytes, verified: Verified) -> None:
        if replaced := self._verified.pop(digest, None):
            self._length -= replaced.length
        self._verified[digest] = verified
        self._length += verified.length
        while len(self._verified) > MAX_TOKENS or self._length > MAX_LENGTH:
            _, oldest = self._verified.popitem(last=False)
            self._length -= oldest.length


class Verifier(jwt.PyJWT):
    """PyJWT with the shared secrets of some settings, and the signatures that they verified."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.shared_keys = [_shared_key(secret) for secret in settings.shared_secrets]
        self._jws: RememberedSignatures = RememberedSignatures()

    def get_unverified_header(self, token: str) -> dict[str, Any]:
        return self._jws.get_unverified_header(token)

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        """Parse a payload once. PyJWT names this method as one to override."""
        verified: Verified = decoded.pop("verified")
        if isinstance(verified.payload, bytes):
            verified.payload = super()._decode_payload(decoded)
        return dict(verified.payload)


_verifier: Verifier | None = None


def verifier_for(settings: Settings) -> Verifier:
    """The verifier for these settings. Any other settings get a new one."""
    global _verifier  # noqa: PLW0603 - one cached value, replaced as a whole
    if _verifier is None or _verifier.settings is not settings:
        _verifier = Verifier(settings)
    return _verifier


def forget_signatures() -> None:
    """Drop all remembered signatures, keys and settings."""
    global _verifier  # noqa: PLW0603
    _verifier = None


def _digest(token: str | bytes) -> bytes:
    return sha256(token.encode() if isinstance(token, str) else token).digest()


def _shared_key(secret: str) -> jwt.PyJWK:
    """A secret as a key object. From a string, PyJWT would build one for every token."""
    encoded = base64.urlsafe_b64encode(secret.encode()).decode()
    return jwt.PyJWK({"kty": "oct", "k": encoded, "alg": "HS256"})
