"""Users of the real Better Auth manage their tasks through the real API."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import unquote

import httpx2
import psycopg
import pytest

from dev.local_database import Urls
from dev.postgres import free_port
from tests.integrations.better_auth.fixtures import Deploy, NewDatabase, NewLog
from tests.integrations.better_auth.servers import SECRET, BetterAuth, Person, api, better_auth

WAYS = ["hs256-hook", "hs256-route", "eddsa", "eddsa-plain", "es256", "rs256"]
PASSWORD = "a-password-of-a-test"
# The API fetches the key set at most once in 10 seconds, so it may not know a new key that long.
NEW_KEY_SECONDS = 15


@dataclass
class System:
    """Better Auth and the API on one database, to which our migrations were applied first."""

    auth: BetterAuth
    api: str
    database: Urls

    def client(self, person: Person, token: str | None = None) -> httpx2.Client:
        """Create a client whose paths belong to the user: "/tasks" lists their tasks."""
        return tasks_client(self.api, person, token or person.token())


def tasks_client(api_url: str, person: Person, token: str) -> httpx2.Client:
    headers = {"authorization": f"Bearer {token}"}
    return httpx2.Client(base_url=f"{api_url}/api/{person.id}", headers=headers, timeout=20)


@pytest.fixture(scope="module", params=WAYS)
def system(
    request: pytest.FixtureRequest,
    migrated_database: NewDatabase,
    logs: NewLog,
) -> Iterator[System]:
    database = migrated_database()
    with ExitStack() as stack:
        auth = stack.enter_context(better_auth(request.param, database.admin, logs(request.param)))
        settings = {**auth.environment_of_api(), "PROVISION_USERS": "false"}
        url = stack.enter_context(api(database.app, logs("api"), settings))
        yield System(auth, url, database)


@pytest.fixture(scope="module")
def alice(system: System) -> Person:
    return system.auth.sign_up("alice@example.com")


@pytest.fixture(scope="module")
def bob(system: System) -> Person:
    return system.auth.sign_up("bob@example.com")


def test_better_auth_finds_our_users_table_as_its_own(system: System) -> None:
    assert "users" not in system.auth.created
    assert {"session", "account", "verification"} <= set(system.auth.created)
    assert system.auth.added == []


def test_own_tasks_are_created_listed_edited_toggled_and_deleted(
    system: System, alice: Person
) -> None:
    with system.client(alice) as mine:
        created = mine.post("/tasks", json={"title": "Buy milk"})
        assert created.status_code == 201, created.text
        task = created.json()
        assert task["user_id"] == alice.id
        path = f"/tasks/{task['id']}"
        assert task["id"] in [each["id"] for each in mine.get("/tasks").json()]
        assert mine.put(path, json={"description": "Two litres"}).json()["title"] == "Buy milk"
        assert mine.patch(f"{path}/complete").json()["completed"] is True
        assert mine.get(path).json()["description"] == "Two litres"
        assert mine.delete(path).status_code == 204
        assert mine.get(path).status_code == 404


def test_path_of_another_user_is_forbidden(system: System, alice: Person, bob: Person) -> None:
    with tasks_client(system.api, bob, alice.token()) as with_path_of_bob:
        assert with_path_of_bob.get("/tasks").status_code == 403
        assert with_path_of_bob.post("/tasks", json={"title": "For Bob"}).status_code == 403
    with system.client(bob) as his:
        assert his.get("/tasks").json() == []


def test_task_of_another_user_is_not_found(system: System, alice: Person, bob: Person) -> None:
    with system.client(alice) as hers, system.client(bob) as his:
        task = hers.post("/tasks", json={"title": "Private"}).json()
        path = f"/tasks/{task['id']}"
        responses = [
            his.get(path),
            his.put(path, json={"title": "Taken"}),
            his.patch(f"{path}/complete"),
            his.delete(path),
        ]
        assert [response.status_code for response in responses] == [404] * 4
        assert hers.get(path).json() == task


def test_sign_out_stops_new_tokens_and_existing_ones_stay_valid_until_they_expire(
    system: System,
) -> None:
    carol = system.auth.sign_up("carol@example.com")
    token = carol.token()
    carol.browser.post("/api/auth/sign-out").raise_for_status()
    assert carol.browser.get(carol.token_path).status_code == 401
    with system.client(carol, token) as hers:
        assert hers.get("/tasks").status_code == 200


def test_session_of_better_auth_is_rejected_as_a_token(system: System, alice: Person) -> None:
    session = alice.browser.get("/api/auth/get-session").raise_for_status().json()["session"]
    cookie = alice.browser.cookies["better-auth.session_token"]
    for secret in (session["token"], cookie, unquote(cookie)):
        with system.client(alice, secret) as hers:
            assert hers.get("/tasks").status_code == 401


def test_expired_token_is_rejected_as_expired(system: System, alice: Person) -> None:
    system.auth.set_clock(-3600)
    try:
        token = alice.token()
    finally:
        system.auth.set_clock(0)
    with system.client(alice, token) as hers:
        response = hers.get("/tasks")
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert "expired" in response.json()["detail"]


def test_deleting_a_user_deletes_the_tasks_and_their_token_gets_a_403(
    system: System,
) -> None:
    dora = system.auth.sign_up("dora@example.com")
    with system.client(dora) as hers:
        for number in range(3):
            key = {"idempotency-key": f"key-{number}"}
            assert hers.post("/tasks", json={"title": f"{number}"}, headers=key).status_code == 201
        dora.browser.post("/api/auth/delete-user", json={"password": PASSWORD}).raise_for_status()
        with psycopg.connect(system.database.admin) as connection:
            left = connection.execute(
                "SELECT (SELECT count(*) FROM users WHERE id = %(id)s),"
                " (SELECT count(*) FROM tasks WHERE user_id = %(id)s)",
                {"id": dora.id},
            ).fetchone()
        assert left == (0, 0)
        assert hers.get("/tasks").json() == []
        refused = hers.post("/tasks", json={"title": "After deletion"})
        assert refused.status_code == 403
        assert refused.json()["detail"]
    again = system.auth.sign_up("dora@example.com")
    with system.client(again) as hers:
        assert hers.post("/tasks", json={"title": "A new start"}).status_code == 201


def test_better_auth_may_be_deployed_first(
    new_database: NewDatabase,
    deploy: Deploy,
    logs: NewLog,
) -> None:
    database = new_database()
    with better_auth("hs256-hook", database.admin, logs("better-auth-first")) as auth:
        assert "users" in auth.created
        early = auth.sign_up("early@example.com")
        deploy(database)
        with (
            api(database.app, logs("api"), auth.environment_of_api()) as url,
            tasks_client(url, early, early.token()) as hers,
        ):
            assert hers.post("/tasks", json={"title": "First"}).status_code == 201
    with better_auth("hs256-hook", database.admin, logs("better-auth-again")) as auth:
        assert (auth.created, auth.added) == ([], [])


def test_users_are_created_from_their_tokens_if_better_auth_has_its_own_database(
    new_database: NewDatabase,
    migrated_database: NewDatabase,
    logs: NewLog,
) -> None:
    separate, database = new_database(), migrated_database()
    with (
        better_auth("hs256-hook", separate.admin, logs("separate")) as auth,
        api(database.app, logs("api"), auth.environment_of_api()) as url,
    ):
        person = auth.sign_up("alice@example.com")
        with tasks_client(url, person, person.token()) as hers:
            assert hers.get("/tasks").json() == []
            assert hers.post("/tasks", json={"title": "First"}).status_code == 201
            assert hers.post("/tasks", json={"title": "Second"}).status_code == 201
    with psycopg.connect(database.admin) as connection:
        users = connection.execute("SELECT id, email, name FROM users").fetchall()
    assert users == [(person.id, "alice@example.com", "alice")]


def test_token_of_the_previous_secret_is_accepted_during_a_rotation(
    migrated_database: NewDatabase, logs: NewLog
) -> None:
    database = migrated_database()
    with better_auth("hs256-hook", database.admin, logs("rotation")) as auth:
        person = auth.sign_up("alice@example.com")
        settings = auth.environment_of_api()
        settings["BETTER_AUTH_SECRET"] = "the-new-secret-of-a-rotation-0123456789"
        with (
            api(database.app, logs("api"), settings) as url,
            tasks_client(url, person, person.token()) as hers,
        ):
            assert hers.get("/tasks").status_code == 401
        settings["BETTER_AUTH_SECRET_PREVIOUS"] = SECRET
        with (
            api(database.app, logs("api"), settings) as url,
            tasks_client(url, person, person.token()) as hers,
        ):
            assert hers.get("/tasks").status_code == 200


def test_plain_jwt_plugin_against_an_api_set_to_hs256_is_named_in_the_log(
    migrated_database: NewDatabase, logs: NewLog
) -> None:
    database, log = migrated_database(), logs("api")
    with (
        better_auth("eddsa-plain", database.admin, logs("eddsa-plain")) as auth,
        api(database.app, log, {"BETTER_AUTH_SECRET": SECRET}) as url,
    ):
        person = auth.sign_up("alice@example.com")
        token = person.token()
        with tasks_client(url, person, token) as hers:
            response = hers.get("/tasks")
    assert response.status_code == 401
    assert "EdDSA" not in response.text
    logged = log.read_text()
    assert "EdDSA" in logged
    assert "JWT_ALGORITHM" in logged
    assert token.split(".")[1] not in logged


def test_rotated_key_is_accepted_and_the_old_one_stays_valid(
    migrated_database: NewDatabase, logs: NewLog
) -> None:
    database = migrated_database()
    settings = {"TOKEN_LIFE": "4h", "ROTATION_SECONDS": "3600"}
    with (
        better_auth("eddsa", database.admin, logs("eddsa"), settings) as auth,
        api(database.app, logs("api"), auth.environment_of_api()) as url,
    ):
        auth.set_clock(-2 * 3600)
        person = auth.sign_up("alice@example.com")
        old = person.token()
        with tasks_client(url, person, old) as hers:
            assert hers.get("/tasks").status_code == 200
        auth.set_clock(0)
        new = person.token()
        assert len(httpx2.get(auth.jwks_url).json()["keys"]) == 2
        with tasks_client(url, person, new) as hers:
            began = time.monotonic()
            while (response := hers.get("/tasks")).status_code != 200:
                assert response.status_code in (401, 503)
                assert time.monotonic() - began < NEW_KEY_SECONDS
                time.sleep(0.5)
        with tasks_client(url, person, old) as hers:
            assert hers.get("/tasks").status_code == 200


def test_cached_keys_are_used_while_better_auth_is_unavailable_and_without_them_503(
    migrated_database: NewDatabase, logs: NewLog
) -> None:
    database = migrated_database()
    with ExitStack() as stack:
        with better_auth("eddsa", database.admin, logs("eddsa")) as auth:
            person = auth.sign_up("alice@example.com")
            token = person.token()
            settings = auth.environment_of_api()
            warm = stack.enter_context(api(database.app, logs("api"), settings))
            with tasks_client(warm, person, token) as hers:
                assert hers.get("/tasks").status_code == 200
        with tasks_client(warm, person, token) as hers:
            assert hers.get("/tasks").status_code == 200
        settings["JWKS_URL"] = f"http://127.0.0.1:{free_port()}/api/auth/jwks"
        cold = stack.enter_context(api(database.app, logs("api"), settings))
        with tasks_client(cold, person, token) as hers:
            response = hers.get("/tasks")
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0


def test_key_set_in_the_environment_needs_no_better_auth(
    migrated_database: NewDatabase, logs: NewLog
) -> None:
    database = migrated_database()
    with better_auth("eddsa", database.admin, logs("eddsa")) as auth:
        person = auth.sign_up("alice@example.com")
        token = person.token()
        settings = auth.environment_of_api()
        del settings["JWKS_URL"]
        settings["JWKS"] = httpx2.get(auth.jwks_url).text
    with (
        api(database.app, logs("api"), settings) as url,
        tasks_client(url, person, token) as hers,
    ):
        assert hers.post("/tasks", json={"title": "Alone"}).status_code == 201
