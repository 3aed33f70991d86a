"""Test keys and signatures, made without PyJWT."""

import base64
import hmac
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

# Long enough for HS512: a token signed with it must be refused for its algorithm alone.
SECRET = "tokens-of-the-table-secret-".ljust(72, "0")
PREVIOUS_SECRET = "tokens-of-the-table-previous-".ljust(72, "1")

type Sign = Callable[[bytes], bytes]
type Jwk = dict[str, Any]


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    """A number as in a JWK: base64url of its `size` big-endian bytes."""
    return base64url(value.to_bytes(size or (value.bit_length() + 7) // 8))


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One key per name, the same throughout a test run."""
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(name: str, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


@cache
def ed25519_key(name: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


@cache
def ed448_key(name: str) -> ed448.Ed448PrivateKey:
    return ed448.Ed448PrivateKey.generate()


def by_hmac(secret: str | bytes, digest: str = "sha256") -> Sign:
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda text: hmac.digest(key, text, digest)


def by_rsa(key: rsa.RSAPrivateKey, digest: type[hashes.HashAlgorithm] = hashes.SHA256) -> Sign:
    return lambda text: key.sign(text, padding.PKCS1v15(), digest())


def by_pss(key: rsa.RSAPrivateKey, digest: type[hashes.HashAlgorithm] = hashes.SHA256) -> Sign:
    pss = padding.PSS(padding.MGF1(digest()), padding.PSS.DIGEST_LENGTH)
    return lambda text: key.sign(text, pss, digest())


def by_ec(
    key: ec.EllipticCurvePrivateKey, digest: type[hashes.HashAlgorithm] = hashes.SHA256
) -> Sign:
    size = (key.curve.key_size + 7) // 8

    def sign(text: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(text, ec.ECDSA(digest())))
        return r.to_bytes(size) + s.to_bytes(size)

    return sign


def private_key(algorithm: str, name: str) -> Any:
    """The private key of this name for an asymmetric `algorithm`."""
    makers = {"EdDSA": ed25519_key, "ES256": ec_key, "RS256": rsa_key}
    return makers[algorithm](name)


def signing(algorithm: str, name: str) -> Sign:
    """A function that signs with `algorithm` and the key of this name."""
    if algorithm == "HS256":
        return by_hmac(SECRET if name == "ours" else f"{name}-another-secret-0123456789abcdef")
    key = private_key(algorithm, name)
    if algorithm == "EdDSA":
        return key.sign
    return by_ec(key) if algorithm == "ES256" else by_rsa(key)


def jwk(key: Any, kid: object, **members: Any) -> Jwk:
    """The public half of a private key as a JSON Web Key; a member given as ... is left out."""
    public = key.public_key()
    entry: Jwk = {"kid": kid}
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = public.public_numbers()
        entry |= {"kty": "RSA", "alg": "RS256", "n": number(numbers.n), "e": number(numbers.e)}
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        numbers, size = public.public_numbers(), (key.curve.key_size + 7) // 8
        curve = {256: "P-256", 384: "P-384", 521: "P-521"}[key.curve.key_size]
        entry |= {"kty": "EC", "alg": "ES256", "crv": curve}
        entry |= {"x": number(numbers.x, size), "y": number(numbers.y, size)}
    else:
        curve = "Ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "Ed448"
        entry |= {"kty": "OKP", "alg": "EdDSA", "crv": curve}
        entry["x"] = base64url(public.public_bytes_raw())
    return {name: value for name, value in {**entry, **members}.items() if value is not ...}


def private_jwk(key: Any, kid: str) -> Jwk:
    """A private key as a JSON Web Key, which does not belong in a set of public keys."""
    if isinstance(key, rsa.RSAPrivateKey):
        private = key.private_numbers()
        secret = {"d": private.d, "p": private.p, "q": private.q}
        secret |= {"dp": private.dmp1, "dq": private.dmq1, "qi": private.iqmp}
        return jwk(key, kid, **{name: number(value) for name, value in secret.items()})
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return jwk(key, kid, d=number(key.private_numbers().private_value, 32))
    return jwk(key, kid, d=base64url(key.private_bytes_raw()))


def key_set(*entries: object) -> str:
    """A JSON Web Key Set as its server sends it."""
    return json.dumps({"keys": entries})
