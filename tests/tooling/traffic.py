"""Real log lines and metrics of some traffic: users, errors, an outage, and both scheduled jobs."""

import contextlib
import io
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from starlette.testclient import TestClient

from api import retention, smoke
from dev.app import GROUPS, app
from lib.db.pool import close_pools
from lib.settings import forget_settings
from lib.web import middleware
from tests.conftest import SECRET, bearer
from tests.support.databases import Database
from tests.support.targets import local

type Line = dict[str, Any]

UNREACHABLE = "postgresql://nobody@127.0.0.1:1/none"
EXPIRED = """INSERT INTO idempotency_keys
SELECT 'alice', gen_random_uuid(), '', '{}', 1, 1, '2026-01-01' FROM generate_series(1, %s)"""
ROUND = timedelta(hours=1)
ROUNDS = 24
# The rounds with a new sandbox, in which the database is unavailable, and with a burst of requests.
COLD, OUTAGE, BUSY = {0, 6, 7, 18}, {11, 12}, {16, 17, 18}


def collect_lines(database: Database) -> list[Line]:
    """A day of traffic: a round of requests in each hour."""
    settings = {
        "DATABASE_URL": database.app_url,
        "BETTER_AUTH_SECRET": SECRET,
        "CORS_ORIGINS": "http://localhost:3000",
    }
    begin = datetime(2026, 11, 23, tzinfo=UTC)
    with local.serve(settings) as url:
        return [
            {**line, "timestamp": (begin + number * ROUND).isoformat()}
            for number in range(ROUNDS)
            for line in _round(number, settings, url, database)
        ]


def _round(number: int, settings: dict[str, str], url: str, database: Database) -> list[Line]:
    out = number in OUTAGE
    if out:
        settings = {**settings, "DATABASE_URL": UNREACHABLE}
    with contextlib.redirect_stdout(io.StringIO()) as output:
        with _environment(settings):
            if number in COLD:
                middleware._cold_start = True  # as in a new process
            _requests(number, TestClient(app, raise_server_exceptions=False))
        scheduled = {
            **settings,
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
            "POWERTOOLS_METRICS_NAMESPACE": "task-api-prod",
            "SMOKE_BASE_URL": "http://127.0.0.1:1" if out else url,
        }
        with _environment(scheduled):
            smoke.run_on_schedule()
            database.query(EXPIRED, 20 + number % 7)
            retention.run_on_schedule()
    return [json.loads(line) for line in output.getvalue().splitlines()]


def _requests(number: int, api: TestClient) -> None:
    for user in ("alice", "bob") * (3 if number in BUSY else 1):
        headers = bearer(user)
        created = api.post("/api/tasks", json={"title": "Task"}, headers=headers)
        path = f"/api/tasks/{created.json().get('id', 1)}"
        api.get("/api/tasks", headers=headers)
        api.put(path, json={"title": "Changed"}, headers=headers)
        api.get("/api/health")
        if number % 4 == 0:
            api.get("/api/tasks/999999999", headers=headers)
            api.get("/api/tasks", headers={"Authorization": "Bearer a.b.c"})
        api.delete(path, headers=headers)


@contextmanager
def _environment(variables: dict[str, str]) -> Generator[None]:
    with patch.dict(os.environ, variables):
        forget_settings()
        for group in GROUPS:
            group.app.middleware_stack = None
        try:
            yield
        finally:
            close_pools()
            forget_settings()
