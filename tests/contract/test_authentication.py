"""Which tokens are accepted, and what clients without a valid token receive."""

import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import jwt
import pytest

from tests.contract.responses import assert_error
from tests.contract.users import User, claims_of, mint, segment

type Forge = Callable[[User, str], str]

ROUTES = {
    "list": ("GET", "", None),
    "create": ("POST", "", {"title": "changed"}),
    "get": ("GET", "/{task}", None),
    "update": ("PUT", "/{task}", {"title": "changed"}),
    "delete": ("DELETE", "/{task}", None),
    "toggle": ("PATCH", "/{task}/complete", None),
    "set": ("PATCH", "/{task}/complete", {"completed": True}),
}
JSON = {"Content-Type": "application/json"}
BAD_BODIES = {
    "broken JSON": (b"{", JSON),
    "not an object": (b"[]", JSON),
    "no title": (b"{}", JSON),
    "blank title": (b'{"title": " "}', JSON),
    "NUL": (rb'{"title": "\u0000"}', JSON),
    "invalid UTF-8": (b'{"title": "\xff"}', JSON),
    "another type": (b"<task/>", {"Content-Type": "text/xml"}),
    "nothing": (b"", JSON),
}


def claimed(user: User, **changes: Any) -> dict[str, Any]:
    return {**claims_of(user.id), **changes}


def now() -> int:
    return int(time.time())


def signed(user: User, secret: str, **changes: Any) -> str:
    return mint(secret, **claimed(user, **changes))


def with_header(user: User, secret: str, **header: Any) -> str:
    """A token with these header fields, signed with the right secret."""
    return jwt.encode(claims_of(user.id), secret, algorithm="HS256", headers=header)


def unsigned(user: User, algorithm: object, signature: str = "") -> str:
    header = {"typ": "JWT", "alg": algorithm}
    return f"{segment(header)}.{segment(claims_of(user.id))}.{signature}"


def by_segments(secret: str, header: bytes, payload: bytes, digest: str = "sha256") -> str:
    """A token of any header and payload, with a valid HMAC."""
    text = f"{segment(header)}.{segment(payload)}"
    return f"{text}.{segment(hmac.digest(secret.encode(), text.encode(), digest))}"


def by_other_hash(user: User, secret: str, digest: str) -> str:
    """A token that is valid except for its algorithm, which is not the configured one."""
    header = json.dumps({"typ": "JWT", "alg": digest.replace("sha", "HS")})
    return by_segments(secret, header.encode(), json.dumps(claims_of(user.id)).encode(), digest)


def tampered(user: User, _: str) -> str:
    head, _, tail = user.token.split(".")
    return f"{head}.{segment(claimed(user, sub=user.id, role='admin'))}.{tail}"


