"""The tokens that the real Better Auth issues, verified with PyJWT alone."""

from collections.abc import Iterator

import httpx2
import jwt
import pytest

from tests.integrations.better_auth.fixtures import NewDatabase, NewLog
from tests.integrations.better_auth.servers import AUDIENCE, SECRET, BetterAuth, Person, better_auth

HS256_HEADER = {"alg": "HS256", "typ": "JWT"}
SHORT = {"email", "name", "iat", "exp", "iss", "aud", "sub"}
ALL_OF_USER = SHORT | {"id", "emailVerified", "image", "createdAt", "updatedAt"}


@pytest.fixture(
    scope="module",
    params=["hs256-hook", "hs256-route", "eddsa", "eddsa-plain", "es256", "rs256"],
)
def auth(
    request: pytest.FixtureRequest, new_database: NewDatabase, logs: NewLog
) -> Iterator[BetterAuth]:
    with better_auth(request.param, new_database().admin, logs(request.param)) as running:
        yield running


@pytest.fixture(scope="module")
def alice(auth: BetterAuth) -> Person:
    return auth.sign_up("alice@example.com")


def key_of(auth: BetterAuth, token: str) -> jwt.PyJWK | str:
    if auth.algorithm == "HS256":
        return SECRET
    keys = jwt.PyJWKSet.from_dict(httpx2.get(auth.jwks_url).raise_for_status().json())
    return keys[jwt.get_unverified_header(token)["kid"]]


def verified(auth: BetterAuth, token: str) -> dict:
    return jwt.decode(
        token,
        key_of(auth, token),
        algorithms=[auth.algorithm],
        issuer=auth.url,
        audience=auth.audience,
        options={"require": ["exp", "sub", "iss", "aud"]},
    )


def test_token_verifies_and_names_its_user(auth: BetterAuth, alice: Person) -> None:
    claims = verified(auth, alice.token())
    assert claims["sub"] == alice.id
    assert claims["exp"] - claims["iat"] == 900
    assert set(claims) == (ALL_OF_USER if auth.way == "eddsa-plain" else SHORT)


def test_header_has_the_known_shape(auth: BetterAuth, alice: Person) -> None:
    header = jwt.get_unverified_header(alice.token())
    if auth.algorithm == "HS256":
        assert header == HS256_HEADER
    else:
        assert header == {"alg": auth.algorithm, "kid": header["kid"]}


def test_audience_is_the_api_or_by_default_better_auth(auth: BetterAuth, alice: Person) -> None:
    claims = verified(auth, alice.token())
    assert claims["aud"] == (auth.url if auth.way == "eddsa-plain" else AUDIENCE)


def test_without_a_session_there_is_no_token(auth: BetterAuth) -> None:
    assert auth.browser().get(auth.token_path).status_code == 401


def test_key_set_is_public_only_where_keys_are_asymmetric(auth: BetterAuth, alice: Person) -> None:
    alice.token()
    response = httpx2.get(auth.jwks_url)
    if auth.algorithm == "HS256":
        assert response.status_code == 404
        return
    (key,) = response.json()["keys"]
    assert key["alg"] == auth.algorithm
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(key)


def test_clock_of_the_fixture_sets_the_times_of_tokens(auth: BetterAuth, alice: Person) -> None:
    auth.set_clock(-3600)
    try:
        token = alice.token()
    finally:
        auth.set_clock(0)
    with pytest.raises(jwt.ExpiredSignatureError):
        verified(auth, token)
