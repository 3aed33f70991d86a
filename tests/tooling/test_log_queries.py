"""The queries of docs/operations.md use fields and messages that log lines really have."""

import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.tasks import app as tasks_app
from lib.settings import forget_settings
from tests.conftest import StartApi, bearer

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
# Fields and keywords of CloudWatch.
OF_THE_LANGUAGE = {
    *("fields", "filter", "stats", "sort", "desc", "by", "as", "and", "or", "count", "avg", "pct"),
    *("sum", "bin", "requests", "mean", "p95", "refused", "cold", "h", "m"),
}


def queries() -> list[str]:
    section = DOCUMENT.partition("### CloudWatch Logs Insights")[2].partition("### Vercel")[0]
    return re.findall(r"```\n(.*?)\n```", section, re.DOTALL)


def fields_of(query: str) -> set[str]:
    bare = re.sub(r'"[^"]*"|@\w+', "", query)
    return set(re.findall(r"[a-z_]\w*", bare)) - OF_THE_LANGUAGE


def test_every_field_of_a_query_is_in_a_line(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = start_api()
    api.get("/api/health")
    api.get("/api/alice/tasks", headers=bearer("alice"))
    api.get("/api/alice/tasks", headers={"Authorization": "Bearer a.b.c"})
    with monkeypatch.context() as broken:
        broken.setattr("lib.db.tasks.list_tasks", None)
        assert api.get("/api/alice/tasks", headers=bearer("alice")).status_code == 500
    start_api(DATABASE_URL="postgresql://u:p@127.0.0.1:1/x")
    assert api.get("/api/alice/tasks", headers=bearer("alice")).status_code == 503
    monkeypatch.setenv("JWT_ALGORITHM", "HS257")
    forget_settings()
    monkeypatch.setattr(tasks_app, "middleware_stack", None)
    # Without `with`: the local server would not start, but a deployed function must respond.
    api = TestClient(tasks_app)
    assert api.get("/api/alice/tasks", headers=bearer("alice")).status_code == 500

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    logged = {name for line in lines for name in line}
    logged |= {name for line in lines for cause in line.get("causes", []) for name in cause}
    queried = set().union(*map(fields_of, queries()))
    # Only the smoke test writes it: tests/integrations/smoke checks it.
    assert queried - logged == {"detail"}
    messages = {line["message"] for line in lines}
    assert {"request", "Unexpected error.", "The settings are invalid."} <= messages
