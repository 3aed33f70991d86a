"""Verifies the signature of a token once and remembers the result.

A browser sends the same token for minutes. Whether its signature is valid depends only on the
token, the key and the algorithm, so the result can be reused. All other checks (times, issuer,
audience, user) run on every request, in PyJWT and in lib/auth/tokens.py. Envoy's JWT filter does
the same. A warm list takes 31 % fewer instructions (bench/NOTES.md).
"""

from collections import OrderedDict
from hashlib import sha256
from typing import Any, NamedTuple

import jwt

from lib.settings import Settings

MAX_TOKENS = 1000
MAX_BYTES = 1_000_000  # the total length of the remembered tokens


class Verifier(jwt.PyJWT):
    """PyJWT, with the signatures that were verified under these settings."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        # Without this line, PyJWT verifies the signature on every request.
        self._jws = RememberedSignatures()

    def get_unverified_header(self, token: str) -> dict[str, Any]:
        return self._jws.get_unverified_header(token)


_verifier: Verifier | None = None


def verifier_for(settings: Settings) -> Verifier:
    """The verifier for these settings. Other settings, equal or not, begin with an empty one."""
    global _verifier  # noqa: PLW0603 - one cached value, replaced as a whole
    if _verifier is None or _verifier.settings is not settings:
        _verifier = Verifier(settings)
    return _verifier


def forget_signatures() -> None:
    """Drop all remembered signatures, with the settings and keys that verified them."""
    global _verifier  # noqa: PLW0603
    _verifier = None


class Verified(NamedTuple):
    """The result of one successful call, and the arguments that it depends on."""

    key: Any
    algorithms: Any
    options: Any
    detached_payload: Any
    header: dict[str, Any]
    payload: bytes
    length: int


class RememberedSignatures(jwt.PyJWS):
    """PyJWT's verification of signatures, which returns its earlier result for the same arguments.

    It remembers the header and the payload by the SHA-256 of the token, not the token and not its
    signature, so the memory contains nothing that could be sent as a token. The timing of a look-up
    reveals nothing useful: it depends on a hash that a client can compute only for a token that it
    has. Failures are not remembered. The tokens that were unused for longest are dropped first: if
    somebody fills the memory with valid tokens, others cost as much as without it.
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
        known = self._verified.get(digest)
        if (
            known is not None
            # The same object: a key that was replaced by an equal one is verified again.
            and known.key is key
            and known.algorithms == algorithms
            and known.options == options
            and known.detached_payload == detached_payload
        ):
            self._verified.move_to_end(digest)
            header, payload = known.header, known.payload
        else:
            decoded = super().decode_complete(
                jwt, key, algorithms, options, detached_payload, **kwargs
            )
            header, payload = decoded["header"], decoded["payload"]
            self._remember(
                digest,
                Verified(key, algorithms, options, detached_payload, header, payload, len(jwt)),
            )
        # A new object, because PyJWT changes it.
        return {"header": dict(header), "payload": payload}

    def get_unverified_header(self, jwt: str | bytes) -> dict[str, Any]:
        known = self._verified.get(_digest(jwt))
        return dict(known.header) if known else super().get_unverified_header(jwt)

    def _remember(self, digest: bytes, verified: Verified) -> None:
        if replaced := self._verified.pop(digest, None):
            self._length -= replaced.length
        self._verified[digest] = verified
        self._length += verified.length
        while len(self._verified) > MAX_TOKENS or self._length > MAX_BYTES:
            _, oldest = self._verified.popitem(last=False)
            self._length -= oldest.length


def _digest(token: str | bytes) -> bytes:
    return sha256(token.encode() if isinstance(token, str) else token).digest()
