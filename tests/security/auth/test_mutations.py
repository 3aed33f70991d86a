"""Removes one check of the token verification at a time: a test must then fail.

The checks are in lib/auth, lib/settings/key_set.py and lib/http_client.py. The tests are the token
table, the scenarios of the key cache, and the checks of remembered signatures and of the HTTP
client.

A mutation whose text is not in the source is an error, so the mutations must follow the source.
"""

import gc
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType

import pytest

import lib
from lib.auth.mcp_access import UNSUPPORTED_CLAIMS
from tests.security.auth.access_tokens import CONDITIONS, INHERITED, access_table, session_table
from tests.security.auth.access_tokens import KINDS as ACCESS_KINDS
from tests.security.auth.client_checks import CHECKS
from tests.security.auth.fetches import FETCHES
from tests.security.auth.mcp_checks import CHECKS as MCP_CHECKS
from tests.security.auth.remembered import CHECKS as REMEMBERED
from tests.security.auth.remembered import run as run_check
from tests.security.auth.scenarios import SCENARIOS, play
from tests.security.auth.tokens import KINDS, OAUTH_CLAIMS
from tests.security.auth.verdicts import at_mcp, leaks, run_table

# In the order in which they import one another.
MODULES = {
    "client": "http_client",
    "key_set": "settings.key_set",
    "signatures": "auth.signatures",
    "jwks": "auth.jwks",
    "tokens": "auth.tokens",
    "mcp_access": "auth.mcp_access",
}
LIB = Path(str(lib.__path__[0]))

type Change = tuple[str, str]  # text that occurs in the source once, and its replacement

# Checks the claims of the first request with a token only.
CLAIMS_ONCE = """
            return dict(verified.payload)
        self._validate_claims = lambda *_, **__: None
        return dict(verified.payload)"""

# One argument is left out of the comparison.
NOT_COMPARED = [
    (
        "verified.arguments == arguments:",
        f"all(verified.arguments[i] == arguments[i] for i in range(4) if i != {left_out}):",
    )
    for left_out in range(4)
]

