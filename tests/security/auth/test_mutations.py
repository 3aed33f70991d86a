"""Each check of lib/auth and lib/download.py is taken away in turn, and the tests notice:
the token table, the scenarios of the key cache, or the checks of the download.

A mutation whose text is no longer in the source fails: it must follow the source.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import lib
from tests.security.auth.downloads import DOWNLOADS
from tests.security.auth.scenarios import SCENARIOS, play
from tests.security.auth.tokens import KINDS
from tests.security.auth.verdicts import leaks, read_table

# In the order in which they import one another.
MODULES = {"download": "download", "jwks": "auth.jwks", "auth": "auth.tokens"}
LIB = Path(str(lib.__path__[0]))

type Change = tuple[str, str]  # what stands in the source once, and what replaces it

# By what notices it first: a kind of the table (and where it matters an algorithm), a scenario.
AUTH: dict[str, tuple[str, list[Change]]] = {
    "several headers": ("schemes", [('if "," in authorization:', "if False:")]),
    "another scheme": ("schemes", [('if scheme.lower() != "bearer":', "if False:")]),
    "scheme without case": ("schemes", [('scheme.lower() != "bearer"', 'scheme != "Bearer"')]),
    "size": ("sizes", [("len(token) > MAX_TOKEN_LENGTH or ", "")]),
    "size, one more": ("sizes", [("MAX_TOKEN_LENGTH = 8192", "MAX_TOKEN_LENGTH = 8193")]),
    "size, one less": ("good", [("MAX_TOKEN_LENGTH = 8192", "MAX_TOKEN_LENGTH = 8191")]),
    "form of a token": ("segments", [(" or not _SHAPE.fullmatch(token)", "")]),
    "whole form": ("segments", [("_SHAPE.fullmatch(token)", "_SHAPE.match(token)")]),
    "signature": ("signatures", [('"require": [', '"verify_signature": False, "require": [')]),
    "one algorithm": (
        "algorithms",
        # The list and the key each say it: both are taken away.
        [
            ("[settings.JWT_ALGORITHM],", '["HS256", "HS384", "HS512", "RS256"],'),
            ("_decode(token, _shared_key(last), settings)", "_decode(token, last, settings)"),
        ],
    ),
    "exp is over": ("expiries", [('"require": [', '"verify_exp": False, "require": [')]),
    "nbf": ("other times", [('"require": [', '"verify_nbf": False, "require": [')]),
    "iat": ("other times", [('"require": [', '"verify_iat": False, "require": [')]),
    "jti": ("other times", [('"require": [', '"verify_jti": False, "require": [')]),
    "exp there": ("missing claims", [('["exp", "sub"]', '["sub"]')]),
    "sub there": ("missing claims", [('["exp", "sub"]', '["exp"]')]),
    "only sub": (
        "better auth look alikes",
        [
            ('["exp", "sub"]', '["exp"]'),
            ('claims["exp"], claims["sub"]', 'claims["exp"], claims.get("sub", claims.get("id"))'),
        ],
    ),
    "issuer": ("audiences and issuers", [("issuer=settings.JWT_ISSUER", "issuer=None")]),
    "audience": (
        "audiences and issuers",
        [('"verify_aud": settings.JWT_AUDIENCE is not None', '"verify_aud": False')],
    ),
    "audience not asked for": (
        "good",
        [('"verify_aud": settings.JWT_AUDIENCE is not None', '"verify_aud": True')],
    ),
    "no leeway": ("expiries", [("LEEWAY = 30", "LEEWAY = 0")]),
    "leeway 29": ("other times", [("LEEWAY = 30", "LEEWAY = 29")]),
    "leeway 31": ("other times", [("LEEWAY = 30", "LEEWAY = 31")]),
    "leeway an hour": ("expiries", [("LEEWAY = 30", "LEEWAY = 3600")]),
    "RSA keys of 2048 bits": (
        "odd entries, RS256",
        [('_length": settings.JWT_ALGORITHM != "HS256"', '_length": False')],
    ),
    "typ": ("purposes", [('"JWT")).lower() not in TYPES:', '"JWT")).lower() in ():')]),
    "typ without case": ("good", [('"JWT")).lower() not in', '"JWT")) not in')]),
    "typ absent": ("good", [('.get("typ", "JWT")', '.get("typ")')]),
    "typ at+jwt": ("good", [('TYPES = {"jwt", "at+jwt"}', 'TYPES = {"jwt"}')]),
    "exp a number": (
        "expiries",
        [("type(expiry) not in (int, float) or expiry >", "float(expiry) >")],
    ),
    "exp before the year 10000": ("expiries", [(" or expiry > LAST_MOMENT", "")]),
    "lifetime": ("lifetimes", [("if settings.JWT_MAX_LIFETIME is not None:", "if False:")]),
    "lifetime, a second less": (
        "lifetimes",
        [("> settings.JWT_MAX_LIFETIME:", ">= settings.JWT_MAX_LIFETIME:")],
    ),
    "lifetime without iat": ("lifetimes", [('"iat", time.time()', '"iat", expiry')]),
    "lifetime, iat a number": (
        "lifetimes",
        [("type(issued) not in (int, float) or expiry - issued", "expiry - int(issued)")],
    ),
    "form of sub": ("subjects", [("if not _SUBJECT.fullmatch(subject):", "if False:")]),
    "whole form of sub": ("subjects", [("_SUBJECT.fullmatch(", "_SUBJECT.match(")]),
    "sub: blank before": ("subjects", [(r"(?!\s)", "")]),
    "sub: blank after": ("subjects", [(r"(?<!\s)", "")]),
    "sub: NUL": ("subjects", [(r"[^\x00-\x1f\x7f", r"[^\x01-\x1f\x7f")]),
    "sub: controls": ("subjects", [(r"[^\x00-\x1f\x7f", r"[^\x00\x7f")]),
    "sub: delete and C1": ("subjects", [(r"\x7f-\x9f", "")]),
    "sub: surrogates": ("subjects", [(r"\ud800-\udfff]{1,255}", "]{1,255}")]),
    "sub: empty": ("subjects", [("{1,255}", "{0,255}")]),
    "sub: too long": ("subjects", [("{1,255}", "{1,256}")]),
    "sub: as long as allowed": ("subjects", [("{1,255}", "{1,254}")]),
    "profile: NUL": ("good", [(r"[\x00\ud800-\udfff]", r"[\ud800-\udfff]")]),
    "profile: surrogates": ("good", [(r"[\x00\ud800-\udfff]", r"[\x00]")]),
    "profile: empty": (
        "good",
        [("isinstance(claim, str) and claim and", "isinstance(claim, str) and")],
    ),
    "profile: a text": ("good", [("isinstance(claim, str) and claim and not", "claim and not")]),
    "verified means true": (
        "good",
        [('claims.get("emailVerified") is True', 'bool(claims.get("emailVerified"))')],
    ),
    "expired is said": (
        "expiries",
        [("except jwt.ExpiredSignatureError", "except ZeroDivisionError")],
    ),
    "errors of PyJWT": ("signatures", [("        jwt.PyJWTError,\n", "")]),
    "ValueError": ("leaks", [("        ValueError,\n", "")]),
    "TypeError": ("leaks", [("        TypeError,\n", "")]),
    "LookupError": ("leaks", [("        LookupError,\n", "")]),
    "ArithmeticError": ("leaks", [("        ArithmeticError,\n", "")]),
    "RecursionError": ("leaks", [("        RecursionError,\n", "")]),
    "previous secret": (
        "rotation",
        [("last = settings.shared_secrets", "last = settings.shared_secrets[:1]")],
    ),
    "next secret after a bad signature": (
        "rotation",
        [("except jwt.InvalidSignatureError:", "except ZeroDivisionError:")],
    ),
}
JWKS: dict[str, tuple[str, list[Change]]] = {
    "algorithm before keys": (
        "algorithms, EdDSA",
        [('if header.get("alg") != settings.JWT_ALGORITHM:', "if False:")],
    ),
    "entry: an object": ("odd entries, EdDSA", [("isinstance(entry, dict)\n", "True\n")]),
    "entry: type and curve": (
        "odd entries, EdDSA",
        [("and KEY_TYPES[algorithm].items() <= entry.items()\n", "\n")],
    ),
    "entry: kid a text": (
        "odd entries, EdDSA",
        [('and isinstance(entry.get("kid"), str)\n', "\n")],
    ),
    "entry: alg": (
        "odd entries, ES256",
        [('and entry.get("alg", algorithm) == algorithm\n', "\n")],
    ),
    "entry: no alg": ("odd entries, RS256", [('"alg", algorithm) ==', '"alg") ==')]),
    "entry: use": ("odd entries, RS256", [('and entry.get("use", "sig") == "sig"\n', "\n")]),
    "entry: no use": ("odd entries, EdDSA", [('"use", "sig") ==', '"use") ==')]),
    "entry: private": ("odd entries, ES256", [('and "d" not in entry', "")]),
    "one odd entry": (
        "odd entries, EdDSA",
        [("                continue\n", "                raise\n")],
    ),
    "an empty set": ("an_empty_set_replaces_nothing", [("    if not keys:\n", "    if False:\n")]),
    "keys are asked for again": (
        "old_keys_are_asked_for_again_in_the_background",
        [("REFRESH_AFTER = 600.0", "REFRESH_AFTER = 6e9")],
    ),
    "not too often": ("a_known_kid_never_waits", [("REFRESH_AFTER = 600.0", "REFRESH_AFTER = 60")]),
    "nobody waits for that": (
        "a_known_kid_never_waits",
        [
            (
                "                self._ask()\n",
                "                await asyncio.wrap_future(self._ask())\n",
            )
        ],
    ),
    "stale keys end": (
        "stale_keys_end_after_a_day",
        [("FORGET_AFTER = 24 * 3600.0", "FORGET_AFTER = 6e9")],
    ),
    "stale keys go on": (
        "stale_keys_end_after_a_day",
        [("FORGET_AFTER = 24 * 3600.0", "FORGET_AFTER = 3600.0")],
    ),
    "cooldown": (
        "a_flood_of_unknown_kids_asks_once_a_cooldown",
        [("COOLDOWN = 10.0", "COOLDOWN = 0.0")],
    ),
    "cooldown ends": (
        "a_new_kid_is_found_after_the_cooldown",
        [("COOLDOWN = 10.0", "COOLDOWN = 11.0")],
    ),
    "cooldown after a failure": (
        "a_cold_outage_is_no_refusal",
        [("COOLDOWN_AFTER_FAILURE = 5.0", "COOLDOWN_AFTER_FAILURE = 0.0")],
    ),
    "Retry-After is true": (
        "a_cold_outage_is_no_refusal",
        [("COOLDOWN_AFTER_FAILURE = 5.0", "COOLDOWN_AFTER_FAILURE = 10.0")],
    ),
    "attempts count": (
        "an_outage_counts_attempts_and_keeps_known_keys",
        [("time.time() - self._asked >= cooldown", "time.time() - self._answered >= cooldown")],
    ),
    "one question at a time": (
        "a_source_that_hangs_is_waited_for_once",
        [("if self._question.done() and ", "if ")],
    ),
    "patience": (
        "a_source_that_hangs_is_waited_for_once",
        [("FETCH_BUDGET = 1.5", "FETCH_BUDGET = 2.5")],
    ),
    "patience is for the question": (
        "a_source_that_hangs_is_waited_for_once",
        [("timeout=self._asked + FETCH_BUDGET - time.time()", "timeout=FETCH_BUDGET")],
    ),
    "a thread": (
        "a_source_that_hangs_is_waited_for_once",
        [
            (
                "Thread(target=self._take_answer, args=[question], daemon=True).start()",
                "self._take_answer(question)",
            )
        ],
    ),
    "a daemon": ("a_source_that_hangs_is_waited_for_once", [("daemon=True", "daemon=False")]),
    "a new key under an old kid": (
        "a_new_key_under_an_old_kid_is_found_by_one_question",
        [("key is not None and key is not instead_of", "key is not None")],
    ),
    "no key instead of a key": (
        "a_removed_key_dies_with_its_set",
        [("key is not None and key is not instead_of", "key is not instead_of")],
    ),
    "unknown is not unavailable": (
        "a_flood_of_unknown_kids_asks_once_a_cooldown",
        [("raise UnknownKey if self._answered == self._asked else", "raise")],
    ),
    "unavailable is not unknown": (
        "a_cold_outage_is_no_refusal",
        [("self._answered == self._asked else", "True else")],
    ),
    "a failed question is survived": (
        "an_outage_counts_attempts_and_keeps_known_keys",
        [
            (
                "except Exception as error:  # noqa: BLE001 - whatever",
                "except ValueError as error:  #",
            )
        ],
    ),
}
DOWNLOAD: dict[str, tuple[str, list[Change]]] = {
    "only 200": ("only_200_is_an_answer", [("if response.status != 200:", "if False:")]),
    "size": ("a_body_has_a_size", [("if len(body) > most_bytes:", "if False:")]),
    "size while reading": ("a_body_has_a_size", [("read(most_bytes + 1)", "read()")]),
    "deadline": (
        "an_answer_has_a_deadline",
        [("remaining = self._end - time.monotonic()", "remaining = 0.4")],
    ),
    "certificate": (
        "a_certificate_is_verified",
        [
            (
                "ssl.create_default_context(cafile=certifi.where())",
                "ssl._create_unverified_context()",
            )
        ],
    ),
    "IPv6 without a port": (
        "a_default_port_is_known",
        [("HTTPConnection(parts.netloc, timeout", "HTTPConnection(parts.hostname, timeout")],
    ),
    "query": (
        "an_address_has_every_form",
        [('f"{parts.path}?{parts.query}" if parts.query else parts.path', "parts.path")],
    ),
}
MUTATIONS = {
    f"{module}: {name}": (module, *mutation)
    for module, mutations in (("auth", AUTH), ("jwks", JWKS), ("download", DOWNLOAD))
    for name, mutation in mutations.items()
}


def load(
    monkeypatch: pytest.MonkeyPatch, module: str, changes: list[Change]
) -> dict[str, ModuleType]:
    """The three modules, one of them changed, in the place of the real ones."""
    loaded = {}
    for name, qualified in MODULES.items():
        path = LIB.joinpath(*qualified.split(".")).with_suffix(".py")
        source = path.read_text()
        for old, new in changes if name == module else []:
            assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {path}"
            source = source.replace(old, new)
        loaded[name] = ModuleType(f"lib.{qualified}")
        monkeypatch.setitem(sys.modules, f"lib.{qualified}", loaded[name])
        exec(compile(source, path, "exec"), loaded[name].__dict__)  # noqa: S102
    return loaded


def complaints(modules: dict[str, ModuleType], judge: str, folder: Path) -> Iterator[str]:
    """What the judge finds wrong with these modules."""
    kind, _, algorithm = judge.partition(", ")
    if kind in KINDS:
        algorithms = [algorithm] if algorithm else ["HS256"]
        for said in read_table(modules["auth"].authenticate, *algorithms, kinds=[kind]):
            if said.fault:
                yield str(said)
    elif kind == "leaks":
        yield from leaks(modules["auth"].authenticate)
    else:
        scenarios = [scenario for scenario in SCENARIOS if scenario.__name__ == judge]
        checks = [check for check in DOWNLOADS if check.__name__ == judge]
        assert len(scenarios) + len(checks) == 1, judge
        try:
            for scenario in scenarios:
                play(scenario, modules["jwks"])
            for check in checks:
                check(modules["download"], folder)
        except Exception as error:  # noqa: BLE001 - a scenario may fail in any way
            yield f"{judge}: {type(error).__name__} {str(error).partition('\n')[0]}"


noticed: dict[str, str] = {}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_check_that_is_taken_away_is_missed(
    mutation: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, judge, changes = MUTATIONS[mutation]
    first = next(complaints(load(monkeypatch, module, changes), judge, tmp_path), None)
    assert first, "nothing misses it"
    noticed[mutation] = first


def test_nothing_is_missed_where_nothing_is_taken_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    modules = load(monkeypatch, "auth", [])
    judges = {judge for _, judge, _ in MUTATIONS.values()}
    assert [each for judge in judges for each in complaints(modules, judge, tmp_path)] == []


def test_a_mutation_that_does_not_apply_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="stands 0 times"):
        load(monkeypatch, "auth", [("no such text", "")])
    with pytest.raises(AssertionError, match=r"stands \d+ times"):
        load(monkeypatch, "auth", [("return", "")])
