"""The effect of each setting on HTTP responses."""

import jwt
import pytest
from starlette.testclient import TestClient

from api import health
from api.tasks import app as tasks_app
from lib.settings import SettingsError, forget_settings
from tests.conftest import SECRET, RequestLines, StartApi, bearer
from tests.support.databases import Database

ORIGIN = "http://localhost:3000"
OLD_SECRET = "the-secret-before-the-rotation-0123456789"


def test_the_first_task_of_a_new_user_creates_their_row(
    start_api: StartApi, database: Database
) -> None:
    headers = bearer("newcomer", name="New Comer", email="new@example.com", emailVerified=True)
    response = start_api().post("/api/newcomer/tasks", json={"title": "First"}, headers=headers)
    assert response.status_code == 201
    row = database.query('SELECT name, email, "emailVerified" FROM users WHERE id = %s', "newcomer")
    assert row == [("New Comer", "new@example.com", True)]


def test_a_token_with_only_sub_and_exp_is_enough(start_api: StartApi, database: Database) -> None:
    response = start_api().post("/api/bare/tasks", json={"title": "x"}, headers=bearer("bare"))
    assert response.status_code == 201
    [(email,)] = database.query("SELECT email FROM users WHERE id = 'bare'")
    assert email.endswith("@users.invalid")


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_without_provisioning_an_unknown_user_gets_instructions(
    start_api: StartApi, database: Database, headers: dict[str, str]
) -> None:
    api = start_api(PROVISION_USERS="false")
    response = api.post("/api/ghost/tasks", json={"title": "x"}, headers=bearer("ghost") | headers)
    assert response.status_code == 403
    assert "Sign up" in response.json()["detail"]
    assert database.query("SELECT count(*) FROM users WHERE id = 'ghost'") == [(0,)]
    assert database.query("SELECT count(*) FROM idempotency_keys WHERE user_id = 'ghost'") == [(0,)]


@pytest.mark.parametrize("path", ["/api/docs", "/api/openapi.json", "/api/docs/start.js"])
def test_documentation_can_be_switched_off(start_api: StartApi, path: str) -> None:
    assert start_api().get(path).status_code == 200
    hidden = start_api(DOCS_ENABLED="false").get(path)
    assert hidden.status_code == 404
    assert hidden.json() == start_api().get("/api/nothing").json()


def test_a_token_of_the_previous_secret_is_accepted_during_a_rotation(start_api: StartApi) -> None:
    token = jwt.encode({"sub": "rotated", "exp": 4_000_000_000}, OLD_SECRET)
    headers = {"Authorization": f"Bearer {token}"}
    assert start_api().get("/api/rotated/tasks", headers=headers).status_code == 401
    api = start_api(BETTER_AUTH_SECRET_PREVIOUS=OLD_SECRET)
    assert api.get("/api/rotated/tasks", headers=headers).status_code == 200
    assert api.get("/api/rotated/tasks", headers=bearer("rotated")).status_code == 200


def test_a_next_link_from_before_a_rotation_works_after_it(start_api: StartApi) -> None:
    before = start_api(BETTER_AUTH_SECRET=OLD_SECRET)
    token = jwt.encode({"sub": "paging", "exp": 4_000_000_000}, OLD_SECRET)
    headers = {"Authorization": f"Bearer {token}"}
    for title in ("a", "b"):
        before.post("/api/paging/tasks", json={"title": title}, headers=headers)
    link = before.get("/api/paging/tasks?limit=1", headers=headers).links["next"]["url"]
    after = start_api(BETTER_AUTH_SECRET=SECRET, BETTER_AUTH_SECRET_PREVIOUS=OLD_SECRET)
    response = after.get(link, headers=bearer("paging"))
    assert [task["title"] for task in response.json()] == ["a"]


def test_issuer_and_audience_are_compared_when_set(start_api: StartApi) -> None:
    api = start_api(JWT_ISSUER="https://app.example", JWT_AUDIENCE="todo-api")
    right = {"iss": "https://app.example", "aud": ["todo-api", "other"]}
    assert api.get("/api/eve/tasks", headers=bearer("eve", **right)).status_code == 200
    for wrong in ({"iss": "https://app.example/"}, {"aud": "todo"}, {"aud": None}):
        headers = bearer("eve", **(right | wrong))
        assert api.get("/api/eve/tasks", headers=headers).status_code == 401


def test_the_lifetime_of_tokens_can_be_limited(start_api: StartApi) -> None:
    api = start_api(JWT_MAX_LIFETIME="600")
    assert api.get("/api/eve/tasks", headers=bearer("eve")).status_code == 200
    long = {"Authorization": f"Bearer {jwt.encode({'sub': 'eve', 'exp': 4_000_000_000}, SECRET)}"}
    assert api.get("/api/eve/tasks", headers=long).status_code == 401


def test_previews_of_the_frontend_are_allowed_by_a_pattern(start_api: StartApi) -> None:
    api = start_api(CORS_PREVIEW_ORIGIN="https://shop-*-acme.vercel.app")
    ours = {"Origin": "https://shop-a1b2c3-acme.vercel.app"}
    foreign = {"Origin": "https://shop-a1b2c3-evil-acme.vercel.app"}
    response = api.get("/api/health", headers=ours)
    assert response.headers["access-control-allow-origin"] == ours["Origin"]
    assert "access-control-allow-origin" not in api.get("/api/health", headers=foreign).headers


