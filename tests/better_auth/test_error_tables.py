"""The tables of docs/frontend.md name every error of the API, and what its log says of tokens."""

import json
import re
import time

import httpx2
import jwt

from tests.better_auth.fixtures import NewDatabase, NewLog
from tests.better_auth.servers import AUDIENCE, ROOT, SECRET, api

DOCUMENT = (ROOT / "docs" / "frontend.md").read_text()
ISSUER = "https://app.example.com"


def rows_of_table(head: str) -> list[str]:
    """The first cells of the table whose first column is called `head`."""
    table = re.search(
        rf"^\| {re.escape(head)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE
    )
    assert table, head
    return [row.split("|")[1].strip() for row in table[1].splitlines()]


def test_every_error_status_of_the_openapi_document_is_explained() -> None:
    paths = json.loads((ROOT / "lib" / "openapi.json").read_text())["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    declared = {status for each in operations for status in each["responses"] if status >= "4"}
    explained = {cell[:3] for cell in rows_of_table("status")}
    assert declared
    assert declared <= explained


def test_log_says_of_each_refused_token_what_the_document_explains(
    migrated_database: NewDatabase, logs: NewLog
) -> None:
    good = {"sub": "alice", "exp": int(time.time()) + 60, "iss": ISSUER, "aud": AUDIENCE}
    tokens = {
        "`InvalidAlgorithmError`": jwt.encode(good, SECRET + SECRET, "HS512"),
        "`InvalidSignatureError`": jwt.encode(good, SECRET + "\n"),
        "`InvalidIssuerError`": jwt.encode(good | {"iss": f"{ISSUER}/"}, SECRET),
        "`InvalidAudienceError`": jwt.encode(good | {"aud": ISSUER}, SECRET),
        "`MissingRequiredClaimError`": jwt.encode({"sub": "alice", "exp": good["exp"]}, SECRET),
        "`ExpiredSignatureError`": jwt.encode(good | {"exp": 900}, SECRET),
        "no reason": "KqXvb0T1t6m0xOoP5mXGf0pXqgB7mQxF",
    }
    settings = {"BETTER_AUTH_SECRET": SECRET, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    log = logs("api")
    with api(migrated_database().app, log, settings) as url:
        statuses = [
            httpx2.get(
                f"{url}/api/alice/tasks",
                headers={"authorization": f"Bearer {token}", "x-request-id": str(number)},
            ).status_code
            for number, token in enumerate([*tokens.values(), jwt.encode(good, SECRET)])
        ]
    assert statuses == [401] * len(tokens) + [200]
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    reasons = {
        line["request_id"]: re.findall(r"\w+Error", line.get("reason", "")) for line in lines
    }
    said = [reasons[str(number)] for number in range(len(tokens))]
    assert [f"`{reason[0]}`" if reason else "no reason" for reason in said] == list(tokens)
    assert rows_of_table("`reason` in the API's log") == list(tokens)
    assert not any(token in log.read_text() for token in tokens.values())
