"""What the real Better Auth 1.7.25 issued, kept as files: its access tokens open the API that is
configured for them and no other, and nothing else that it signs opens any.

Made on a laboratory server for these tests: the secret protects nothing, the keys are public.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import time_machine

from lib.auth.tokens import authenticate
from lib.errors import KeysUnavailable, Unauthenticated
from lib.settings import Settings, read_settings

MOMENT = "2026-11-22T20:00:00Z"  # after each was made; one has expired four minutes before
FILES = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parent / "better_auth_tokens").glob("*.json"))
}
ACCESS_TOKENS = {
    "hs256-jwtsign",
    "hs256-jose-route",
    "jwks-eddsa",
    "jwks-eddsa-min",
    "jwks-es256",
    "jwks-rs256",
}
# Of algorithms that the API does not have, so the settings of the nearest one are used.
NEAREST = {"ES512": "ES256", "PS256": "RS256"}
OTHERS = set(FILES) - ACCESS_TOKENS


def settings_for(name: str, **variables: str) -> Settings:
    """The settings of an API whose frontend issued this file's token."""
    issued = FILES[name]
    if "jwks" not in issued:
        return read_settings({"BETTER_AUTH_SECRET": issued["secret"], **variables})
    algorithm = issued["header"]["alg"]
    keys = {
        "JWT_ALGORITHM": NEAREST.get(algorithm, algorithm),
        "JWKS": json.dumps(issued["jwks"]),
    }
    return read_settings({**keys, **variables})


def strict_settings_for(name: str) -> Settings:
    issued = FILES[name]
    default = "http://localhost:3000"
    issuer, audience = issued.get("issuer", default), issued.get("audience", default)
    return settings_for(name, JWT_ISSUER=issuer, JWT_AUDIENCE=audience)


def texts_of(name: str) -> dict[str, str]:
    """Everything in this file that somebody might send as a token."""
    fields = ("token", "token_other_user", "raw_token", "set_auth_token_header")
    return {field: FILES[name][field] for field in fields if field in FILES[name]}


def user_of(token: str, settings: Settings, moment: str | int = MOMENT) -> str | None:
    """The user that the token proves, or None where it is refused."""
    with time_machine.travel(moment, tick=False):
        try:
            return asyncio.run(authenticate(f"Bearer {token}", settings)).id
        except (Unauthenticated, KeysUnavailable):
            return None  # the second: of two algorithms that the API does not have


def test_the_files_are_those_of_the_fact_sheet() -> None:
    assert len(FILES) == 15
    assert set(FILES) > ACCESS_TOKENS


@pytest.mark.parametrize("name", sorted(ACCESS_TOKENS))
def test_an_access_token_names_its_user(name: str) -> None:
    issued: dict[str, Any] = FILES[name]
    users = [issued["user_id"], *([issued["other_user_id"]] if "other_user_id" in issued else [])]
    tokens = [text for field, text in texts_of(name).items() if field.startswith("token")]
    assert [user_of(token, settings_for(name)) for token in tokens] == users
    # The way of the tutorials leaves issuer and audience out: only an API without them takes it.
    refused = name == "hs256-jose-route"
    expected = [None] * len(users) if refused else users
    assert [user_of(token, strict_settings_for(name)) for token in tokens] == expected


@pytest.mark.parametrize("name", sorted(OTHERS))
@pytest.mark.parametrize("strict", [True, False])
def test_whatever_else_better_auth_signs_opens_nothing(name: str, strict: bool) -> None:
    settings = strict_settings_for(name) if strict else settings_for(name)
    for field, token in texts_of(name).items():
        assert user_of(token, settings) is None, field


@pytest.mark.parametrize("name", FILES)
def test_no_token_opens_an_api_of_other_keys(name: str) -> None:
    """Every token at every API but those that share its key."""
    tried = 0
    for other in FILES:
        if key_of(other) != key_of(name):
            for token in texts_of(name).values():
                assert user_of(token, settings_for(other)) is None, other
                tried += 1
    assert tried > 5


def key_of(name: str) -> str:
    return json.dumps(FILES[name].get("jwks") or FILES[name]["secret"])


def test_a_default_token_is_dead_after_its_quarter_of_an_hour() -> None:
    issued = FILES["NEG-jwks-eddsa-expired"]
    settings = strict_settings_for("NEG-jwks-eddsa-expired")
    assert issued["claims"]["exp"] - issued["claims"]["iat"] == 900
    for after, user in ((0, issued["user_id"]), (929, issued["user_id"]), (930, None)):
        moment = issued["claims"]["iat"] + after
        assert user_of(issued["token"], settings, moment) == user, after
