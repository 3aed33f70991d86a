"""Checks that remembered signatures change nothing else.

Each check takes the modules under test by name, so that a mutant can be checked too.
"""

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any
from unittest.mock import patch

import jwt
import pytest
import time_machine
from jwt.algorithms import HMACAlgorithm, OKPAlgorithm

from lib.errors import Unauthenticated
from lib.settings import Settings, read_settings
from tests.security.auth.keys import (
    PREVIOUS_SECRET,
    SECRET,
    base64url,
    by_hmac,
    jwk,
    key_set,
    private_key,
    signing,
)
from tests.security.auth.tokens import AUDIENCE, ISSUER, NOW, USER, Forge

type Modules = Mapping[str, ModuleType]

EXPIRED, INVALID = "The token has expired.", "The token is invalid."


@contextmanager
def counted_verifications() -> Generator[list[str]]:
    """The algorithm of every signature check in this block."""
    calls: list[str] = []
    with (
        patch.object(HMACAlgorithm, "verify", _counting(HMACAlgorithm.verify, "HS256", calls)),
        patch.object(OKPAlgorithm, "verify", _counting(OKPAlgorithm.verify, "EdDSA", calls)),
    ):
        yield calls


def _counting(verify: Any, name: str, calls: list[str]) -> Any:
    def counting(*arguments: Any) -> bool:
        calls.append(name)
        return verify(*arguments)

    return counting


def forge(algorithm: str = "HS256", key: str = "ours") -> Forge:
    return Forge(algorithm, signing(algorithm, key), signing(algorithm, "foreign"))


def symmetric(**more: str) -> Settings:
    return read_settings({"BETTER_AUTH_SECRET": SECRET, **more})


def asymmetric(**kids: str) -> Settings:
    """Settings with a static key set: the name of a private key by kid."""
    entries = [jwk(private_key("EdDSA", key), kid) for kid, key in kids.items()]
    return read_settings({"JWT_ALGORITHM": "EdDSA", "JWKS": key_set(*entries)})


def result(modules: Modules, token: str, settings: Settings) -> str:
    """The user's id, or the detail of the refusal."""
    try:
        return asyncio.run(modules["tokens"].authenticate(f"Bearer {token}", settings)).id
    except Unauthenticated as refusal:
        return refusal.detail


def memory(modules: Modules, settings: Settings) -> Any:
    return modules["signatures"].verifier_for(settings)._jws


def a_signature_is_verified_once(modules: Modules) -> None:
    for settings, token in (
        (symmetric(), forge().token()),
        (asymmetric(k="ours"), forge("EdDSA").with_header(kid="k")),
    ):
        with counted_verifications() as calls:
            assert [result(modules, token, settings) for _ in range(5)] == [USER] * 5
        assert calls == [settings.JWT_ALGORITHM]


def a_remembered_token_is_not_decoded_again(modules: Modules) -> None:
    settings, token = asymmetric(k="ours"), forge("EdDSA").with_header(kid="k")
    result(modules, token, settings)
    with (
        patch.object(jwt.PyJWS, "_load", side_effect=AssertionError("decoded again")),
        patch("jwt.api_jwt.json.loads", side_effect=AssertionError("parsed again")),
    ):
        assert result(modules, token, settings) == USER


def every_character_of_the_token_counts(modules: Modules) -> None:
    settings, token = symmetric(), forge().token()
    assert result(modules, token, settings) == USER
    head, payload, signature = token.split(".")
    other = base64url(by_hmac("another")(b"text"))
    for changed in (
        f"{head}.{payload}.{other}",
        f"{head}.{payload}.{signature[:-1]}",
        f"{head}.{base64url(b'{}')}.{signature}",
        f"{base64url(b'{}')}.{payload}.{signature}",
    ):
        assert result(modules, changed, settings) == INVALID


def failures_are_not_remembered(modules: Modules) -> None:
    settings, forged = symmetric(), forge(key="foreign").token()
    with counted_verifications() as calls:
        assert [result(modules, forged, settings) for _ in range(3)] == [INVALID] * 3
    assert len(calls) == 3
    assert not memory(modules, settings)._verified


