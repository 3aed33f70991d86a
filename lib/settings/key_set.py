"""JSON Web Key Sets (RFC 7517): the keys of a set that can verify one algorithm."""

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
    """The set has no key that could verify a token.

    The text is the reason with its cure, without a full stop; it quotes nothing of the set.
    """


# By key id. The id None stands alone: it is the only key of a set that names none.
type Keys = dict[str | None, "jwt.PyJWK"]


def read_keys(document: bytes | str, algorithm: str) -> Keys:
    """The keys of a set that can verify `algorithm`, by their id.

    Other keys are ignored, so that one malformed key does not make the set unusable. Raises
    UnusableKeySet.
    """
    # Imported here: functions that verify no token read settings too.
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
    """The entries whose members allow them to verify `algorithm`, without any cryptography.

    A token chooses its key by `kid`, so entries without one are ignored. `kid` is optional though
    (RFC 7517, section 4.5), and where a set has a single candidate there is nothing to choose: that
    key is used for every token. Its algorithm is fixed and the signature decides (RFC 8725,
    section 3.1), so nothing is gained by refusing it. Raises UnusableKeySet.
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
        cure = f"set JWT_ALGORITHM={others[0]}" if others else f"have the issuer sign {algorithm}"
        raise UnusableKeySet(f"it has no public signing key for {algorithm}: {cure}")
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