REFUSED: dict[str, Forge] = {
    "wrong key": lambda user, _: signed(user, "another-secret-another-secret-another"),
    "key with a newline": lambda user, secret: signed(user, secret + "\n"),
    "alg none": lambda user, _: unsigned(user, "none"),
    "alg None": lambda user, _: unsigned(user, "None"),
    "alg NONE, signed": lambda user, _: unsigned(user, "NONE", "c2ln"),
    "alg empty": lambda user, _: unsigned(user, ""),
    "alg null": lambda user, _: unsigned(user, None),
    "alg a list": lambda user, _: unsigned(user, ["HS256"]),
    "alg a number": lambda user, _: unsigned(user, 256),
    "alg in lower case": lambda user, _: unsigned(user, "hs256", user.token.split(".")[2]),
    "HS384": lambda user, secret: by_other_hash(user, secret, "sha384"),
    "HS512": lambda user, secret: by_other_hash(user, secret, "sha512"),
    "no exp": lambda user, secret: signed(user, secret, exp=...),
    "no sub": lambda user, secret: signed(user, secret, sub=...),
    "no claims": lambda _, secret: mint(secret),
    "only the id claim": lambda user, secret: signed(user, secret, sub=..., id=user.id),
    "only the userId claim": lambda user, secret: signed(user, secret, sub=..., userId=user.id),
    "nbf ahead": lambda user, secret: signed(user, secret, nbf=now() + 600),
    "iat ahead": lambda user, secret: signed(user, secret, iat=now() + 600),
    "crit": lambda user, secret: with_header(user, secret, crit=["exp"]),
    "another typ": lambda user, secret: with_header(user, secret, typ="logout+jwt"),
    "OAuth typ": lambda user, secret: with_header(user, secret, typ="at+jwt"),
    "OAuth azp": lambda user, secret: signed(user, secret, azp="client"),
    "OAuth client_id": lambda user, secret: signed(user, secret, client_id="client"),
    "OAuth scope": lambda user, secret: signed(user, secret, scope="tasks:read"),
    "payload changed": tampered,
    "signature cut": lambda user, _: user.token[:-4],
    "signature empty": lambda user, _: user.token.rpartition(".")[0] + ".",
    "signature of zeros": lambda user, _: unsigned(user, "HS256", "A" * 43),
    "two parts": lambda user, _: user.token.rpartition(".")[0],
    "four parts": lambda user, _: user.token + ".e30",
    "five parts": lambda *_: ".".join(["e30"] * 5),
    "dots": lambda *_: "..",
    "opaque": lambda *_: "a1b2c3d4e5f6",
    "session cookie": lambda *_: "mXv0zQ8wq1hT3yJb5nRk7uLd2cFa9eGs.q83vEjRWeJA=",
    "quoted": lambda user, _: f'"{user.token}"',
    "percent-encoded": lambda user, _: user.token.replace(".", "%2E"),
    "standard alphabet": lambda user, _: user.token.rpartition(".")[0] + "." + "+/" * 21 + "A",
    "payload a list": lambda _, secret: by_segments(secret, b'{"alg":"HS256"}', b'["sub"]'),
    "payload a string": lambda _, secret: by_segments(secret, b'{"alg":"HS256"}', b'"sub"'),
    "payload not JSON": lambda _, secret: by_segments(secret, b'{"alg":"HS256"}', b"{"),
    "payload not UTF-8": lambda _, secret: by_segments(
        secret, b'{"alg":"HS256"}', b'{"sub":"\xff"}'
    ),
    "payload very deep": lambda _, secret: by_segments(secret, b'{"alg":"HS256"}', b"[" * 3000),
    "header a list": lambda _, secret: by_segments(secret, b'["alg"]', b"{}"),
    "header not JSON": lambda _, secret: by_segments(secret, b"alg", b"{}"),
    "header without alg": lambda _, secret: by_segments(secret, b"{}", b"{}"),
    "too long": lambda *_: "A" * 6000 + "." + "A" * 500 + "." + "A" * 43,
}
BAD_TIMES = {
    "null": None,
    "true": True,
    "word": "soon",
    "digits in a string": str(2**31),
    "list": [2**31],
    "object": {},
    "zero": 0,
    "negative": -1,
    "milliseconds": (2**31) * 1000,
    "astronomical": 10**30,
}
BAD_SUBJECTS = {
    "empty": "",
    "null": None,
    "number": 7,
    "true": True,
    "list": ["alice"],
    "object": {"id": "alice"},
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def assert_refused_token(response: httpx2.Response) -> dict[str, Any]:
    body = assert_error(response, 401)
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    return body


# Without a token


@pytest.mark.parametrize("route", ROUTES)
def test_without_a_token_every_route_is_401(user: User, route: str) -> None:
    task = user.create()
    method, path, body = ROUTES[route]
    response = user.client.request(method, user.url + path.format(task=task["id"]), json=body)
    assert_error(response, 401)
    assert "error=" not in response.headers["WWW-Authenticate"], "no token, no token error"
    assert user.list().json() == [task]


def test_head_without_a_token_is_401(user: User) -> None:
    response = user.client.head(user.url)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.content == b""


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic YWxpY2U6c2VjcmV0",
        "Token {token}",
        "JWT {token}",
        "{token}",
        "Bearer{token}",
        "Bearer:{token}",
        "Bearers {token}",
        "Bearer\t{token}",
        "Digest username=alice",
    ],
)
def test_a_missing_or_different_scheme_is_401(user: User, value: str) -> None:
    header = {"Authorization": value.format(token=user.token)}
    assert_error(user.client.get(user.url, headers=header), 401)