# Each with the test that must fail: a kind of the table (and an algorithm), a scenario or a check.
TOKENS: dict[str, tuple[str, list[Change]]] = {
    "several headers": ("schemes", [('if "," in authorization:', "if False:")]),
    "another scheme": ("schemes", [('if scheme.lower() != "bearer":', "if False:")]),
    "scheme without case": ("schemes", [('scheme.lower() != "bearer"', 'scheme != "Bearer"')]),
    "size": ("sizes", [("if len(token) > MAX_TOKEN_LENGTH:", "if False:")]),
    "size, one more": ("sizes", [("MAX_TOKEN_LENGTH = 8192", "MAX_TOKEN_LENGTH = 8193")]),
    "size, one less": ("good", [("MAX_TOKEN_LENGTH = 8192", "MAX_TOKEN_LENGTH = 8191")]),
    "form of a token": ("segments", [("if not _COMPACT_JWT.fullmatch(token):", "if False:")]),
    "full match": ("segments", [("_COMPACT_JWT.fullmatch(token)", "_COMPACT_JWT.match(token)")]),
    "signature": (
        "signatures",
        [('"require": list', '"verify_signature": False, "require": list')],
    ),
    "one algorithm": (
        "algorithms",
        # Both the list and the key restrict the algorithm.
        [
            ("[settings.JWT_ALGORITHM],", '["HS256", "HS384", "HS512", "RS256"],'),
            ("_decode(token, last,", "_decode(token, settings.shared_secrets[-1],"),
        ],
    ),
    "exp is over": ("expiries", [('"require": list', '"verify_exp": False, "require": list')]),
    "nbf": ("other times", [('"require": list', '"verify_nbf": False, "require": list')]),
    "iat": ("other times", [('"require": list', '"verify_iat": False, "require": list')]),
    "jti": ("other times", [('"require": list', '"verify_jti": False, "require": list')]),
    "exp, again": (
        "times_are_checked_on_every_request",
        [('"require": list', '"verify_exp": False, "require": list')],
    ),
    "nbf, again": (
        "times_are_checked_on_every_request",
        [('"require": list', '"verify_nbf": False, "require": list')],
    ),
    "iat, again": (
        "times_are_checked_on_every_request",
        [('"require": list', '"verify_iat": False, "require": list')],
    ),
    "issuer, again": (
        "other_settings_are_checked_at_once",
        [("issuer=settings.JWT_ISSUER", "issuer=None")],
    ),
    "audience, again": (
        "other_settings_are_checked_at_once",
        [('"verify_aud": audience is not None', '"verify_aud": False')],
    ),
    "lifetime, again": (
        "other_settings_are_checked_at_once",
        [("if settings.JWT_MAX_LIFETIME is not None:", "if False:")],
    ),
    "exp there": ("missing claims", [('= ("exp", "sub"),', '= ("sub",),')]),
    "sub there": ("missing claims", [('= ("exp", "sub"),', '= ("exp",),')]),
    "only sub": (
        "better auth look alikes",
        [
            ('= ("exp", "sub"),', '= ("exp",),'),
            ('claims["exp"], claims["sub"]', 'claims["exp"], claims.get("sub", claims.get("id"))'),
        ],
    ),
    "issuer": ("audiences and issuers", [("issuer=settings.JWT_ISSUER", "issuer=None")]),
    "audience": (
        "audiences and issuers",
        [('"verify_aud": audience is not None', '"verify_aud": False')],
    ),
    "audience not configured": (
        "good",
        [('"verify_aud": audience is not None', '"verify_aud": True')],
    ),
    "no leeway": ("expiries", [("LEEWAY = 30", "LEEWAY = 0")]),
    "leeway 29": ("other times", [("LEEWAY = 30", "LEEWAY = 29")]),
    "leeway 31": ("other times", [("LEEWAY = 30", "LEEWAY = 31")]),
    "leeway an hour": ("expiries", [("LEEWAY = 30", "LEEWAY = 3600")]),
    "RSA keys of 2048 bits": (
        "odd entries, RS256",
        [('_length": settings.JWT_ALGORITHM != "HS256"', '_length": False')],
    ),
    "typ": ("purposes", [('"JWT")).lower() != "jwt":', '"JWT")).lower() in ():')]),
    "typ without case": ("good", [('"JWT")).lower() != "jwt"', '"JWT")) != "JWT"')]),
    "typ absent": ("good", [('.get("typ", "JWT")', '.get("typ")')]),
    "typ at+jwt": ("oauth tokens", [('.lower() != "jwt"', '.lower() not in ("jwt", "at+jwt")')]),
    **{
        f"claim {name}": ("oauth tokens", [(f'"{name}"', f'"not_{name}"')]) for name in OAUTH_CLAIMS
    },
    "claims of OAuth at all": (
        "oauth tokens",
        [("        if name in claims:", "        if False:")],
    ),
    "null counts as a claim": (
        "oauth tokens",
        [("        if name in claims:", "        if claims.get(name) is not None:")],
    ),
    "exp a number": (
        "expiries",
        [("type(expiry) not in (int, float) or expiry >", "float(expiry) >")],
    ),
    "exp before the year 10000": ("expiries", [(" or expiry > MAX_EXPIRY", "")]),
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
    "form of sub": (
        "subjects",
        [("not _USER_ID.fullmatch(subject) or has_surrogate(subject)", "False")],
    ),
    "full match of sub": ("subjects", [("_USER_ID.fullmatch(", "_USER_ID.match(")]),
    "sub: white space before": ("subjects", [(r"(?!\s)", "")]),
    "sub: white space after": ("subjects", [(r"(?<!\s)", "")]),
    "sub: NUL": ("subjects", [(r"[^\x00-\x1f\x7f", r"[^\x01-\x1f\x7f")]),
    "sub: controls": ("subjects", [(r"[^\x00-\x1f\x7f", r"[^\x00\x7f")]),
    "sub: delete and C1": ("subjects", [(r"\x7f-\x9f", "")]),
    "sub: surrogates": ("subjects", [(" or has_surrogate(subject)", "")]),
    "sub: empty": ("subjects", [("{1,255}", "{0,255}")]),
    "sub: too long": ("subjects", [("{1,255}", "{1,256}")]),
    "sub: as long as allowed": ("subjects", [("{1,255}", "{1,254}")]),
    "profile: NUL": ("good", [(r' and "\0" not in claim', "")]),
    "profile: surrogates": (
        "good",
        [('claim.encode(errors="ignore").decode() == claim', "True")],
    ),
    "profile: empty": (
        "good",
        [("isinstance(claim, str) and claim and", "isinstance(claim, str) and")],
    ),
    "profile: a text": ("good", [("isinstance(claim, str) and claim and", "claim and")]),
    "verified means true": (
        "good",
        [('claims.get("emailVerified") is True', 'bool(claims.get("emailVerified"))')],
    ),
    "expiry in the message": (
        "expiries",
        [("isinstance(error, jwt.ExpiredSignatureError)", "False")],
    ),
    "errors of PyJWT": ("signatures", [("    jwt.PyJWTError,\n", "")]),
    "ValueError": ("leaks", [("    ValueError,\n", "")]),
    "TypeError": ("leaks", [("    TypeError,\n", "")]),
    "LookupError": ("leaks", [("    LookupError,\n", "")]),
    "ArithmeticError": ("leaks", [("    ArithmeticError,\n", "")]),
    "RecursionError": ("leaks", [("    RecursionError,\n", "")]),
    "previous secret": (
        "rotation",
        [("verifier_for(settings).shared_keys", "verifier_for(settings).shared_keys[:1]")],
    ),
    "next secret after a bad signature": (
        "rotation",
        [("except jwt.InvalidSignatureError:", "except ZeroDivisionError:")],
    ),
}
SIGNATURES: dict[str, tuple[str, list[Change]]] = {
    "remembered at all": (
        "a_signature_is_verified_once",
        [("            self._remember(digest, verified)\n", "")],
    ),
    "header": (
        "a_remembered_token_is_not_decoded_again",
        [("if verified else super().get", "if False else super().get")],
    ),
    "claims parsed once": (
        "a_remembered_token_is_not_decoded_again",
        [("            verified.payload = super()", "            return super()")],
    ),
    "digest of the signature": (
        "every_character_of_the_token_counts",
        [("sha256(token.encode() if", "sha256(token.rpartition('.')[0].encode() if")],
    ),
    "digest of the payload": (
        "every_character_of_the_token_counts",
        [("sha256(token.encode() if", "sha256(token.rpartition('.')[2].encode() if")],
    ),
    "digest of the header": (
        "every_character_of_the_token_counts",
        [("sha256(token.encode() if", "sha256(token.partition('.')[2].encode() if")],
    ),
    "signature": (
        "failures_are_not_remembered",
        [("(jwt, *arguments, **kwargs)", '(jwt, *arguments[:2], {"verify_signature": False})')],
    ),
    "key": ("a_key_leaves_the_set", [NOT_COMPARED[0]]),
    "key, of equal arguments": ("all_arguments_count", [NOT_COMPARED[0]]),
    "algorithms": ("all_arguments_count", [NOT_COMPARED[1]]),
    "options": ("all_arguments_count", [NOT_COMPARED[2]]),
    "detached payload": ("all_arguments_count", [NOT_COMPARED[3]]),
    "claims": (
        "times_are_checked_on_every_request",
        [("        return dict(verified.payload)", CLAIMS_ONCE)],
    ),
    "claims and settings": (
        "other_settings_are_checked_at_once",
        [
            ("        return dict(verified.payload)", CLAIMS_ONCE),
            (" or _verifier.settings is not settings", ""),
        ],
    ),
    "claims at both endpoints": (
        "a_remembered_signature_says_nothing_about_claims",
        [("        return dict(verified.payload)", CLAIMS_ONCE)],
    ),
    "settings": (
        "other_settings_empty_the_memory",
        [(" or _verifier.settings is not settings", "")],
    ),
    "settings by value": (
        "other_settings_empty_the_memory",
        [("_verifier.settings is not settings", "_verifier.settings != settings")],
    ),
    "rotation": ("a_secret_is_rotated", [(" or _verifier.settings is not settings", "")]),
    "header is a copy": (
        "a_result_can_be_changed_by_its_caller",
        [('"header": dict(verified.header)', '"header": verified.header')],
    ),
    "unverified header is a copy": (
        "a_result_can_be_changed_by_its_caller",
        [("return dict(verified.header) if", "return verified.header if")],
    ),
    "claims are a copy": (
        "a_result_can_be_changed_by_its_caller",
        [("return dict(verified.payload)", "return verified.payload")],
    ),
    "number": ("the_memory_is_bounded", [("len(self._verified) > MAX_TOKENS or ", "")]),
    "number, one more": ("the_memory_is_bounded", [("MAX_TOKENS = 1000", "MAX_TOKENS = 1001")]),
    "length": ("the_memory_is_bounded", [(" or self._length > MAX_LENGTH", "")]),
    "length of dropped tokens": (
        "the_memory_is_bounded",
        [("            self._length -= oldest.length\n", "")],
    ),
    "length of replaced tokens": (
        "a_token_is_counted_once",
        [("            self._length -= replaced.length\n", "            pass\n")],
    ),
    "least recently used": (
        "the_memory_is_bounded",
        [("            self._verified.move_to_end(digest)\n", "            pass\n")],
    ),
    "first in, first out": ("the_memory_is_bounded", [("popitem(last=False)", "popitem()")]),
    "snapshot": ("nothing_remains_before_a_snapshot", [("\n    _verifier = None\n", "\n")]),
    "no signature": (
        "no_token_is_kept",
        [('decoded["payload"], len(jwt))', 'decoded["payload"], jwt)')],
    ),
}
MCP_ACCESS: dict[str, tuple[str, list[Change]]] = {
    "access tokens at all": (
        "access tokens",
        [("    if not (_accepts", "    if True or not (_accepts")],
    ),
    "session tokens at all": (
        "mcp good",
        [("    if not (_accepts_access_tokens(settings) and ", "    if not (True or ")],
    ),
    "only where configured": (
        "mcp oauth tokens, EdDSA",
        [("(_accepts_access_tokens(settings) and _is", "(settings.JWT_ALGORITHM and _is")],
    ),
    "not with a shared secret": (
        "access tokens, HS256",
        [("(_accepts_access_tokens(settings) and _is", "(settings.MCP_RESOURCE and _is")],
    ),
    "metadata, not with a shared secret": (
        "metadata_is_offered_where_access_tokens_are_accepted",
        [(' and settings.JWT_ALGORITHM != "HS256"', "")],
    ),
    "metadata where configured": (
        "metadata_is_offered_where_access_tokens_are_accepted",
        [("return settings.MCP_AUTHORIZATION_SERVER is not None and", "return")],
    ),
    "typ at+jwt": (
        "access tokens",
        [('("at+jwt", "application/at+jwt")', '("application/at+jwt",)')],
    ),
    "typ application/at+jwt": ("access tokens", [(', "application/at+jwt")', ",)")]),
    "typ without case": ("access tokens", [("typ.lower() in", "typ in")]),
    "typ a text": ("access types", [("isinstance(typ, str) and ", "")]),
    "typ exactly": (
        "access types",
        [('typ.lower() in ("at+jwt", "application/at+jwt")', '"at+jwt" in typ.lower()')],
    ),
    "typ by the claims": (
        "access types",
        [("return isinstance(typ, str) and", "return typ is None or isinstance(typ, str) and")],
    ),
    "issuer": ("access issuers", [("issuer=settings.MCP_AUTHORIZATION_SERVER", "issuer=None")]),
    "issuer of session tokens": (
        "access issuers",
        [("issuer=settings.MCP_AUTHORIZATION_SERVER", "issuer=settings.JWT_ISSUER")],
    ),
    "audience": ("access audiences", [("audience=settings.MCP_RESOURCE", "audience=None")]),
    "audience of session tokens": (
        "access audiences",
        [("audience=settings.MCP_RESOURCE", "audience=settings.JWT_AUDIENCE")],
    ),
    "audience or issuer": (
        "access audiences",
        [
            (
                "audience=settings.MCP_RESOURCE",
                "audience=[settings.MCP_RESOURCE, settings.MCP_AUTHORIZATION_SERVER]",
            )
        ],
    ),
    "exp there": ("access missing claims", [('("exp", "iat", "sub")', '("iat", "sub")')]),
    "iat there": ("access other times", [('("exp", "iat", "sub")', '("exp", "sub")')]),
    "sub there": ("access missing claims", [('("exp", "iat", "sub")', '("exp", "iat")')]),
    "clients at all": (
        "access subjects",
        [('claims.get("client_id"), claims.get("azp")', "")],
    ),
    "client_id": ("access subjects", [('claims.get("client_id"), claims', "claims")]),
    "azp": ("access subjects", [(', claims.get("azp"))', ",)")]),
    **{
        f"claim {name}": (
            "access conditions" if name in CONDITIONS else "access id tokens",
            [(f'"{name}"', f'"not_{name}"')],
        )
        for name in UNSUPPORTED_CLAIMS
    },
    "null counts as a claim": (
        "access conditions",
        [("        if name in claims:", "        if claims.get(name):")],
    ),
    "claims with conditions at all": (
        "access conditions",
        [("        _require_user_without_conditions(claims)\n", "")],
    ),
    "scope a text": ("access scopes", [("if not isinstance(scope, str):", "if False:")]),
    "no scope is no scope": (
        "access scopes",
        [('claims.get("scope", "")', 'claims.get("scope", " ".join(SCOPES))')],
    ),
    "scp is no scope": (
        "access scopes",
        [('claims.get("scope", "")', 'claims.get("scope", str(claims.get("scp", "")))')],
    ),
    "scopes that exist": ("access scopes", [("frozenset(SCOPES).intersection(", "frozenset(")]),
    "scopes between blanks": ("access scopes", [('scope.split(" ")', "scope.split()")]),
    "scopes as words": (
        "access scopes",
        [
            (
                'frozenset(SCOPES).intersection(scope.split(" "))',
                "frozenset(each for each in SCOPES if each in scope)",
            )
        ],
    ),
    "scopes exactly": ("access scopes", [("scope.split", "scope.lower().split")]),
    "expiry in the message": (
        "access expiries",
        [("raise refusal(error, token, settings)", "raise refusal(ValueError(), token, settings)")],
    ),
    "errors of PyJWT": ("access signatures", [("except TOKEN_ERRORS as", "except ValueError as")]),
    "several headers": (
        "several_headers_are_refused",
        [('",".join(authorization_headers)', "authorization_headers[0]")],
    ),
    "last header": (
        "several_headers_are_refused",
        [('",".join(authorization_headers)', "authorization_headers[-1]")],
    ),
    "metadata in the challenge": (
        "access signatures",
        [("as error:\n        _add_metadata(error, settings)\n", "as error:\n")],
    ),
    "separator of a challenge": (
        "access signatures",
        [('" " if challenge == "Bearer" else ", "', '" "')],
    ),
    "separator of a challenge without an error": (
        "access schemes",
        [('" " if challenge == "Bearer" else ", "', '", "')],
    ),
    "scope required": (
        "scopes_are_required",
        [("access.scopes is not None and scope not in access.scopes", "False")],
    ),
    "scope required of access tokens only": (
        "scopes_are_required",
        [
            (
                "access.scopes is not None and scope not in access.scopes",
                "scope not in (access.scopes or ())",
            )
        ],
    ),
    "no scopes are not all scopes": (
        "scopes_are_required",
        [("access.scopes is not None and", "access.scopes and")],
    ),
    "metadata in the challenge of a scope": (
        "scopes_are_required",
        [("        _add_metadata(error, load_settings())\n", "")],
    ),
    "each endpoint for itself": (
        "a_remembered_signature_says_nothing_about_claims",
        [("issuer=settings.MCP_AUTHORIZATION_SERVER", "issuer=None")],
    ),
    "each endpoint for itself, audience": (
        "a_remembered_signature_says_nothing_about_claims",
        [("audience=settings.MCP_RESOURCE", "audience=None")],
    ),
    "settings, again": (
        "other_settings_of_mcp_are_checked_at_once",
        [("audience=settings.MCP_RESOURCE", "audience=None")],
    ),
    "lifetime": (
        "access lifetimes",
        [
            (
                "McpAccess(user_of(claims, settings)",
                "McpAccess(user_of(claims, settings.model_copy(update={'JWT_MAX_LIFETIME': None}))",
            )
        ],
    ),
}
KEY_SET: dict[str, tuple[str, list[Change]]] = {
    "entry: an object": ("odd entries, EdDSA", [("isinstance(entry, dict)\n", "True\n")]),
    "entry: type and curve": (
        "odd entries, EdDSA",
        [("and KEY_TYPES[algorithm].items() <= entry.items()\n", "\n")],
    ),
    "entry: kid a text": (
        "odd entries, EdDSA",
        [('and isinstance(entry.get("kid", ""), str)\n', "\n")],
    ),
    "entry: alg": (
        "odd entries, ES256",
        [('and entry.get("alg", algorithm) == algorithm\n', "\n")],
    ),
    "entry: no alg": ("odd entries, RS256", [('"alg", algorithm) ==', '"alg") ==')]),
    "entry: use": ("odd entries, RS256", [('and entry.get("use", "sig") == "sig"\n', "\n")]),
    "entry: no use": ("odd entries, EdDSA", [('"use", "sig") ==', '"use") ==')]),
    "entry: private": ("odd entries, ES256", [('and "d" not in entry', "")]),
    "entry: no kid beside others": (
        "odd entries, ES256",
        [('[entry for entry in candidates if "kid" in entry]', "candidates")],
    ),
    "one malformed entry": (
        "odd entries, EdDSA",
        [("            continue\n", "            raise\n")],
    ),
    "several keys without kid": (
        "keys_that_no_token_can_choose_are_unusable",
        [("    if len(candidates) > 1:\n", "    if False:\n")],
    ),
    "no candidate": (
        "an_empty_set_does_not_replace_the_keys",
        [
            ("    if not candidates:\n", "    if False:\n"),
            ("    if not keys:\n", "    if False:\n"),
        ],
    ),
    "no usable key": (
        "malformed_keys_do_not_replace_the_keys",
        [("    if not keys:\n", "    if False:\n")],
    ),
}
JWKS: dict[str, tuple[str, list[Change]]] = {
    "algorithm before keys": (
        "algorithms, EdDSA",
        [('if header.get("alg") != settings.JWT_ALGORITHM:', "if False:")],
    ),
    "only status 200": (
        "only_status_200_brings_a_key_set",
        [("if response.status != 200:", "if False:")],
    ),
    "size of the set": (
        "a_key_set_has_a_maximum_size",
        [("max_bytes=MAX_BYTES, ", "")],
    ),
    "bundle of the set": (
        "the_configured_bundle_verifies_the_key_server",
        [("ca_bundle=ca_bundle", "ca_bundle=None")],
    ),
    "the only key without kid": (
        "a_single_key_without_kid_verifies_every_token",
        [(" or self._keys.get(None)", "")],
    ),
    "refresh": (
        "old_keys_are_refreshed_in_the_background",
        [("REFRESH_AFTER = 600.0", "REFRESH_AFTER = 6e9")],
    ),
    "not too often": ("a_known_kid_never_waits", [("REFRESH_AFTER = 600.0", "REFRESH_AFTER = 60")]),
    "no request waits for a refresh": (
        "a_known_kid_never_waits",
        [
            (
                "                self._start_refresh()\n",
                "                await asyncio.wrap_future(self._start_refresh())\n",
            )
        ],
    ),
    "stale keys are discarded": (
        "stale_keys_are_discarded_after_a_day",
        [("DISCARD_AFTER = 24 * 3600.0", "DISCARD_AFTER = 6e9")],
    ),
    "stale keys stay in use": (
        "stale_keys_are_discarded_after_a_day",
        [("DISCARD_AFTER = 24 * 3600.0", "DISCARD_AFTER = 3600.0")],
    ),
    "cooldown": (
        "a_flood_of_unknown_kids_is_one_fetch_per_cooldown",
        [("COOLDOWN = 10.0", "COOLDOWN = 0.0")],
    ),
    "cooldown ends": (
        "a_new_kid_is_found_after_the_cooldown",
        [("COOLDOWN = 10.0", "COOLDOWN = 11.0")],
    ),
    "cooldown after a failure": (
        "a_cold_outage_is_not_a_refusal",
        [("COOLDOWN_AFTER_FAILURE = 5.0", "COOLDOWN_AFTER_FAILURE = 0.0")],
    ),
    "Retry-After is true": (
        "a_cold_outage_is_not_a_refusal",
        [("COOLDOWN_AFTER_FAILURE = 5.0", "COOLDOWN_AFTER_FAILURE = 10.0")],
    ),
    "attempts count": (
        "an_outage_counts_attempts_and_keeps_known_keys",
        [
            (
                "time.time() - self._attempted_at >= cooldown",
                "time.time() - self._fetched_at >= cooldown",
            )
        ],
    ),
    "one fetch at a time": (
        "a_hanging_source_delays_no_second_request",
        [("if self._refresh.done() and ", "if ")],
    ),
    "longest wait": (
        "a_hanging_source_delays_no_second_request",
        [("MAX_WAIT = 1.5", "MAX_WAIT = 2.5")],
    ),
    "the wait counts from the start of the fetch": (
        "a_hanging_source_delays_no_second_request",
        [("timeout=self._attempted_at + self._max_wait - time.time()", "timeout=self._max_wait")],
    ),
    "wait of Lambda": (
        "a_slow_key_server_is_waited_for_on_lambda",
        [("LAMBDA_TIMEOUT if on_lambda else MAX_WAIT", "MAX_WAIT")],
    ),
    "fetch behind the request": (
        "a_slow_key_server_is_waited_for_behind_requests",
        [("FETCH_TIMEOUT = 10.0", "FETCH_TIMEOUT = 1.5")],
    ),
    "a thread": (
        "a_hanging_source_delays_no_second_request",
        [
            (
                "Thread(target=self._run_refresh, args=[refresh], daemon=True).start()",
                "self._run_refresh(refresh)",
            )
        ],
    ),
    "a daemon": ("a_hanging_source_delays_no_second_request", [("daemon=True", "daemon=False")]),
    "a new key under an old kid": (
        "a_new_key_under_an_old_kid_is_found_by_one_fetch",
        [("key is not None and key is not instead_of", "key is not None")],
    ),
    "no key instead of a key": (
        "a_removed_key_is_gone_after_a_refresh",
        [("key is not None and key is not instead_of", "key is not instead_of")],
    ),
    "unknown is not unavailable": (
        "a_flood_of_unknown_kids_is_one_fetch_per_cooldown",
        [("raise UnknownKey if self._fetched_at == self._attempted_at else", "raise")],
    ),
    "unavailable is not unknown": (
        "a_cold_outage_is_not_a_refusal",
        [("self._fetched_at == self._attempted_at else", "True else")],
    ),
    "a failed fetch is survived": (
        "an_outage_counts_attempts_and_keeps_known_keys",
        [
            (
                "except Exception as error:  # noqa: BLE001 - the",
                "except ValueError as error:  #",
            )
        ],
    ),
}
CLIENT: dict[str, tuple[str, list[Change]]] = {
    "size": ("a_body_has_a_maximum_size", [("if len(body) > max_bytes:", "if False:")]),
    "size while reading": ("a_body_has_a_maximum_size", [("read(max_bytes + 1)", "read()")]),
    "deadline": (
        "a_response_has_a_deadline",
        [("results.get(timeout=timeout)", "results.get(timeout=30)")],
    ),
    "deadline of name servers": (
        "a_name_server_has_a_deadline",
        [("results.get(timeout=timeout)", "results.get(timeout=30)")],
    ),
    "a daemon": ("a_name_server_has_a_deadline", [("daemon=True", "daemon=False")]),
    "the thread ends": (
        "a_response_has_a_deadline",
        [("opened.shutdown(socket.SHUT_RDWR)", "pass")],
    ),
    "abandoned requests": (
        "an_abandoned_request_is_not_sent",
        [("if abandoned.is_set():", "if False:")],
    ),
    "a new connection after a failure": (
        "a_kept_connection_serves_again_after_a_failure",
        [("            self.close()\n\n        Thread", "\n        Thread")],
    ),
    "certificate": (
        "certificates_are_verified",
        [
            (
                "ssl.create_default_context(cafile=ca_bundle or certifi.where())",
                "ssl._create_unverified_context()",
            )
        ],
    ),
    "given bundle": (
        "certificates_are_verified",
        [("cafile=ca_bundle or certifi", "cafile=certifi")],
    ),
    "unreadable bundle": (
        "certificates_are_verified",
        [("    except OSError as", "    except KeyError as")],
    ),
    "IPv6 without a port": (
        "default_ports_are_used",
        [("HTTPSConnection(parts.netloc, context", "HTTPSConnection(parts.hostname, context")],
    ),
    "query": (
        "every_form_of_a_url_works",
        [('f"{parts.path}?{parts.query}" if parts.query else parts.path', "parts.path")],
    ),
    "User-Agent": (
        "every_form_of_a_url_works",
        [(', "User-Agent": "serverless-task-api"', "")],
    ),
}
MUTATIONS = {
    f"{module}: {name}": (module, *mutation)
    for module, mutations in {
        "tokens": TOKENS,
        "signatures": SIGNATURES,
        "mcp_access": MCP_ACCESS,
        "key_set": KEY_SET,
        "jwks": JWKS,
        "client": CLIENT,
    }.items()
    for name, mutation in mutations.items()
}


