"""The tables in the documentation explain every error status and every reason in the log."""

import json
import re
import time

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from tests.integrations.better_auth.fixtures import NewDatabase, NewLog
from tests.integrations.better_auth.servers import AUDIENCE, ROOT, SECRET, api
from tests.integrations.better_auth.snippets import DOCUMENTS

DOCUMENT = "\n".join(document.read_text() for document in DOCUMENTS)
ISSUER = "https://app.example.com"


def rows_of_table(head: str) -> list[str]:
    """Return the first column of the table whose first heading is `head`."""
    table = re.search(
        rf"^\| {re.escape(head)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE
    )
    assert table, head
    return [row.split("|")[1].strip() for row in table[1].splitlines()]


def test_every_error_status_of_the_openapi_document_is_explained() -> None:
    paths = json.loads((ROOT / "lib" / "static" / "openapi.json").read_text())["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    declared = {status for each in operations for status in each["responses"] if status >= "4"}
    explained = {cell[:3] for cell in rows_of_table("status")}
    assert declared
    assert declared <= explained


def test_log_has_the_documented_reason_for_each_rejected_token(
    migrated_database: NewDatabase, logs: NewLog
) -> None:
    now = int(time.time())
    good = {"sub": "alice", "exp": now + 60, "iss": ISSUER, "aud": AUDIENCE}
    key = Ed25519PrivateKey.generate()
    public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    shared = {
        "`InvalidAlgorithmError`": jwt.encode(good, SECRET + SECRET, "HS512"),
        "`InvalidSignatureError`": jwt.encode(good, SECRET + "\n"),
        "`InvalidIssuerError`": jwt.encode(good | {"iss": f"{ISSUER}/"}, SECRET),
        "`InvalidAudienceError`": jwt.encode(good | {"aud": ISSUER}, SECRET),
        "`MissingRequiredClaimError`": jwt.encode({"sub": "alice", "exp": good["exp"]}, SECRET),
        "`ImmatureSignatureError`": jwt.encode(good | {"iat": now + 3600}, SECRET),
        "`ExpiredSignatureError`": jwt.encode(good | {"exp": 900}, SECRET),
    }
    by_key = {"`UnknownKey`": jwt.encode(good, key, "EdDSA", {"kid": "another"})}
    last = {
        "`UntrustedToken`": jwt.encode(good, SECRET, headers={"typ": "session-cache+jwt"}),
        "`the token is not a JSON Web Token`": "KqXvb0T1t6m0xOoP5mXGf0pXqgB7mQxF",
    }
    settings = {"JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    with_secret = settings | {"BETTER_AUTH_SECRET": SECRET}
    key_set = json.dumps({"keys": [public | {"alg": "EdDSA", "kid": "ours"}]})
    with_key = settings | {"JWT_ALGORITHM": "EdDSA", "JWKS": key_set}
    database = migrated_database().app
    reasons = logged_reasons(shared | last, jwt.encode(good, SECRET), database, logs, with_secret)
    ours = jwt.encode(good, key, "EdDSA", {"kid": "ours"})
    reasons |= logged_reasons(by_key, ours, database, logs, with_key)
    assert reasons == {name: name for name in shared | by_key | last}
    assert rows_of_table("`reason` in the API's log") == list(shared | by_key | last)


def logged_reasons(
    tokens: dict[str, str], good: str, database: str, logs: NewLog, settings: dict[str, str]
) -> dict[str, str]:
    """Return the reason that an API with these settings logs for each rejected token."""
    log = logs("api")
    with api(database, log, settings) as url:
        statuses = [
            httpx2.get(
                f"{url}/api/alice/tasks",
                headers={"authorization": f"Bearer {token}", "x-request-id": str(number)},
            ).status_code
            for number, token in enumerate([*tokens.values(), good])
        ]
    assert statuses == [401] * len(tokens) + [200]
    text = log.read_text()
    assert not any(token in text for token in tokens.values())
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    reasons = {line["request_id"]: line.get("reason", "") for line in lines}
    found = [reasons[str(number)] for number in range(len(tokens))]
    # Without the details that follow the name of an error.
    words = [f"`{re.split(':', reason)[0]}`" for reason in found]
    return dict(zip(tokens, words, strict=True))
