"""The API accepts the session tokens of Better Auth, and no other token that it signs.

Better Auth 1.7.25 issued the tokens, which are recorded in files. Each session token is accepted
only by the API that is configured for it. The secret protects nothing: the server was set up for
these tests.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import time_machine

from lib.auth.tokens import authenticate
from lib.errors import Unauthenticated
from lib.settings import Settings, SettingsError, read_settings
from tests.security.auth.keys import jwk, key_set, private_key

RECORDED_AT = "2026-11-22T20:00:00Z"  # after all were issued; one expired four minutes before
FILES = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parent / "better_auth_tokens").glob("*.json"))
}
SESSION_TOKENS = {
    "hs256-jwtsign",
    "hs256-jose-route",
    "jwks-eddsa",
    "jwks-eddsa-min",
    "jwks-es256",
    "jwks-rs256",
}
# Algorithms that the API does not support: settings of the nearest one are used, with a key of it.
NEAREST = {"ES512": "ES256", "PS256": "RS256"}
OTHERS = set(FILES) - SESSION_TOKENS


def settings_for(name: str, **variables: str) -> Settings:
    """The settings of an API whose frontend issued the token of this file."""
    issued = FILES[name]
    if "jwks" not in issued:
        return read_settings({"BETTER_AUTH_SECRET": issued["secret"], **variables})
    algorithm = issued["header"]["alg"]
    entries = issued["jwks"]["keys"]
    if nearest := NEAREST.get(algorithm):
        entries = [*entries, jwk(private_key(nearest, "other"), "other")]
    keys = {"JWT_ALGORITHM": nearest or algorithm, "JWKS": key_set(*entries)}
    return read_settings({**keys, **variables})


def strict_settings_for(name: str) -> Settings:
    issued = FILES[name]
    default = "http://localhost:3000"
    issuer, audience = issued.get("issuer", default), issued.get("audience", default)
    return settings_for(name, JWT_ISSUER=issuer, JWT_AUDIENCE=audience)


def texts_of(name: str) -> dict[str, str]:
    """Every value of this file that might be sent as a token."""
    fields = ("token", "token_other_user", "raw_token", "set_auth_token_header")
    return {field: FILES[name][field] for field in fields if field in FILES[name]}


def user_of(token: str, settings: Settings, at: str | int = RECORDED_AT) -> str | None:
    """The user of the token, or None where it is refused."""
    with time_machine.travel(at, tick=False):
        try:
            return asyncio.run(authenticate(f"Bearer {token}", settings)).id
        except Unauthenticated:
            return None


def test_every_file_is_read() -> None:
    assert len(FILES) == 15
    assert set(FILES) > SESSION_TOKENS


@pytest.mark.parametrize("name", sorted(SESSION_TOKENS))
def test_a_session_token_is_accepted(name: str) -> None:
    issued: dict[str, Any] = FILES[name]
    users = [issued["user_id"], *([issued["other_user_id"]] if "other_user_id" in issued else [])]
    tokens = [text for field, text in texts_of(name).items() if field.startswith("token")]
    assert [user_of(token, settings_for(name)) for token in tokens] == users
    # Tutorials leave issuer and audience out: only an API without them accepts such tokens.
    refused = name == "hs256-jose-route"
    expected = [None] * len(users) if refused else users
    assert [user_of(token, strict_settings_for(name)) for token in tokens] == expected


@pytest.mark.parametrize("name", sorted(OTHERS))
@pytest.mark.parametrize("strict", [True, False])
def test_whatever_else_better_auth_signs_is_refused(name: str, strict: bool) -> None:
    settings = strict_settings_for(name) if strict else settings_for(name)
    for field, token in texts_of(name).items():
        assert user_of(token, settings) is None, field


@pytest.mark.parametrize("name", FILES)
def test_no_token_is_accepted_with_other_keys(name: str) -> None:
    """Every token at every API that does not share its key."""
    tried = 0
    for other in FILES:
        if key_of(other) != key_of(name):
            for token in texts_of(name).values():
                assert user_of(token, settings_for(other)) is None, other
                tried += 1
    assert tried > 5


def key_of(name: str) -> str:
    return json.dumps(FILES[name].get("jwks") or FILES[name]["secret"])


@pytest.mark.parametrize("name", ["jwks-es512", "jwks-ps256"])
def test_a_key_set_of_an_unsupported_algorithm_stops_the_start(name: str) -> None:
    algorithm = NEAREST[FILES[name]["header"]["alg"]]
    keys = {"JWT_ALGORITHM": algorithm, "JWKS": json.dumps(FILES[name]["jwks"])}
    with pytest.raises(
        SettingsError, match=f"^JWKS is unusable, .* have the issuer sign {algorithm}.$"
    ):
        read_settings(keys)


def test_a_default_token_expires_after_a_quarter_of_an_hour() -> None:
    issued = FILES["NEG-jwks-eddsa-expired"]
    settings = strict_settings_for("NEG-jwks-eddsa-expired")
    assert issued["claims"]["exp"] - issued["claims"]["iat"] == 900
    for after, user in ((0, issued["user_id"]), (929, issued["user_id"]), (930, None)):
        at = issued["claims"]["iat"] + after
        assert user_of(issued["token"], settings, at) == user, after