# The kinds of access tokens, and those of session tokens at the MCP endpoint.
ACCESS_TESTS = {*ACCESS_KINDS, *(f"access {kind}" for kind in INHERITED)}
SESSION_TESTS = {f"mcp {kind}" for kind in KINDS}


def load(
    monkeypatch: pytest.MonkeyPatch, module: str, changes: list[Change]
) -> dict[str, ModuleType]:
    """Load the modules, one of them changed, in place of the real ones."""
    loaded = {}
    for name, qualified in MODULES.items():
        path = LIB.joinpath(*qualified.split(".")).with_suffix(".py")
        source = path.read_text()
        for old, new in changes if name == module else []:
            assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {path}"
            source = source.replace(old, new)
        loaded[name] = ModuleType(f"lib.{qualified}")
        monkeypatch.setitem(sys.modules, f"lib.{qualified}", loaded[name])
        exec(_compile(source, path), loaded[name].__dict__)  # noqa: S102
    return loaded


@cache
def _compile(source: str, path: Path) -> CodeType:
    return compile(source, path, "exec")


def failures(modules: dict[str, ModuleType], test: str, folder: Path) -> Iterator[str]:
    """The failures of this test with these modules."""
    try:
        yield from _failures(modules, test, folder)
    except Exception as error:  # noqa: BLE001 - a mutant may fail in any way
        yield f"{test}: {type(error).__name__} {str(error).partition('\n')[0]}"