@pytest.mark.parametrize("value", ["Bearer", "Bearer {token} x", "Bearer {token},x"])
def test_a_bearer_header_without_exactly_one_token_is_refused(user: User, value: str) -> None:
    # RFC 6750 says 400 for a malformed request, the contract 401 for a token that fails any check.
    header = {"Authorization": value.format(token=user.token)}
    assert_error(user.client.get(user.url, headers=header), 400, 401)


def test_a_token_outside_the_authorization_header_is_ignored(user: User) -> None:
    for name in ("access_token", "token", "Authorization"):
        assert_error(user.client.get(user.url, params={name: user.token}), 401)
        cookie = {"Cookie": f"{name}={user.token}; better-auth.session_data={user.token}"}
        assert_error(user.client.get(user.url, headers=cookie), 401)


# Valid tokens


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_case_insensitive(user: User, scheme: str) -> None:
    response = user.client.get(user.url, headers={"Authorization": f"{scheme} {user.token}"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iat": ...},
        {"email": ..., "name": ...},
        {"aud": "todo-api"},
        {"aud": ["todo-api", "https://other.test"]},
        {"iss": "https://issuer.test"},
        {"iss": "https://issuer.test", "aud": "https://issuer.test"},
        {"role": "admin", "permissions": "all", "__proto__": {}},
        {"id": "somebody else", "userId": "somebody else"},
    ],
    ids=str,
)
def test_unchecked_claims_are_ignored(user: User, secret: str, changes: dict[str, Any]) -> None:
    # Issuer and audience are checked when configured; this suite runs without.
    token = signed(user, secret, **changes)
    assert user.client.get(user.url, headers=bearer(token)).status_code == 200


def test_a_clock_difference_of_some_seconds_is_accepted(user: User, secret: str) -> None:
    for changes in ({"iat": now() + 10}, {"nbf": now() + 10}, {"iat": now() + 5, "nbf": now() + 5}):
        token = signed(user, secret, **changes)
        assert user.client.get(user.url, headers=bearer(token)).status_code == 200


def test_a_fractional_expiry_is_accepted(user: User, secret: str) -> None:
    token = signed(user, secret, exp=time.time() + 300.5)
    assert user.client.get(user.url, headers=bearer(token)).status_code == 200


@pytest.mark.parametrize("header", [{"kid": "key-1"}, {"typ": None}, {"typ": "jwt"}], ids=str)
def test_harmless_token_headers_are_accepted(
    user: User, secret: str, header: dict[str, Any]
) -> None:
    token = with_header(user, secret, **header)
    assert user.client.get(user.url, headers=bearer(token)).status_code == 200


# Invalid tokens


@pytest.mark.parametrize("case", REFUSED)
def test_a_token_that_fails_any_check_is_401(user: User, secret: str, case: str) -> None:
    token = REFUSED[case](user, secret)
    assert_refused_token(user.client.get(user.url, headers=bearer(token)))


@pytest.mark.parametrize("ago", [120, 3600, 10**8])
def test_an_expired_token_is_401(user: User, secret: str, ago: int) -> None:
    token = signed(user, secret, iat=now() - ago - 300, exp=now() - ago)
    assert_refused_token(user.client.get(user.url, headers=bearer(token)))


def test_a_recently_expired_token_is_within_the_leeway_or_401(user: User, secret: str) -> None:
    response = user.client.get(user.url, headers=bearer(signed(user, secret, exp=now() - 5)))
    assert response.status_code == 200 or assert_refused_token(response)


