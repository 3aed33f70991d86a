"""The commands of the pages for the pinned CLI, with an emulator in place of Vercel's API."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from dev.deploy.vercel_build import CLI, ROOT
from tests.integrations.client.documents import FENCED

PROJECT = {"id": "prj_1", "name": "task-api", "accountId": "team_1"}
DEPLOYMENT = {
    "id": "dpl_1",
    "uid": "dpl_1",
    "url": "task-api-1-my-team.vercel.app",
    "projectId": "prj_1",
    "ownerId": "team_1",
    "team": {"id": "team_1"},
    "target": "production",
    "readyState": "READY",
}
LINE = {
    "level": "INFO",
    "message": "request",
    "timestamp": "2026-11-23T01:40:14.066+00:00",
    "request_id": "UcJ0fjC5liAEPvA-",
    "route": "/api/{user_id}/tasks",
    "status": 503,
    "reason": "connection refused",
}
LOGGED = [json.dumps(LINE), json.dumps(LINE | {"status": 200}), "plain text", "5"]
# `northstar`: the user has a team and no deployments of their own.
USER = {"id": "u", "email": "e@x.example", "version": "northstar", "defaultTeamId": "team_1"}
RESPONSES: list[tuple[str, Any]] = [
    (r"/v2/user", {"user": USER}),
    (r"/teams/team_1", {"id": "team_1", "slug": "my-team", "name": "My team"}),
    (r"/v9/projects/prj_1", PROJECT),
    (r"/v\d+/projects/prj_1/(rollback|promote)/dpl_1", {}),
    (r"/v13/deployments/.*", DEPLOYMENT),
    (r"/v6/deployments", {"deployments": [], "pagination": {"count": 0}}),
    (
        r"/v1/observability/events",
        {
            "events": [{"environment": "production", "message": text} for text in LOGGED],
            "pagination": {"hasMore": False, "nextCursor": None},
        },
    ),
]


class Api(ThreadingHTTPServer):
    """Responds as Vercel's API does, as far as the commands need it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path, _, query = self.path.partition("?")
        cast("Api", self.server).requests.append((self.command, path, body or query))
        [response] = [each for pattern, each in RESPONSES if re.fullmatch(pattern, path)]
        text = json.dumps(response).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET  # noqa: N815 - the base class looks up this name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - overridden
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def scripts(page: str, heading: str) -> list[str]:
    """The sh blocks under a heading."""
    text = (ROOT / "docs" / page).read_text().partition(f"### {heading}\n")[2]
    section = re.sub(r"^ {2}", "", re.split(r"^##", text, maxsplit=1, flags=re.M)[0], flags=re.M)
    return [found["text"] for found in FENCED.finditer(section) if found["kind"] == "sh"]


def run(script: str, api: Api, folder: Path) -> str:
    """Run a script in a linked folder. Returns what it prints."""
    (folder / ".vercel").mkdir(exist_ok=True)
    link = {"projectId": PROJECT["id"], "orgId": PROJECT["accountId"]}
    (folder / ".vercel" / "project.json").write_text(json.dumps(link))
    npx = f'npx() {{ "{CLI.parent}/$@" --api {api.url} --token x; }}; make() {{ true; }}\n'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", npx + script],
        cwd=folder,
        env={
            "PATH": f"{CLI.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "VERCEL_TELEMETRY_DISABLED": "1",
            "NO_UPDATE_NOTIFIER": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_rolls_back_and_promotes(api: Api, tmp_path: Path) -> None:
    rollback, promote = (
        script.replace("task-api-...-my-team", "task-api-1-my-team")
        for script in scripts("vercel.md", "Roll back")
    )
    run(rollback, api, tmp_path)
    listed = [query for _, path, query in api.requests if path == "/v6/deployments"]
    assert ["target=production" in query for query in listed] == [True]
    changes = [path for method, path, _ in api.requests if method == "POST"]
    assert changes == ["/v9/projects/prj_1/rollback/dpl_1"]
    api.requests.clear()
    run(promote, api, tmp_path)
    changes = [path for method, path, _ in api.requests if method == "POST"]
    assert changes == ["/v10/projects/prj_1/promote/dpl_1"]


def test_a_rollback_without_a_url_changes_nothing(api: Api, tmp_path: Path) -> None:
    """As the page says. If a later CLI rolls back without one, the page can leave it out."""
    run("npx vercel rollback --yes", api, tmp_path)
    assert api.requests
    assert [method for method, *_ in api.requests if method == "POST"] == []


def test_the_log_query_prints_the_failed_requests_of_an_hour(api: Api, tmp_path: Path) -> None:
    [query] = scripts("operations.md", "Vercel")
    printed = run(query, api, tmp_path)
    values = [str(LINE[name]) for name in ("timestamp", "request_id", "status", "route", "reason")]
    assert printed == "\t".join(values) + "\n"
    [body] = [
        json.loads(body) for _, path, body in api.requests if path == "/v1/observability/events"
    ]
    assert body["filter"] == '(environment:"production")'
    assert body["limit"] == 1000