def _failures(modules: dict[str, ModuleType], test: str, folder: Path) -> Iterator[str]:
    kind, _, algorithm = test.partition(", ")
    if kind in ACCESS_TESTS or kind in SESSION_TESTS:
        verify = at_mcp(modules["mcp_access"])
        cases = access_table if kind in ACCESS_TESTS else session_table
        kinds = [kind.removeprefix("mcp ")]
        for result in run_table(verify, algorithm or "EdDSA", kinds=kinds, cases=cases):
            if result.fault:
                yield str(result)
    elif kind in KINDS:
        algorithms = [algorithm] if algorithm else ["HS256"]
        for result in run_table(modules["tokens"].authenticate, *algorithms, kinds=[kind]):
            if result.fault:
                yield str(result)
    elif kind == "leaks":
        yield from leaks(modules["tokens"].authenticate)
    else:
        scenarios = [scenario for scenario in SCENARIOS if scenario.__name__ == test]
        checks = [check for check in CHECKS if check.__name__ == test]
        served = [check for check in FETCHES if check.__name__ == test]
        remembered = [check for check in (*REMEMBERED, *MCP_CHECKS) if check.__name__ == test]
        assert len(scenarios) + len(checks) + len(served) + len(remembered) == 1, test
        for check in remembered:
            run_check(check, modules)
        for scenario in scenarios:
            play(scenario, modules["jwks"])
        for check in checks:
            check(modules["client"], folder)
        for check in served:
            check(modules["jwks"], folder)


# A mutant may leave a socket open. The unchanged code may not: the next test runs it without this.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_removed_check_is_noticed(
    mutation: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, test, changes = MUTATIONS[mutation]
    gc.freeze()
    try:
        assert next(failures(load(monkeypatch, module, changes), test, tmp_path), None)
        gc.collect()  # so that the warning about it does not reach a later test
    finally:
        gc.unfreeze()


def test_nothing_fails_without_a_mutation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    modules = load(monkeypatch, "tokens", [])
    tests = {test for _, test, _ in MUTATIONS.values()}
    assert [each for test in tests for each in failures(modules, test, tmp_path)] == []


def test_a_mutation_that_does_not_apply_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="occurs 0 times"):
        load(monkeypatch, "tokens", [("absent text", "")])
    with pytest.raises(AssertionError, match=r"occurs \d+ times"):
        load(monkeypatch, "tokens", [("return", "")])