@pytest.mark.parametrize("exp", BAD_TIMES.values(), ids=BAD_TIMES)
def test_an_expiry_that_is_not_a_valid_number_is_401(user: User, secret: str, exp: object) -> None:
    payload = {**claims_of(user.id), "exp": exp}
    token = by_segments(secret, b'{"alg":"HS256"}', json.dumps(payload).encode())
    assert_refused_token(user.client.get(user.url, headers=bearer(token)))


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"9" * 4400])
def test_an_expiry_that_json_cannot_represent_is_401(
    user: User, secret: str, number: bytes
) -> None:
    payload = b'{"sub":"%b","exp":%b}' % (user.id.encode(), number)
    token = by_segments(secret, b'{"alg":"HS256"}', payload)
    assert_refused_token(user.client.get(user.url, headers=bearer(token)))


@pytest.mark.parametrize("sub", BAD_SUBJECTS.values(), ids=BAD_SUBJECTS)
def test_a_subject_that_is_not_a_user_id_is_401(user: User, secret: str, sub: object) -> None:
    payload = {**claims_of(user.id), "sub": sub}
    token = by_segments(secret, b'{"alg":"HS256"}', json.dumps(payload).encode())
    assert_refused_token(user.client.get(user.url, headers=bearer(token)))


@pytest.mark.parametrize("sub", ["{}\0", "{}\n", " {}", "{} ", "\t{}", "{}\ud800", "x" * 5000])
def test_a_subject_that_only_resembles_a_user_id_gives_no_access(
    user: User, secret: str, sub: str
) -> None:
    task = user.create()
    payload = {**claims_of(user.id), "sub": sub.format(user.id)}
    token = by_segments(secret, b'{"alg":"HS256"}', json.dumps(payload).encode())
    assert_error(user.client.get(user.url, headers=bearer(token)), 401, 403)
    url = user.url_of(task)
    assert_error(user.client.delete(url, headers=bearer(token)), 401, 403)
    assert user.read(task) == task


def test_errors_distinguish_only_expired_from_invalid_tokens(user: User, secret: str) -> None:
    reasons = set()
    for forge in REFUSED.values():
        response = user.client.get(user.url, headers=bearer(forge(user, secret)))
        reasons.add((response.json()["detail"], response.headers["WWW-Authenticate"]))
    assert len(reasons) == 1, "the same message for every failed check"
    token = signed(user, secret, exp=now() - 3600)
    expired = user.client.get(user.url, headers=bearer(token))
    reasons.add((expired.json()["detail"], expired.headers["WWW-Authenticate"]))
    for reason in reasons:
        for detail in (
            "signature",
            "algorithm",
            "hs256",
            "audience",
            "issuer",
            "claim",
            "segment",
        ):
            assert detail not in " ".join(reason).lower()


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_refuses_a_bad_token(user: User, route: str) -> None:
    task = user.create()
    method, path, body = ROUTES[route]
    token = signed(user, "another-secret-another-secret-another")
    url = user.url + path.format(task=task["id"])
    assert_refused_token(user.client.request(method, url, json=body, headers=bearer(token)))
    assert user.list().json() == [task]


# Several Authorization headers


def test_two_authorization_headers_are_refused(user: User, other_user: User) -> None:
    user.create()
    mine, theirs = f"Bearer {user.token}", f"Bearer {other_user.token}"
    for first, second in (
        (mine, mine),
        (mine, theirs),
        (theirs, mine),
        (mine, "Basic YWxpY2U6c2VjcmV0"),
        ("Basic YWxpY2U6c2VjcmV0", mine),
        ("Bearer x.y.z", mine),
        (mine, ""),
    ):
        headers = [("Authorization", first), ("authorization", second)]
        assert_error(user.client.get(user.url, headers=headers), 400, 401)
    # A gateway may join repeated headers.
    for joined in (f"{mine}, {mine}", f"{mine},{theirs}", f"{mine}, Basic YWxpY2U6c2VjcmV0"):
        response = user.client.get(user.url, headers={"Authorization": joined})
        assert_error(response, 400, 401)


# Lists and tasks of other users


