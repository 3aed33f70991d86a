"""Everything that makes the API refuse or fail, with canaries in all that it is given.

Each provocation asserts that what it provokes has happened; none looks for canaries.
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
from tests.security.hostile.canaries import Heard, canary, shown
from tests.security.hostile.transports import Answered, Transport, open_door
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


class Stage:
    """The API behind one door with a database of its own; what it answers with errors is heard."""

    def __init__(
        self, door: Transport, database: Database, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.door, self.database, self.heard = door, database, heard
        self.monkeypatch = monkeypatch
        self.start()

    def start(self, **variables: str) -> None:
        """Start anew, with these variables instead of the usual ones."""
        usual = {
            "DATABASE_URL": self.database.app_url,
            "BETTER_AUTH_SECRET": SECRET,
            "BETTER_AUTH_SECRET_PREVIOUS": f"{canary('previous')}-0123456789abcdef",
            "CRON_SECRET": canary("cron"),
            "LOG_LEVEL": "DEBUG",
        }
        self._knock = open_door(self.door, usual | variables, self.monkeypatch)

    def send(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
    ) -> Answered:
        """One request of the user, with canaries in headers nobody asked for."""
        content = body if isinstance(body, bytes) else b""
        sent = {**NOISE, "Authorization": f"Bearer {token or make_token()}"}
        if body is not None and not isinstance(body, bytes):
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        answer = self._knock(method, target, sent | dict(headers or {}), content)
        if answer.status >= 400:
            self.heard.add("error answer", shown([answer.headers, answer.body]))
        return answer

    def expect(self, status: int, *request: Any, **more: Any) -> Answered:
        answer = self.send(*request, **more)
        assert answer.status == status, (request, more, answer)
        return answer


def make_token(user: str = USER, secret: str = SECRET, **claims: Any) -> str:
    usual = {
        "sub": user,
        "exp": int(time.time()) + 300,
        "name": canary("name"),
        "email": f"{canary('email')}@example.test",
        "jti": canary("token"),
    }
    return jwt.encode(usual | claims, secret)


type Provocation = Callable[[Stage], None]


# Requests that are refused


def ordinary_requests(stage: Stage) -> None:
    stage.expect(201, "POST", PATH, TASK, {"Idempotency-Key": canary("key")})
    task = json.loads(stage.expect(201, "POST", PATH, TASK).body)["id"]
    stage.expect(200, "GET", f"{PATH}?q={canary('title')}&sort=title&limit=1&count=true")
    stage.expect(200, "PUT", f"{PATH}/{task}", TASK)
    stage.expect(
        200, "PATCH", f"{PATH}/{task}/complete", None, {"Idempotency-Key": canary("key") + "2"}
    )
    stage.expect(204, "DELETE", f"{PATH}/{task}")


def tokens_that_are_refused(stage: Stage) -> None:
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
        stage.expect(401, "POST", PATH, TASK, token=token)
    stage.expect(401, "GET", PATH, None, {"Authorization": f"Basic {canary('basic')}"})
    stage.expect(
        401, "GET", PATH, None, {"Authorization": f"Bearer {canary('token')}, Bearer x.y.z"}
    )
    stage.expect(401, "GET", f"{PATH}?access_token={make_token()}", None, {"Authorization": ""})
    stage.expect(401, "GET", "/api/smoke", None, {"Authorization": f"Bearer {canary('token')}"})


def paths_of_others(stage: Stage) -> None:
    stage.expect(403, "POST", "/api/somebody/tasks", TASK, {"Idempotency-Key": canary("key")})
    stage.expect(404, "GET", f"{PATH}/99999")
    stage.expect(404, "PUT", f"{PATH}/99999", TASK, {"If-Match": f'"{canary("tag")}"'})


def bodies_that_are_wrong(stage: Stage) -> None:
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
        stage.expect(422, "POST", PATH, body, headers)
    stage.expect(413, "POST", PATH, {"title": title * 9000})
    stage.expect(415, "POST", PATH, TASK, {"Content-Type": f"text/{canary('header')}"})
    stage.expect(415, "POST", PATH, TASK, {"Content-Encoding": canary("header")})


def queries_and_paths_that_are_wrong(stage: Stage) -> None:
    for name in ("status", "sort", "order", "limit", "count"):
        stage.expect(422, "GET", f"{PATH}?{name}={canary('parameter')}&q={canary('search')}")
    stage.expect(422, "GET", f"{PATH}?limit=1&cursor={canary('parameter')}")
    stage.expect(422, "GET", f"{PATH}?q={canary('search')}%00")
    stage.expect(422, "GET", f"{PATH}?q={canary('search') * 20}")
    for method in ("GET", "PUT", "DELETE"):
        stage.expect(422, method, f"{PATH}/nonsense", TASK if method == "PUT" else None)
    stage.expect(404, "GET", f"/api/{USER}/nonsense")
    stage.expect(405, "PUT", PATH, TASK)


def keys_and_tags_that_do_not_fit(stage: Stage) -> None:
    key = {"Idempotency-Key": canary("key")}
    answer = stage.expect(201, "POST", PATH, TASK, key)
    stage.expect(422, "POST", PATH, TASK | {"title": f"{canary('title')} again"}, key)
    stage.expect(422, "POST", PATH, TASK, {"Idempotency-Key": f"{canary('key')} and a blank"})
    task = json.loads(answer.body)["id"]
    for method, rest in (("PUT", ""), ("PATCH", "/complete"), ("DELETE", "")):
        body = TASK if method == "PUT" else None
        stage.expect(412, method, f"{PATH}/{task}{rest}", body, {"If-Match": f'"{canary("tag")}"'})


def an_email_that_is_taken(stage: Stage) -> None:
    stage.expect(201, "POST", PATH, TASK)
    other = make_token("another")
    stage.expect(403, "POST", "/api/another/tasks", TASK, token=other)
    stage.expect(
        403, "POST", "/api/another/tasks", TASK, {"Idempotency-Key": canary("key")}, token=other
    )


# The database


def _with(url: str, **parts: Any) -> str:
    """The database URL with another user, password, port or database."""
    split = urlsplit(url)
    user, password = parts.get("user", split.username), parts.get("password", split.password)
    port, name = parts.get("port", split.port), parts.get("name", split.path[1:])
    return f"postgresql://{user}:{password}@{split.hostname}:{port}/{name}?sslmode=disable"


def a_database_that_lets_nobody_in(stage: Stage) -> None:
    url = stage.database.app_url
    for wrong in (
        _with(url, password=canary("password")),
        _with(url, user="nobody", password=canary("password")),
        _with(url, password=canary("password"), port=free_port()),
        _with(url, name="nowhere"),
        _with(url, password=canary("password")) + "&connect_timeout=1&application_name=x",
        _with(url, password=canary("password")).replace("disable", "require"),
    ):
        stage.start(DATABASE_URL=wrong)
        stage.expect(503, "POST", PATH, TASK, {"Idempotency-Key": canary("key")})
        stage.expect(503, "GET", f"{PATH}?q={canary('search')}")


def a_database_url_that_cannot_be_read(stage: Stage) -> None:
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
        stage.start(DATABASE_URL=wrong)
        assert stage.send("POST", PATH, TASK).status in (500, 503)


REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'refused: %', NEW.title
    USING ERRCODE = '{}', DETAIL = NEW.description, HINT = NEW.title;
END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION refuse();
"""
# What PostgreSQL may say of a statement, with the values in it, and what is answered then.
SQLSTATES = {
    "22000": 500, "22P05": 500, "23505": 500, "23514": 500,
    "42703": 403, "42501": 403, "23503": 403,
    "40001": 503, "40P01": 503, "55P03": 503, "57014": 503, "53200": 503, "XX000": 503,
    "P0001": 500,
}  # fmt: skip


