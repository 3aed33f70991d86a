"""Environment variables as set by Vercel and Neon's integration, and mistakes of operators."""

import time
import uuid

import httpx2
import jwt
import pytest

from tests.conftest import SECRET
from tests.platforms.vercel.conftest import wait_until
from tests.support.databases import Database
from tests.support.targets import vercel_runtime

# Neon's integration sets these beside DATABASE_URL. libpq reads the PG* names as defaults: wrong
# values show whether anything but DATABASE_URL is used.
OF_NEON = {
    "DATABASE_URL_UNPOOLED": "postgresql://nobody:wrong@127.0.0.1:9/nowhere?sslmode=require",
    "PGHOST": "127.0.0.9",
    "PGHOST_UNPOOLED": "127.0.0.9",
    "PGUSER": "nobody",
    "PGDATABASE": "nowhere",
    "PGPASSWORD": "wrong",
    "POSTGRES_URL": "postgres://nobody:wrong@127.0.0.1:9/nowhere",
    "POSTGRES_URL_NON_POOLING": "postgres://nobody:wrong@127.0.0.1:9/nowhere",
    "POSTGRES_USER": "nobody",
    "POSTGRES_HOST": "127.0.0.9",
    "POSTGRES_PASSWORD": "wrong",
    "POSTGRES_DATABASE": "nowhere",
}
PREVIEWS = "https://app-*-team.vercel.app"
FOREIGN = [
    "https://evil.vercel.app",
    "https://app.vercel.app",
    "https://app-abc123xyz-others.vercel.app",
    "https://other-abc123xyz-team.vercel.app",
    "https://app-a-b-team.vercel.app",
    "https://app--team.vercel.app",
    "http://app-abc123xyz-team.vercel.app",
    "https://app-abc123xyz-team.vercel.app.evil.example",
    "https://app-abc123xyz-teamXvercel.app",
    "https://evil.example/app-abc123xyz-team.vercel.app",
    "null",
]


def test_the_variables_of_neons_integration_work_unchanged(
    environment: dict[str, str], database: Database
) -> None:
    given = OF_NEON | {"DATABASE_URL": database.app_url.replace("postgresql://", "postgres://")}
    user = f"user-{uuid.uuid4().hex}"
    token = jwt.encode({"sub": user, "exp": int(time.time()) + 60}, SECRET, "HS256")
    with (
        vercel_runtime.serve(environment | given) as url,
        httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60
        ) as client,
    ):
        assert client.get("/api/health/ready").status_code == 200
        created = client.post(f"/api/{user}/tasks", json={"title": "in the right place"})
        assert created.status_code == 201, created.text
    found = database.query("SELECT title FROM tasks WHERE user_id = %s", user)
    assert found == [("in the right place",)]


def test_only_previews_of_the_own_project_are_allowed_origins(
    environment: dict[str, str],
) -> None:
    with (
        vercel_runtime.serve(environment | {"CORS_PREVIEW_ORIGIN": PREVIEWS}) as url,
        httpx2.Client(base_url=url, timeout=60) as client,
    ):
        for origin in ("https://app-abc123xyz-team.vercel.app", environment["CORS_ORIGINS"]):
            headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
            for response in (
                client.get("/api/nobody/tasks", headers=headers),
                client.options("/api/nobody/tasks", headers=headers),
            ):
                assert response.headers["Access-Control-Allow-Origin"] == origin
        for origin in FOREIGN:
            headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
            for response in (
                client.get("/api/nobody/tasks", headers=headers),
                client.options("/api/nobody/tasks", headers=headers),
            ):
                assert "Access-Control-Allow-Origin" not in response.headers, origin


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "https://*",
        "https://*.vercel.app",
        "https://app-*.vercel.app",
        "https://*-*-*.vercel.app",
    ],
)
def test_a_pattern_that_would_allow_other_projects_stops_the_start(
    environment: dict[str, str], pattern: str
) -> None:
    with vercel_runtime.deploy(environment | {"CORS_PREVIEW_ORIGIN": pattern}) as deployment:
        headers = {"Origin": "https://evil.vercel.app"}
        response = httpx2.get(f"{deployment.url}/api/health", headers=headers, timeout=60)
        instance = deployment.instances["api/health"]
        # The log may arrive after the response.
        wait_until(lambda: any("CORS_PREVIEW_ORIGIN" in line.text for line in list(instance.lines)))
    assert response.status_code == 500
    assert "Access-Control-Allow-Origin" not in response.headers


def test_invalid_settings_are_reported_by_every_response(environment: dict[str, str]) -> None:
    # A start that failed would end the process: Vercel's server announces itself before it starts
    # the application, and the platform's own 500 is no JSON and has no CORS headers.
    origin = environment["CORS_ORIGINS"]
    with (
        vercel_runtime.deploy(environment | {"BETTER_AUTH_SECRET": "short"}) as deployment,
        httpx2.Client(base_url=deployment.url, headers={"Origin": origin}, timeout=60) as client,
    ):
        for _ in range(2):
            response = client.get("/api/somebody/tasks")
            assert (response.status_code, response.json()) == (
                500,
                {"detail": "Internal server error."},
            )
            assert response.headers["Access-Control-Allow-Origin"] == origin
            assert response.headers["X-Request-ID"]
        instance = deployment.instances["api/tasks"]
        wait_until(lambda: any("BETTER_AUTH_SECRET" in line.text for line in list(instance.lines)))
        assert instance.process.poll() is None