@pytest.mark.parametrize("route", ROUTES)
def test_a_path_of_another_user_is_403_whether_or_not_that_user_exists(
    user: User, other_user: User, route: str
) -> None:
    task = user.create()
    method, path, body = ROUTES[route]
    responses = [
        other_user.send(method, f"{url}{path.format(task=task_id)}", json=body)
        for url in (user.url, "/api/nobody-at-all/tasks")
        for task_id in (task["id"], 2**62)
    ]
    bodies = [assert_error(response, 403) for response in responses]
    assert all(body == bodies[0] for body in bodies)
    assert user.id not in responses[0].text
    assert other_user.id not in responses[0].text
    assert user.list().json() == [task]


@pytest.mark.parametrize("case", BAD_BODIES)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_403_precedes_validation_of_the_body(
    user: User, other_user: User, method: str, case: str
) -> None:
    content, headers = BAD_BODIES[case]
    url = user.url if method == "POST" else f"{user.url}/1"
    assert_error(other_user.send(method, url, content=content, headers=headers), 403)


@pytest.mark.parametrize("case", BAD_BODIES)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_401_precedes_validation_of_the_body(user: User, method: str, case: str) -> None:
    content, headers = BAD_BODIES[case]
    url = {"POST": "", "PUT": "/1", "PATCH": "/1/complete"}[method]
    for token in ({}, bearer("x.y.z")):
        response = user.client.request(
            method, user.url + url, content=content, headers={**headers, **token}
        )
        assert_error(response, 401)


def test_a_too_large_body_without_access_is_refused(user: User, other_user: User) -> None:
    body = {"title": "x" * 70_000}
    assert_error(user.client.post(user.url, json=body), 401, 413)
    assert_error(other_user.send("POST", user.url, json=body), 403, 413)
    assert user.list().json() == []


@pytest.mark.parametrize("route", [name for name in ROUTES if "{task}" in ROUTES[name][1]])
def test_another_users_task_and_a_missing_task_get_the_same_404(
    user: User, other_user: User, route: str
) -> None:
    task = user.create("secret title", description="secret text")
    method, path, body = ROUTES[route]
    theirs, missing = (
        other_user.send(method, f"{other_user.url}{path.format(task=task_id)}", json=body)
        for task_id in (task["id"], 2**62)
    )
    assert_error(theirs, 404)
    assert theirs.content == missing.content
    assert theirs.status_code == missing.status_code
    names = set(theirs.headers) - {"date"}
    assert names == set(missing.headers) - {"date"}
    assert "ETag" not in theirs.headers
    assert "secret" not in theirs.text
    assert user.list().json() == [task]


@pytest.mark.parametrize(
    "changes",
    [
        {"email": ..., "name": ...},
        {"email": None, "name": None},
        {"email": "", "name": ""},
        {"email": 7, "name": ["x"]},
        {"email": "a\0b@example.test", "name": "a\0b"},
        {"email": "x" * 2000 + "@example.test", "name": "x" * 2000},
    ],
    ids=["none", "null", "empty", "other types", "NUL", "long"],
)
def test_a_token_with_unusual_email_and_name_creates_a_task_or_is_refused(
    user: User, secret: str, changes: dict[str, Any]
) -> None:
    # 403 if the row cannot be created; 401 if the verifier refuses such claims.
    headers = bearer(signed(user, secret, **changes))
    response = user.client.post(user.url, json={"title": "Buy milk"}, headers=headers)
    if response.status_code != 201:
        assert_error(response, 401, 403)
    assert len(user.list().json()) == (1 if response.status_code == 201 else 0)


def test_two_users_with_the_same_email_stay_separate(
    user: User, other_user: User, secret: str
) -> None:
    email = claims_of(user.id)["email"]
    for person, name in ((user, "first"), (other_user, "second")):
        headers = bearer(signed(person, secret, email=email))
        response = person.client.post(person.url, json={"title": name}, headers=headers)
        if response.status_code != 201:
            assert name == "second"
            assert_error(response, 403)
    assert user.titles() == ["first"]
    assert other_user.titles() in (["second"], [])