def statements_that_fail(stage: Stage) -> None:
    for sqlstate, status in SQLSTATES.items():
        stage.database.query("DROP FUNCTION IF EXISTS refuse CASCADE")
        stage.database.query(REFUSING.format(sqlstate))
        stage.expect(status, "POST", PATH, TASK)
        stage.expect(status, "POST", PATH, TASK, {"Idempotency-Key": canary("key")})


def rows_that_the_database_refuses(stage: Stage) -> None:
    stage.expect(201, "POST", PATH, TASK)
    stage.database.query("CREATE UNIQUE INDEX once ON tasks (title)")
    stage.expect(500, "POST", PATH, TASK)
    stage.database.query("DROP INDEX once")
    stage.database.query("ALTER TABLE tasks ADD CHECK (title IS NULL) NOT VALID")
    stage.expect(500, "POST", PATH, TASK)
    stage.database.query("ALTER TABLE tasks RENAME TO gone")
    stage.expect(500, "GET", f"{PATH}?q={canary('search')}")


# Errors nobody expected


class Surprise(Exception):
    """One whose every form tells a secret."""


def _surprise(*_: Any, **__: Any) -> None:
    secret = canary("exception")
    try:
        raise KeyError(secret)
    except KeyError as cause:
        error = Surprise(secret, SECRET, TASK)
        error.add_note(secret)
        raise error from cause


def errors_that_nobody_expected(stage: Stage) -> None:
    for function in ("create_task", "list_tasks", "get_task"):
        stage.monkeypatch.setattr(store, function, _surprise)
    stage.expect(500, "POST", PATH, TASK, {"Idempotency-Key": canary("key")})
    stage.expect(500, "GET", f"{PATH}?q={canary('search')}")
    stage.expect(500, "GET", f"{PATH}/1")


