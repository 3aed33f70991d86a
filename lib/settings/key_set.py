"""Reads JSON Web Key Sets (RFC 7517)."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jwt

KEY_TYPES = {
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
    "ES256": {"kty": "EC", "crv": "P-256"},
    "RS256": {"kty": "RSA"},
}


class UnusableKeySet(Exception):
    """The set has no key that can verify a token.

    The message is a clause with the reason and the remedy, without a full stop. It quotes nothing
    of the set.
    """


# The keys by their id (`kid`). A key without an id has the id None and is the only key.
type Keys = dict[str | None, "jwt.PyJWK"]


def read_keys(document: bytes | str, algorithm: str) -> Keys:
    """Read the keys of a set that can verify `algorithm`. Raises UnusableKeySet.

    Other keys are ignored, so that one malformed key does not make the set unusable.
    """
    # Imported here, because functions that do not verify tokens import this package too.
    from jwt import PyJWK  # noqa: PLC0415

    keys: Keys = {}
    for entry in candidate_keys(document, algorithm):
        try:
            keys[entry.get("kid")] = PyJWK(entry, algorithm)
        except Exception:  # noqa: BLE001, S112 - cryptography rejects keys with many error types
            continue
    if not keys:
        raise UnusableKeySet(f"every key for {algorithm} is malformed: copy the set again")
    return keys


def candidate_keys(document: bytes | str, algorithm: str) -> list[dict[str, Any]]:
    """Return the entries that are for `algorithm`, without loading the keys. Raises UnusableKeySet.

    A token names its key by `kid`, so entries without a `kid` are ignored. But `kid` is optional
    (RFC 7517, section 4.5): if the set has only one entry for the algorithm, that key verifies
    every token. This is safe, because the algorithm is fixed (RFC 8725, section 3.1) and the
    signature must be valid.
    """
    try:
        entries = list(json.loads(document)["keys"])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UnusableKeySet("it is not a JSON Web Key Set") from error
    candidates = [entry for entry in entries if _is_for(algorithm, entry)]
    named = [entry for entry in candidates if "kid" in entry]
    if named:
        return named
    if len(candidates) > 1:
        raise UnusableKeySet(f"its keys for {algorithm} have no kid: give each key a kid")
    if not candidates:
        others = [other for other in KEY_TYPES if any(_is_for(other, entry) for entry in entries)]
        remedy = f"set JWT_ALGORITHM={others[0]}" if others else f"have the issuer sign {algorithm}"
        raise UnusableKeySet(f"it has no public signing key for {algorithm}: {remedy}")
    return candidates


def _is_for(algorithm: str, entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and KEY_TYPES[algorithm].items() <= entry.items()
        and isinstance(entry.get("kid", ""), str)
        and entry.get("alg", algorithm) == algorithm
        and entry.get("use", "sig") == "sig"
        and "d" not in entry  # a private key does not belong in a public set
    )
