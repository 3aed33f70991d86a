"""docs/aws.md and docs/operations.md rotate secrets: performed under requests, none of which fails.

The parameters are those of moto. Instead of five minutes, secrets are read again after a second.
"""

import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import jwt
import psycopg
import pytest
from psycopg import sql
from starlette.testclient import TestClient

from lib.settings import environment as settings_environment
from tests.conftest import SECRET, StartApi
from tests.integrations.better_auth.fixtures import NewDatabase, NewLog, logs, new_database
from tests.integrations.better_auth.servers import BetterAuth, Person, better_auth
from tests.platforms.aws.test_deploy import aws
from tests.support.databases import Database

__all__ = ["aws", "logs", "new_database"]

OLD, NEW = "the-old-secret-0123456789abcdef01", "the-new-secret-0123456789abcdef01"
PASSWORD = "a-password-of-a-rotation"
LIFETIME = 1.0
MIN_REQUESTS = 10
ROLES = "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()"

type Put = Callable[[str, str], None]


@pytest.fixture
def put(aws: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Put:
    """Stores a parameter, which a function reads within `LIFETIME`."""
    monkeypatch.setattr(settings_environment, "SECRET_LIFETIME", LIFETIME)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")  # as Lambda sets it
    ssm = aws("ssm")

    def put(name: str, value: str) -> None:
        ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)

    return put


type Token = Callable[[], str]


def token() -> str:
    return jwt.encode({"sub": "ada", "exp": int(time.time()) + 300}, SECRET)


@contextmanager
def requests(client: TestClient, token: Token) -> Generator[None]:
    """A user who lists their tasks all the time. At the end: every response was 200."""
    over = threading.Event()

    def run() -> None:
        count = 0
        while not over.is_set() or count < MIN_REQUESTS:
            assert status(client, token()) == 200
            count += 1

    with ThreadPoolExecutor(1) as thread:
        user: Future[None] = thread.submit(run)
        try:
            yield
        finally:
            over.set()
        user.result(60)


def status(client: TestClient, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return client.get("/api/tasks", headers=headers).status_code


def wait_until_read() -> None:
    time.sleep(LIFETIME + 0.5)


def await_role(database: Database, name: str, *, not_: str) -> None:
    """Wait until the API is connected with this role, and no longer with the other one."""
    end = time.monotonic() + 30
    while {name, not_} & {role for (role,) in database.query(ROLES)} != {name}:
        assert time.monotonic() < end
        time.sleep(0.1)


def sign_in(auth: BetterAuth, person: Person) -> Person:
    """The person with a session of this Better Auth."""
    again = replace(person, browser=auth.browser())
    body = {"email": person.email, "password": PASSWORD}
    again.browser.post("/api/auth/sign-in/email", json=body).raise_for_status()
    return again


def test_the_secret_of_the_tokens(
    start_api: StartApi, put: Put, new_database: NewDatabase, logs: NewLog
) -> None:
    """The frontend is a real Better Auth, which has the old secret and then the new one."""
    database = new_database().admin
    put("/secret", OLD)
    parameter = {"BETTER_AUTH_SECRET": None, "BETTER_AUTH_SECRET_PARAMETER": "/secret"}
    with ExitStack() as stack:
        old, new = (
            stack.enter_context(
                better_auth("hs256-hook", database, logs(name), {"BETTER_AUTH_SECRET": secret})
            )
            for name, secret in (("old", OLD), ("new", NEW))
        )
        person = old.sign_up("ada@example.com", PASSWORD)
        with requests(start_api(**parameter), person.token):
            # 1. The old secret under a second name, which a deployment adds.
            put("/secret-previous", OLD)
        both = {**parameter, "BETTER_AUTH_SECRET_PREVIOUS_PARAMETER": "/secret-previous"}
        client = start_api(**both)
        with requests(client, person.token):
            # 2. Replace the current secret and wait.
            put("/secret", NEW)
            wait_until_read()
        # 3. Deploy the frontend. Tokens that it issued before are still valid.
        issued_before = person.token()
        person = sign_in(new, person)
        with requests(client, person.token):
            time.sleep(0.5)
            assert status(client, issued_before) == 200
        # 4. Remove the old one.
        client = start_api(**parameter, BETTER_AUTH_SECRET_PREVIOUS_PARAMETER=None)
        with requests(client, person.token):
            assert status(client, issued_before) == 401


@pytest.fixture
def roles(fresh_database: Database) -> Iterator[list[str]]:
    """The names of two roles, which do not exist yet."""
    names = [f"task_app_{uuid.uuid4().hex[:8]}" for _ in range(2)]
    yield names
    for name in names:
        fresh_database.query(f"DROP ROLE IF EXISTS {name}")


def url_of_new_role(database: Database, name: str) -> str:
    """Create a login role as docs/database.md describes it; gives its URL."""
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pw' IN ROLE task_api")
        connection.execute(create.format(sql.Identifier(name)))
    _, _, rest = database.app_url.partition("@")
    return f"postgresql://{name}:pw@{rest}"


def test_the_password_of_the_database_by_a_second_role(
    start_api: StartApi, put: Put, fresh_database: Database, roles: list[str]
) -> None:
    first, second = roles
    put("/database-url", url_of_new_role(fresh_database, first))
    client = start_api(DATABASE_URL=None, DATABASE_URL_PARAMETER="/database-url")
    with requests(client, token):
        await_role(fresh_database, first, not_=second)
        put("/database-url", url_of_new_role(fresh_database, second))
        await_role(fresh_database, second, not_=first)
        fresh_database.query(f"DROP ROLE {first}")
        wait_until_read()
