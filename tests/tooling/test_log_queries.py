"""The queries of docs/operations.md ask for what the log's lines really hold."""

import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.tasks import app as tasks_app
from lib.settings import forget_settings
from tests.conftest import StartApi, bearer

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
# CloudWatch's own, and its words.
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
    # Not entered: the local server would not start, a deployed function must answer.
    api = TestClient(tasks_app)
    assert api.get("/api/alice/tasks", headers=bearer("alice")).status_code == 500

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    held = {name for line in lines for name in line}
    held |= {name for line in lines for cause in line.get("causes", []) for name in cause}
    asked = set().union(*map(fields_of, queries()))
    # Written by the smoke test alone: tests/integrations/smoke looks at it.
    assert asked - held == {"detail"}
    said = {line["message"] for line in lines}
    assert {"request", "Unexpected error.", "The settings are invalid."} <= said