@pytest.mark.parametrize("name", ["DATABASE_URL", "BETTER_AUTH_SECRET"])
def test_a_missing_variable_stops_the_start_with_its_name(
    start_api: StartApi, environment: dict[str, str], name: str
) -> None:
    start_api(**{name: None})
    with pytest.raises(SettingsError, match=f"^{name} is not set.$"), TestClient(tasks_app):
        pass


def test_with_invalid_settings_requests_are_500_and_the_log_names_the_fault(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start_api()
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    forget_settings()
    health.app.middleware_stack = None
    response = TestClient(health.app).get("/api/health")
    monkeypatch.delenv("LOG_LEVEL")
    forget_settings()
    assert response.status_code == 500
    assert response.json() == {"detail": "Internal server error."}
    [notice] = [record for record in caplog.records if hasattr(record, "faults")]
    assert "LOG_LEVEL: must be DEBUG" in str(vars(notice)["faults"])


def test_an_unmigrated_database_is_not_ready(start_api: StartApi, fresh_database: Database) -> None:
    api = start_api(DATABASE_URL=fresh_database.app_url)
    assert api.get("/api/health/ready").status_code == 200
    fresh_database.query("DROP TABLE idempotency_keys")
    api = start_api(DATABASE_URL=fresh_database.app_url)  # a check is shared for a second
    response = api.get("/api/health/ready")
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert api.get("/api/health").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "of-the-deleted"}])
def test_no_row_is_created_for_a_deleted_user_of_better_auth(
    start_api: StartApi, fresh_database: Database, headers: dict[str, str]
) -> None:
    """The row would prevent signing up again with the same email address."""
    fresh_database.query(
        "CREATE TABLE session (token text, user_id text REFERENCES users (id) ON DELETE CASCADE)"
    )
    fresh_database.query("INSERT INTO users (id, name, email) VALUES ('eve', 'E', 'e@x.example')")
    api, eve = start_api(DATABASE_URL=fresh_database.app_url), bearer("eve", email="e@x.example")
    assert api.post("/api/eve/tasks", json={"title": "x"}, headers=eve).status_code == 201
    fresh_database.query("DELETE FROM users WHERE id = 'eve'")
    response = api.post("/api/eve/tasks", json={"title": "x"}, headers=eve | headers)
    assert response.status_code == 403
    assert fresh_database.query("SELECT count(*) FROM users") == [(0,)]


@pytest.mark.parametrize(
    "platform", [{}, {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}, {"VERCEL": "1"}]
)
def test_a_list_that_is_too_large_for_one_response_is_refused_on_every_platform(
    start_api: StartApi, fresh_database: Database, platform: dict[str, str]
) -> None:
    def tasks(count: int, title: str, description: str) -> None:
        fresh_database.query("DELETE FROM tasks")
        fresh_database.query(
            "INSERT INTO tasks (user_id, title, description)"
            " SELECT 'long', repeat(%s, 200), repeat(%s, 1000) FROM generate_series(1, %s)",
            title,
            description,
            count,
        )

    fresh_database.query("INSERT INTO users (id, name, email) VALUES ('long', 'n', 'l@x.example')")
    api, headers = start_api(DATABASE_URL=fresh_database.app_url, **platform), bearer("long")
    tasks(2900, "x", "x")  # 3.98 MB
    assert len(api.get("/api/long/tasks", headers=headers).json()) == 2900
    for count, title, description in (
        (3100, "x", "x"),  # more than 4 MB
        (1000, "x", "\U0001f600"),  # four bytes each
        (2300, '"', '"'),  # twice as long in JSON
    ):
        tasks(count, title, description)
        response = api.get("/api/long/tasks", headers=headers)
        assert response.status_code == 422, (count, title, len(response.content))
        assert response.json()["detail"] == (
            "The list is too large for one response. Use limit and follow the Link header."
        )
        assert len(api.get("/api/long/tasks?limit=100", headers=headers).json()) == 100


@pytest.mark.parametrize("url", ["app_url", "admin_url"])
def test_a_role_that_bypasses_row_level_security_is_logged_once(
    url: str, database: Database, start_api: StartApi, caplog: pytest.LogCaptureFixture
) -> None:
    health._warn_about_role.cache_clear()
    api = start_api(DATABASE_URL=getattr(database, url))
    for _ in range(2):
        assert api.get("/api/health/ready").status_code == 200
    warnings = [text for text in caplog.messages if "bypasses row-level security" in text]
    assert len(warnings) == (1 if url == "admin_url" else 0)


def test_a_refused_origin_is_the_reason_in_the_log(
    start_api: StartApi, request_lines: RequestLines
) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    assert start_api().options("/api/alice/tasks", headers=headers).status_code == 400
    [line] = request_lines()
    assert line["reason"] == "https://evil.example is not among CORS_ORIGINS"


@pytest.mark.parametrize("allowed", ["true", None])
def test_credentials_are_allowed_only_for_our_origins_and_if_configured(
    allowed: str | None, start_api: StartApi
) -> None:
    api = start_api(CORS_ALLOW_CREDENTIALS=allowed)
    name = "access-control-allow-credentials"
    preflight = {"Access-Control-Request-Method": "PUT"}
    for origin, expected in ((ORIGIN, allowed), ("https://evil.example", None), (None, None)):
        headers = bearer("alice") | ({"Origin": origin} if origin else {})
        response = api.get("/api/alice/tasks", headers=headers)
        assert response.headers.get(name) == expected
        assert response.headers.get("access-control-allow-origin") == (
            ORIGIN if origin == ORIGIN else None
        )
    response = api.options("/api/alice/tasks", headers={"Origin": ORIGIN, **preflight})
    assert response.headers.get(name) == allowed
