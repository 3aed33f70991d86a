"""Requests and faults that make the API refuse or fail, with canaries in every input.

Each provocation asserts that the API did refuse or fail. Whether a canary leaked is checked by the
tests.
"""

import json
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import boto3
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto import mock_aws

from api import smoke
from dev.postgres import free_port
from lib.db import pool as database_module
from lib.db import tasks as store
from tests.security.hostile.canaries import Captured, as_text, canary
from tests.security.hostile.transports import Response, Transport, start
from tests.support.databases import Database

USER = "leak-tester"
SECRET = f"{canary('secret')}-0123456789abcdef"
PATH = f"/api/{USER}/tasks"
TASK: dict[str, Any] = {
    "title": canary("title"),
    "description": canary("description"),
    "unknown": canary("member"),
}
NOISE = {"Cookie": f"session={canary('cookie')}", "X-Custom": canary("header")}


class Api:
    """The API behind one transport, with a database of its own. Captures its error responses."""

    def __init__(
        self,
        transport: Transport,
        database: Database,
        captured: Captured,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.transport, self.database, self.captured = transport, database, captured
        self.monkeypatch = monkeypatch
        self.start()

    def start(self, **variables: str) -> None:
        """Restart the API, with these variables in place of the usual ones."""
        usual = {
            "DATABASE_URL": self.database.app_url,
            "BETTER_AUTH_SECRET": SECRET,
            "BETTER_AUTH_SECRET_PREVIOUS": f"{canary('previous')}-0123456789abcdef",
            "CRON_SECRET": canary("cron"),
            "LOG_LEVEL": "DEBUG",
        }
        self._send = start(self.transport, usual | variables, self.monkeypatch)

    def send(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
    ) -> Response:
        """Send a request of the user, with canaries in headers that the API does not read."""
        content = body if isinstance(body, bytes) else b""
        sent = {**NOISE, "Authorization": f"Bearer {token or make_token()}"}
        if body is not None and not isinstance(body, bytes):
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        response = self._send(method, target, sent | dict(headers or {}), content)
        if response.status >= 400:
            self.captured.add("error response", as_text([response.headers, response.body]))
        return response

    def expect(self, status: int, *request: Any, **more: Any) -> Response:
        response = self.send(*request, **more)
        assert response.status == status, (request, more, response)
        return response


def make_token(user: str = USER, secret: str = SECRET, **claims: Any) -> str:
    usual = {
        "sub": user,
        "exp": int(time.time()) + 3600,
        "name": canary("name"),
        "email": f"{canary('email')}@example.test",
        "jti": canary("token"),
    }
    return jwt.encode(usual | claims, secret)


type Provocation = Callable[[Api], None]


# Rejected requests


def ordinary_requests(api: Api) -> None:
    api.expect(201, "POST", PATH, TASK, {"Idempotency-Key": canary("key")})
    task = json.loads(api.expect(201, "POST", PATH, TASK).body)["id"]
    api.expect(200, "GET", f"{PATH}?q={canary('title')}&sort=title&limit=1&count=true")
    api.expect(200, "PUT", f"{PATH}/{task}", TASK)
    api.expect(
        200, "PATCH", f"{PATH}/{task}/complete", None, {"Idempotency-Key": canary("key") + "2"}
    )
    api.expect(204, "DELETE", f"{PATH}/{task}")


def rejected_tokens(api: Api) -> None:
    head, payload, _ = make_token().split(".")
    for token in (
        make_token(secret="another-secret-another-secret-0123"),
        make_token(exp=1),
        make_token(exp="soon"),
        make_token(sub=canary("token") + "\n"),
        make_token(nbf=9_999_999_999),
        f"{head}.{payload}.{canary('signature')}",
        f"{head}.{canary('token')}.{canary('signature')}",
        canary("token"),
        jwt.encode({"sub": USER, "jti": canary("token")}, "", algorithm="none"),
        jwt.encode(
            {"sub": USER, "exp": 9e9}, SECRET, headers={"kid": canary("kid"), "typ": canary("kid")}
        ),
    ):
        api.expect(401, "POST", PATH, TASK, token=token)
    api.expect(401, "GET", PATH, None, {"Authorization": f"Basic {canary('basic')}"})
    api.expect(401, "GET", PATH, None, {"Authorization": f"Bearer {canary('token')}, Bearer x.y.z"})
    api.expect(401, "GET", f"{PATH}?access_token={make_token()}", None, {"Authorization": ""})
    api.expect(401, "GET", "/api/smoke", None, {"Authorization": f"Bearer {canary('token')}"})


def paths_of_other_users(api: Api) -> None:
    api.expect(403, "POST", "/api/somebody/tasks", TASK, {"Idempotency-Key": canary("key")})
    api.expect(404, "GET", f"{PATH}/99999")
    api.expect(404, "PUT", f"{PATH}/99999", TASK, {"If-Match": f'"{canary("tag")}"'})


def invalid_bodies(api: Api) -> None:
    title, text = canary("title"), canary("description")
    for body in (
        {"title": title * 20},
        {"title": f"{title}\0"},
        {"title": [title]},
        {"title": {title: title}},
        {"title": title, "description": text * 100},
        {"title": title, "description": f"{text}\0"},
        {"title": title, "description": {text: text}},
        {"title": title, "completed": text},
        {title: title},
        [title],
        title,
        f'{{"title": "{title}"'.encode(),
        f'{{"title": "{title}", "title": "{title}"}}'.encode(),
        f'{{"title": "{title}\\ud800"}}'.encode(),
        f'{{"title": "{title}", "x": NaN}}'.encode(),
        f'{{"title": "{title}'.encode() + b'\xff"}',
    ):
        headers = {"Content-Type": "application/json", "Idempotency-Key": canary("key")}
        api.expect(422, "POST", PATH, body, headers)
    api.expect(413, "POST", PATH, {"title": title * 9000})
    api.expect(415, "POST", PATH, TASK, {"Content-Type": f"text/{canary('header')}"})
    api.expect(415, "POST", PATH, TASK, {"Content-Encoding": canary("header")})


def invalid_queries_and_paths(api: Api) -> None:
    for name in ("status", "sort", "order", "limit", "count"):
        api.expect(422, "GET", f"{PATH}?{name}={canary('parameter')}&q={canary('search')}")
    api.expect(422, "GET", f"{PATH}?limit=1&cursor={canary('parameter')}")
    api.expect(422, "GET", f"{PATH}?q={canary('search')}%00")
    api.expect(422, "GET", f"{PATH}?q={canary('search') * 20}")
    for method in ("GET", "PUT", "DELETE"):
        api.expect(422, method, f"{PATH}/nonsense", TASK if method == "PUT" else None)
    api.expect(404, "GET", f"/api/{USER}/nonsense")
    api.expect(405, "PUT", PATH, TASK)


def mismatched_keys_and_tags(api: Api) -> None:
    key = {"Idempotency-Key": canary("key")}
    response = api.expect(201, "POST", PATH, TASK, key)
    api.expect(422, "POST", PATH, TASK | {"title": f"{canary('title')} again"}, key)
    api.expect(422, "POST", PATH, TASK, {"Idempotency-Key": f"{canary('key')} and a blank"})
    task = json.loads(response.body)["id"]
    for method, rest in (("PUT", ""), ("PATCH", "/complete"), ("DELETE", "")):
        body = TASK if method == "PUT" else None
        api.expect(412, method, f"{PATH}/{task}{rest}", body, {"If-Match": f'"{canary("tag")}"'})


def conflicting_missing_and_busy_users(api: Api) -> None:
    api.expect(201, "POST", PATH, TASK)
    other = make_token("another")
    api.expect(201, "POST", "/api/another/tasks", TASK, token=other)
    third = make_token("third")
    api.expect(
        201, "POST", "/api/third/tasks", TASK, {"Idempotency-Key": canary("key")}, token=third
    )
    emails = {email for (email,) in api.database.query("SELECT email FROM users")}
    assert len(emails) == 3
    assert len([email for email in emails if email.endswith("@users.invalid")]) == 2
    api.start(PROVISION_USERS="0")
    fourth = make_token("fourth")
    key = {"Idempotency-Key": canary("key")}
    api.expect(403, "POST", "/api/fourth/tasks", TASK, token=fourth)
    api.expect(403, "POST", "/api/fourth/tasks", TASK, key, token=fourth)
    api.monkeypatch.setattr(database_module, "MAX_REQUESTS_PER_USER", 0)
    api.expect(429, "POST", PATH, TASK, {"Idempotency-Key": canary("key")})
    api.expect(429, "GET", f"{PATH}?q={canary('search')}")


# The database


def _with(url: str, **parts: Any) -> str:
    """The database URL with another user, password, port or database name."""
    split = urlsplit(url)
    user, password = parts.get("user", split.username), parts.get("password", split.password)
    port, name = parts.get("port", split.port), parts.get("name", split.path[1:])
    return f"postgresql://{user}:{password}@{split.hostname}:{port}/{name}?sslmode=disable"


def a_database_that_refuses_connections(api: Api) -> None:
    url = api.database.app_url
    # Until the budget ends, every attempt fails in the same way.
    api.monkeypatch.setattr(database_module, "BUDGET", 0.8)
    for wrong in (
        _with(url, password=canary("password")),
        _with(url, user="nobody", password=canary("password")),
        _with(url, password=canary("password"), port=free_port()),
        _with(url, name="nowhere"),
        _with(url, password=canary("password")) + "&connect_timeout=1&application_name=x",
        _with(url, password=canary("password")).replace("disable", "require"),
    ):
        api.start(DATABASE_URL=wrong)
        api.expect(503, "POST", PATH, TASK, {"Idempotency-Key": canary("key")})
        api.expect(503, "GET", f"{PATH}?q={canary('search')}")


def a_database_url_that_cannot_be_parsed(api: Api) -> None:
    for wrong in (
        f"postgresql://user:{canary('password')}%@127.0.0.1/tasks",
        f"postgresql://user:{canary('password')}@[::1/tasks",
        f"postgresql://user:{canary('password')}@127.0.0.1,127.0.0.2/tasks",
        f"postgresql://user:{canary('password')}@127.0.0.1:port/tasks",
        f"postgresql://user:{canary('password')}@{canary('password')}@127.0.0.1/tasks",
        f"postgresql://user:{canary('password')}/{canary('password')}@127.0.0.1/tasks",
        f"postgresql://user:{canary('password')}?{canary('password')}=1@127.0.0.1/tasks",
        f"mysql://user:{canary('password')}@127.0.0.1/tasks",
    ):
        api.start(DATABASE_URL=wrong)
        assert api.send("POST", PATH, TASK).status in (500, 503)


REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'refused: %', NEW.title
    USING ERRCODE = '{}', DETAIL = NEW.description, HINT = NEW.title;
END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION refuse();
"""
# Errors of PostgreSQL, whose messages contain values, with the status of the response.
SQLSTATES = {
    "22000": 503, "22P05": 503,
    "23505": 503, "23514": 503, "42703": 503, "42501": 503, "23503": 503,
    "40001": 503, "40P01": 503, "55P03": 503, "57014": 503, "53200": 503, "XX000": 503,
    "P0001": 503,  # a trigger that is not ours
}  # fmt: skip


def statements_that_fail(api: Api) -> None:
    for sqlstate, status in SQLSTATES.items():
        api.database.query("DROP FUNCTION IF EXISTS refuse CASCADE")
        api.database.query(REFUSING.format(sqlstate))
        api.expect(status, "POST", PATH, TASK)
        api.expect(status, "POST", PATH, TASK, {"Idempotency-Key": canary("key")})


def rows_that_the_database_rejects(api: Api) -> None:
    api.expect(201, "POST", PATH, TASK)
    api.database.query("CREATE UNIQUE INDEX once ON tasks (title)")
    api.expect(503, "POST", PATH, TASK)
    api.database.query("DROP INDEX once")
    api.database.query("ALTER TABLE tasks ADD CHECK (title IS NULL) NOT VALID")
    api.expect(503, "POST", PATH, TASK)
    api.database.query("ALTER TABLE tasks RENAME TO gone")
    api.expect(503, "GET", f"{PATH}?q={canary('search')}")


# Unexpected errors


class UnexpectedError(Exception):
    """An error that contains a secret in its arguments, its notes and its cause."""


def _raise_unexpected(*_: Any, **__: Any) -> None:
    secret = canary("exception")
    try:
        raise KeyError(secret)
    except KeyError as cause:
        error = UnexpectedError(secret, SECRET, TASK)
        error.add_note(secret)
        raise error from cause


def unexpected_errors(api: Api) -> None:
    for function in ("create_task", "list_tasks", "get_task"):
        api.monkeypatch.setattr(store, function, _raise_unexpected)
    api.expect(500, "POST", PATH, TASK, {"Idempotency-Key": canary("key")})
    api.expect(500, "GET", f"{PATH}?q={canary('search')}")
    api.expect(500, "GET", f"{PATH}/1")


def a_database_module_that_breaks(api: Api) -> None:
    api.monkeypatch.setattr(database_module, "get_pool", _raise_unexpected)
    api.expect(500, "POST", PATH, TASK)


# Keys that verify tokens


@contextmanager
def _serving(content: bytes, status: int = 200) -> Generator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.1/{canary('document')}")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/keys?access={canary('password')}"
        finally:
            server.shutdown()
            thread.join()


def keys_that_cannot_be_fetched(api: Api) -> None:
    key = Ed25519PrivateKey.generate()
    claims = {"sub": USER, "exp": int(time.time()) + 3600, "email": canary("email")}
    token = jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": canary("kid")})
    document, usable = canary("document"), {"kty": "OKP", "crv": "Ed25519", "kid": canary("kid")}
    sets = [
        {"keys": [document]},
        {"keys": [{"kty": document, "kid": document}]},
        {"keys": [usable | {"x": document}]},
        {"keys": [usable | {"x": document, "d": document}]},
        {"keys": [{"kty": "oct", "k": document, "kid": canary("kid")}]},
    ]
    for keys in sets:
        api.start(JWT_ALGORITHM="EdDSA", JWKS=json.dumps(keys))
        api.expect(500, "POST", PATH, TASK, token=token)  # a server would not start
    api.start(
        JWT_ALGORITHM="EdDSA", JWKS="", JWKS_URL=f"https://127.0.0.1:{free_port()}/{document}"
    )
    api.expect(503, "POST", PATH, TASK, token=token)
    if api.transport == "lambda":
        return  # keys must be served over https there
    for body, status in (
        (f"<html>{document}".encode(), 200),
        *((json.dumps(keys).encode(), 200) for keys in sets),
        (document.encode() * 20_000, 200),
        (document.encode(), 500),
        (document.encode(), 302),
    ):
        with _serving(body, status) as url:
            api.start(JWT_ALGORITHM="EdDSA", JWKS="", JWKS_URL=url)
            api.expect(503, "POST", PATH, TASK, token=token)


# Settings, and the smoke test


def settings_that_cannot_work(api: Api) -> None:
    api.monkeypatch.setenv("VERCEL", "1")
    for name, value in {
        "BETTER_AUTH_SECRET": canary("secret"),
        "BETTER_AUTH_SECRET_PREVIOUS": canary("previous"),
        "CRON_SECRET": canary("cron")[:12],
        "DATABASE_URL": f"mysql://user:{canary('password')}@127.0.0.1/tasks",
        "DATABASE_URL_UNPOOLED": f"mysql://user:{canary('password')}@127.0.0.1/tasks",
        "JWKS": canary("document"),
        "JWKS_URL": f"https://user:{canary('password')}@127.0.0.1/keys",
        "SMOKE_TOKEN_URL": f"https://user:{canary('password')}@127.0.0.1/token",
        "SMOKE_BASE_URL": f"https://user:{canary('password')}@127.0.0.1/",
    }.items():
        api.start(**{name: value})
        api.expect(500, "POST", PATH, TASK)
        api.start()
        api.monkeypatch.delenv(name)


def a_smoke_test_that_fails(api: Api) -> None:
    api.start(
        SMOKE_BASE_URL=f"http://127.0.0.1:{free_port()}",
        SMOKE_TOKEN=canary("smoke"),
        SMOKE_OTHER_TOKEN=canary("smoke"),
        VERCEL_AUTOMATION_BYPASS_SECRET=canary("bypass"),
    )
    api.monkeypatch.setattr(smoke, "_latest", None)
    api.expect(503, "GET", "/api/smoke", None, {"Authorization": f"Bearer {canary('cron')}"})
    report = smoke.lambda_handler({"source": canary("parameter")}, None)
    assert report["ok"] is False
    api.captured.add("smoke report", as_text(report))


def a_smoke_test_against_an_echo_server(api: Api) -> None:
    echoed = json.dumps({"message": canary("document")}).encode()
    for body in (echoed, canary("document").encode()):
        with _serving(body, 500) as url:
            api.start(SMOKE_BASE_URL=url.partition("/keys")[0])
            report = smoke.lambda_handler({"source": "schedule"}, None)
            assert report["ok"] is False
            api.captured.add("smoke report", as_text(report))
    api.expect(404, "GET", f"{PATH}/99999")


def secrets_kept_by_aws(api: Api) -> None:
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": canary("password"),
    }.items():
        api.monkeypatch.setenv(name, value)
    with mock_aws():
        secret = f"{canary('stored')}-0123456789abcdef"
        client = boto3.client("secretsmanager")
        arn = client.create_secret(Name="secret", SecretString=secret)["ARN"]
        boto3.client("ssm").put_parameter(
            Name="/database", Value=api.database.app_url, Type="SecureString"
        )
        api.captured.outputs.clear()  # what the test itself sent to AWS
        api.start(BETTER_AUTH_SECRET_SECRET_ARN=arn, DATABASE_URL_PARAMETER="/database")
        token = make_token(secret=secret)
        api.expect(404, "GET", f"{PATH}/99999", token=token)
        api.expect(401, "GET", f"{PATH}/99999")
        api.start(BETTER_AUTH_SECRET_SECRET_ARN=arn + "x", DATABASE_URL_PARAMETER="/gone")
        api.expect(500, "GET", f"{PATH}/99999", token=token)


PROVOCATIONS: list[Provocation] = [
    ordinary_requests,
    rejected_tokens,
    paths_of_other_users,
    invalid_bodies,
    invalid_queries_and_paths,
    mismatched_keys_and_tags,
    conflicting_missing_and_busy_users,
    a_database_that_refuses_connections,
    a_database_url_that_cannot_be_parsed,
    statements_that_fail,
    rows_that_the_database_rejects,
    unexpected_errors,
    a_database_module_that_breaks,
    keys_that_cannot_be_fetched,
    settings_that_cannot_work,
    a_smoke_test_that_fails,
    a_smoke_test_against_an_echo_server,
    secrets_kept_by_aws,
]