def times_are_checked_on_every_request(modules: Modules) -> None:
    settings, token = symmetric(), forge().claiming(nbf=NOW - 60, iat=NOW, exp=NOW + 300)
    never_before = forge().claiming(nbf=NOW, iat=..., exp=NOW + 10**6)
    issued_now = forge().claiming(iat=NOW, exp=NOW + 10**6)
    for each in (token, never_before, issued_now):
        assert result(modules, each, settings) == USER
    for at, each, expected in (
        (NOW + 329, token, USER),
        (NOW + 330, token, EXPIRED),
        (NOW, token, USER),
        (NOW - 31, never_before, INVALID),
        (NOW - 31, issued_now, INVALID),
    ):
        with time_machine.travel(at, tick=False):
            assert result(modules, each, settings) == expected


def other_settings_are_checked_at_once(modules: Modules) -> None:
    token = forge().claiming(exp=NOW + 600)
    assert result(modules, token, symmetric()) == USER
    for more, expected in (
        ({"JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}, USER),
        ({"JWT_ISSUER": "https://other.example"}, INVALID),
        ({"JWT_AUDIENCE": "other"}, INVALID),
        ({"JWT_MAX_LIFETIME": "599"}, INVALID),
        ({"JWT_MAX_LIFETIME": "600"}, USER),
    ):
        assert result(modules, token, symmetric(**more)) == expected, more


def other_settings_empty_the_memory(modules: Modules) -> None:
    settings, token = symmetric(), forge().token()
    result(modules, token, settings)
    with counted_verifications() as calls:
        result(modules, token, symmetric())
        result(modules, token, settings)
    assert len(calls) == 2, "not even the first settings find their earlier results"


def a_secret_is_rotated(modules: Modules) -> None:
    old, new = forge().token(sign=by_hmac(PREVIOUS_SECRET)), forge().token()
    before = read_settings({"BETTER_AUTH_SECRET": PREVIOUS_SECRET})
    during = symmetric(BETTER_AUTH_SECRET_PREVIOUS=PREVIOUS_SECRET)
    for settings, verdicts in (
        (before, [USER, INVALID]),
        (during, [USER, USER]),
        (symmetric(), [INVALID, USER]),
    ):
        for _ in range(2):
            assert [result(modules, token, settings) for token in (old, new)] == verdicts


def a_key_leaves_the_set(modules: Modules) -> None:
    """The settings stay the same: the key set is fetched again from its URL."""
    published = asymmetric(a="first", b="second").JWKS
    settings = read_settings({"JWT_ALGORITHM": "EdDSA", "JWKS_URL": "https://keys.example/jwks"})
    first = forge("EdDSA", "first").with_header(kid="a")
    second = forge("EdDSA", "second").with_header(kid="b")
    with (
        patch.object(modules["jwks"], "_fetch", lambda *_: published),
        time_machine.travel(NOW, tick=False) as clock,
    ):
        for _ in range(2):
            assert result(modules, first, settings) == USER
            assert result(modules, second, settings) == USER
        published = asymmetric(a="another").JWKS
        clock.shift(11)
        unknown = forge("EdDSA", "first").with_header(kid="unknown")
        assert result(modules, unknown, settings) == INVALID, "which fetches the set again"
        assert result(modules, second, settings) == INVALID, "its key is gone"
        assert result(modules, first, settings) == INVALID, "its id belongs to another key"
        replaced = forge("EdDSA", "another").with_header(kid="a")
        assert result(modules, replaced, settings) == USER


def all_arguments_count(modules: Modules) -> None:
    """PyJWT's verification as such, with arguments that this API never passes for one key."""
    signatures = modules["signatures"].RememberedSignatures()
    key, short = (jwt.PyJWK({"kty": "oct", "k": base64url(k), "alg": "HS256"}) for k in KEYS)
    token = jwt.encode({"sub": USER}, key)
    signatures.decode_complete(token, key, ["HS256"])
    refused(jwt.InvalidAlgorithmError, signatures, token, key, ["HS512"])
    other_key = jwt.PyJWK({"kty": "oct", "k": base64url(PREVIOUS_SECRET.encode()), "alg": "HS256"})
    refused(jwt.InvalidSignatureError, signatures, token, other_key, ["HS256"])

    forged = forge(key="foreign").token()
    signatures.decode_complete(forged, key, ["HS256"], {"verify_signature": False})
    refused(jwt.InvalidSignatureError, signatures, forged, key, ["HS256"])

    weak = by_hmac(KEYS[1])
    weakly = forge().token(sign=weak)
    unenforced: Any = {"verify_signature": True, "enforce_minimum_key_length": False}
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        signatures.decode_complete(weakly, short, ["HS256"], unenforced)
    enforced = unenforced | {"enforce_minimum_key_length": True}
    refused(jwt.InvalidKeyError, signatures, weakly, short, ["HS256"], enforced)

    detached = signatures.encode(b"{}", key, is_payload_detached=True)
    signatures.decode_complete(detached, key, ["HS256"], None, b"{}")
    other = b'{"sub":"bob"}'
    refused(jwt.InvalidSignatureError, signatures, detached, key, ["HS256"], None, other)


KEYS = (SECRET.encode(), b"a short key")


def refused(error: type[Exception], signatures: Any, *arguments: Any) -> None:
    try:
        signatures.decode_complete(*arguments)
    except error:
        return
    raise AssertionError(f"not refused: {error.__name__}")


def a_result_can_be_changed_by_its_caller(modules: Modules) -> None:
    settings, token = symmetric(), forge().token()
    verifier = modules["signatures"].verifier_for(settings)
    for _ in range(3):
        decoded = modules["tokens"]._decode(token, verifier.shared_keys[0], settings)
        assert decoded["payload"]["sub"] == USER
        assert decoded["header"]["alg"] == "HS256"
        assert verifier.get_unverified_header(token)["alg"] == "HS256"
        decoded["payload"]["sub"] = "bob"
        decoded["header"]["alg"] = "none"
        verifier.get_unverified_header(token)["alg"] = "none"


def the_memory_is_bounded(modules: Modules) -> None:
    settings = symmetric()
    verified = memory(modules, settings)._verified
    tokens = [forge().claiming(jti=str(number)) for number in range(1001)]
    for token in [*tokens[:1000], tokens[0], tokens[1000]]:
        result(modules, token, settings)
    assert len(verified) == 1000
    with counted_verifications() as calls:
        result(modules, tokens[0], settings)
        assert not calls, "it was used shortly before"
        result(modules, tokens[1], settings)
        assert len(calls) == 1, "it was unused for longest"
        result(modules, tokens[3], settings)
        assert len(calls) == 1
    assert memory(modules, settings)._length == sum(each.length for each in verified.values())
    long = [forge().claiming(jti=str(number), image="A" * 5500) for number in range(200)]
    for token in long:
        result(modules, token, settings)
    assert len(verified) == 1_000_000 // len(long[-1])
    assert memory(modules, settings)._length == sum(each.length for each in verified.values())


def a_token_is_counted_once(modules: Modules) -> None:
    signatures = modules["signatures"].RememberedSignatures()
    keys = [jwt.PyJWK({"kty": "oct", "k": base64url(KEYS[0]), "alg": "HS256"}) for _ in range(9)]
    token = forge().token()
    for key in keys:
        signatures.decode_complete(token, key, ["HS256"])
    assert len(signatures._verified) == 1
    assert signatures._length == len(token)


def nothing_remains_before_a_snapshot(modules: Modules) -> None:
    settings, token = symmetric(), forge().token()
    result(modules, token, settings)
    assert modules["signatures"]._verifier is not None
    modules["signatures"].forget_signatures()
    assert modules["signatures"]._verifier is None


def no_token_is_kept(modules: Modules) -> None:
    settings, token = symmetric(), forge().token()
    result(modules, token, settings)
    [(digest, verified)] = memory(modules, settings)._verified.items()
    kept = repr((digest, vars(verified)))
    signature = token.rpartition(".")[2]
    raw = urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    assert token not in kept
    assert signature not in kept
    assert repr(raw)[2:-1] not in kept


CHECKS: tuple[FunctionType, ...] = (
    a_signature_is_verified_once,
    a_remembered_token_is_not_decoded_again,
    every_character_of_the_token_counts,
    failures_are_not_remembered,
    times_are_checked_on_every_request,
    other_settings_are_checked_at_once,
    other_settings_empty_the_memory,
    a_secret_is_rotated,
    a_key_leaves_the_set,
    all_arguments_count,
    a_result_can_be_changed_by_its_caller,
    the_memory_is_bounded,
    a_token_is_counted_once,
    nothing_remains_before_a_snapshot,
    no_token_is_kept,
)


def run(check: FunctionType, modules: Modules) -> None:
    """Run a check at the time of the table, with an empty memory. Raises whatever fails."""
    modules["signatures"].forget_signatures()
    modules["jwks"]._key_set.cache_clear()
    with time_machine.travel(NOW, tick=False):
        check(modules)