def a_database_module_that_breaks(stage: Stage) -> None:
    stage.monkeypatch.setattr(database_module, "pool_of", _surprise)
    stage.expect(500, "POST", PATH, TASK)


# Keys of tokens


@contextmanager
def _serving(answer: bytes, status: int = 200) -> Generator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.1/{canary('document')}")
            self.end_headers()
            self.wfile.write(answer)

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


def keys_that_cannot_be_had(stage: Stage) -> None:
    key = Ed25519PrivateKey.generate()
    claims = {"sub": USER, "exp": int(time.time()) + 300, "email": canary("email")}
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
        stage.start(JWT_ALGORITHM="EdDSA", JWKS=json.dumps(keys))
        stage.expect(500, "POST", PATH, TASK, token=token)  # a server would not start
    stage.start(
        JWT_ALGORITHM="EdDSA", JWKS="", JWKS_URL=f"https://127.0.0.1:{free_port()}/{document}"
    )
    stage.expect(503, "POST", PATH, TASK, token=token)
    if stage.door == "lambda":
        return  # which takes keys over https only
    for body, status in (
        (f"<html>{document}".encode(), 200),
        *((json.dumps(keys).encode(), 200) for keys in sets),
        (document.encode() * 20_000, 200),
        (document.encode(), 500),
        (document.encode(), 302),
    ):
        with _serving(body, status) as url:
            stage.start(JWT_ALGORITHM="EdDSA", JWKS="", JWKS_URL=url)
            stage.expect(503, "POST", PATH, TASK, token=token)


# Settings, and the smoke test


def settings_that_cannot_work(stage: Stage) -> None:
    stage.monkeypatch.setenv("VERCEL", "1")
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
        stage.start(**{name: value})
        stage.expect(500, "POST", PATH, TASK)
        stage.start()
        stage.monkeypatch.delenv(name)


def a_smoke_test_that_fails(stage: Stage) -> None:
    stage.start(
        SMOKE_BASE_URL=f"http://127.0.0.1:{free_port()}",
        SMOKE_TOKEN=canary("smoke"),
        SMOKE_OTHER_TOKEN=canary("smoke"),
        VERCEL_AUTOMATION_BYPASS_SECRET=canary("bypass"),
    )
    stage.monkeypatch.setattr(smoke, "_latest", None)
    stage.expect(503, "GET", "/api/smoke", None, {"Authorization": f"Bearer {canary('cron')}"})
    report = smoke.lambda_handler({"source": canary("parameter")}, None)
    assert report["ok"] is False
    stage.heard.add("smoke report", shown(report))


def a_smoke_test_answered_by_an_echo(stage: Stage) -> None:
    echoed = json.dumps({"message": canary("document")}).encode()
    for body in (echoed, canary("document").encode()):
        with _serving(body, 500) as url:
            stage.start(SMOKE_BASE_URL=url.partition("/keys")[0])
            report = smoke.lambda_handler({"source": "schedule"}, None)
            assert report["ok"] is False
            stage.heard.add("smoke report", shown(report))
    stage.expect(404, "GET", f"{PATH}/99999")


def secrets_that_aws_keeps(stage: Stage) -> None:
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": canary("password"),
    }.items():
        stage.monkeypatch.setenv(name, value)
    with mock_aws():
        secret = f"{canary('stored')}-0123456789abcdef"
        client = boto3.client("secretsmanager")
        arn = client.create_secret(Name="secret", SecretString=secret)["ARN"]
        boto3.client("ssm").put_parameter(
            Name="/database", Value=stage.database.app_url, Type="SecureString"
        )
        stage.heard.places.clear()  # what the test itself told AWS
        stage.start(BETTER_AUTH_SECRET_SECRET_ARN=arn, DATABASE_URL_PARAMETER="/database")
        token = make_token(secret=secret)
        stage.expect(404, "GET", f"{PATH}/99999", token=token)
        stage.expect(401, "GET", f"{PATH}/99999")
        stage.start(BETTER_AUTH_SECRET_SECRET_ARN=arn + "x", DATABASE_URL_PARAMETER="/gone")
        stage.expect(500, "GET", f"{PATH}/99999", token=token)


PROVOCATIONS: list[Provocation] = [
    ordinary_requests,
    tokens_that_are_refused,
    paths_of_others,
    bodies_that_are_wrong,
    queries_and_paths_that_are_wrong,
    keys_and_tags_that_do_not_fit,
    an_email_that_is_taken,
    a_database_that_lets_nobody_in,
    a_database_url_that_cannot_be_read,
    statements_that_fail,
    rows_that_the_database_refuses,
    errors_that_nobody_expected,
    a_database_module_that_breaks,
    keys_that_cannot_be_had,
    settings_that_cannot_work,
    a_smoke_test_that_fails,
    a_smoke_test_answered_by_an_echo,
    secrets_that_aws_keeps,
]
