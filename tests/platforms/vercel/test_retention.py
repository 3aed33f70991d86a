"""The retention job as Vercel's cron calls it: only with the secret of the project."""

import json
from pathlib import Path

import httpx2

from tests.support.databases import Database
from tests.support.targets import vercel_runtime

CRON_SECRET = "cron-secret-0123456789"
VERCEL_JSON = json.loads((Path(__file__).parents[3] / "vercel.json").read_text())


def test_the_cron_job_removes_what_has_expired(
    environment: dict[str, str], fresh_database: Database
) -> None:
    fresh_database.query("INSERT INTO users (id, name, email) VALUES ('ada', 'Ada', 'a@x.example')")
    fresh_database.query(
        "INSERT INTO idempotency_keys VALUES ('ada', 'k', 'h', '{}', 1, 1, '2026-01-01')"
    )
    [path] = [cron["path"] for cron in VERCEL_JSON["crons"] if "retention" in cron["path"]]
    variables = {"CRON_SECRET": CRON_SECRET, "DATABASE_URL": fresh_database.app_url}
    with vercel_runtime.deploy(environment | variables) as deployment:
        for url in (deployment.url + path, f"{deployment.url}{path}/"):
            assert httpx2.get(url, timeout=60).status_code == 401
        headers = {"Authorization": f"Bearer {CRON_SECRET}"}
        response = httpx2.get(deployment.url + path, headers=headers, timeout=60)
        assert response.status_code == 200, response.text
        assert response.json()["removed"]["idempotency_keys"] == 1
    assert fresh_database.query("SELECT count(*) FROM idempotency_keys") == [(0,)]


def test_the_hobby_plan_allows_the_cron_jobs() -> None:
    """Two, each once a day."""
    schedules = [cron["schedule"].split() for cron in VERCEL_JSON["crons"]]
    assert len(schedules) == 2
    for minute, hour, *days in schedules:
        assert minute.isdecimal()
        assert hour.isdecimal()
        assert days == ["*", "*", "*"]
