"""The smoke test as Vercel's cron calls it: the built function tests its own deployment."""

import httpx2
import pytest

from tests.support.databases import Database
from tests.support.targets import vercel_runtime

CRON_SECRET = "cron-secret-0123456789"


@pytest.mark.parametrize("path", ["/api/smoke", "/api/smoke/"])
def test_a_deployment_tests_itself(
    environment: dict[str, str], fresh_database: Database, path: str
) -> None:
    variables = {"CRON_SECRET": CRON_SECRET, "DATABASE_URL": fresh_database.app_url}
    with vercel_runtime.deploy(environment | variables) as deployment:
        deployment.environment["SMOKE_BASE_URL"] = deployment.url
        url = deployment.url + path
        assert httpx2.get(url, timeout=60).status_code == 401
        response = httpx2.get(url, headers={"Authorization": f"Bearer {CRON_SECRET}"}, timeout=60)
        assert response.status_code == 200, response.text
    assert fresh_database.query("SELECT count(*) FROM tasks") == [(0,)]
