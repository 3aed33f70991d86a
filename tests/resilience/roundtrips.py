"""`make roundtrips`: counts the round trips of each request to the database."""

import os
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import DateTime, Engine
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel, create_engine, func, select
from starlette.testclient import TestClient

from dev.app import app
from dev.local_database import local_database
from dev.token import make_token
from lib.db.models import User
from lib.settings import EXAMPLE_SECRET, forget_settings, load_settings
from tests.support import tcp_proxy

USER = "round-tripper"
TASKS = f"/api/{USER}/tasks"
# Opening the TCP connection is a round trip that a proxy cannot count.
TCP = 1


class TutorialModel(SQLModel, registry=registry()):
    """Apart from lib/db/models.py, which has the same tables."""


class Task(TutorialModel, table=True):
    """A task as in bench/tutorial.py, without the columns that tutorials do not have."""

    __tablename__ = "tasks"

    id: int | None = Field(default=None, primary_key=True)
    user_id: str
    title: str
    description: str | None = None
    completed: bool = False
    created_at: datetime | None = Field(
        default=None,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now()},
    )


# Counts the round trips since the start of the proxy.
type RoundTrips = Callable[[], int]


@dataclass(frozen=True)
class Request:
    """A request of a user. `{task}` in the path is the id of a new task, `{etag}` in a header its
    ETag.
    """

    method: str
    path: str = TASKS
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    note: str = ""

    @property
    def label(self) -> str:
        path = self.path.replace(TASKS, "/tasks").replace("{task}", "{id}")
        return ", ".join([f"{self.method} {path}", *self.headers, *filter(None, [self.note])])


TASK = f"{TASKS}/{{task}}"
MISSING = f"{TASKS}/999999999"
COMPLETE = f"{TASK}/complete"
NEW, CHANGED, SET = {"title": "New"}, {"title": "Changed"}, {"completed": True}
CURRENT, STALE = {"If-Match": "{etag}"}, {"If-Match": f'"{"0" * 32}"'}
REQUESTS = [
    Request("GET"),
    Request("GET", f"{TASKS}?limit=2"),
    Request("GET", f"{TASKS}?limit=2&count=true&q=n&status=pending&sort=title"),
    Request("POST", body=NEW, status=201),
    Request("POST", TASKS, NEW, {"Idempotency-Key": "post"}, 201),
    Request("POST", TASKS, NEW, {"Idempotency-Key": "post"}, 201, "again"),
    Request("GET", TASK),
    Request("GET", TASK, headers={"If-None-Match": "{etag}"}, status=304),
    Request("GET", MISSING, status=404, note="missing"),
    Request("PUT", TASK, CHANGED),
    Request("PUT", TASK, CHANGED, CURRENT),
    Request("PUT", TASK, CHANGED, STALE, 412, "stale"),
    Request("PATCH", COMPLETE),
    Request("PATCH", COMPLETE, SET, note="sets"),
    Request("PATCH", COMPLETE, None, CURRENT),
    Request("PATCH", COMPLETE, None, {"Idempotency-Key": "patch"}),
    Request("PATCH", COMPLETE, None, {"Idempotency-Key": "both"} | CURRENT),
    Request("DELETE", TASK, status=204),
    Request("DELETE", TASK, headers=CURRENT, status=204),
    Request("DELETE", f"{TASK}?permanent=true", status=204),
    Request("DELETE", f"{TASK}?permanent=true", headers=CURRENT, status=204),
    Request("POST", f"{TASK}/restore"),
    Request("POST", f"{TASK}/restore", None, CURRENT),
    Request("POST", f"{TASK}/restore", None, {"Idempotency-Key": "restore"}),
    Request("GET", f"{TASKS}?status=deleted&limit=2"),
    Request("GET", f"{TASKS}/changes"),
    Request("GET", "/api/health/ready"),
]


def count_first_request(client: TestClient, bearer: dict[str, str], round_trips: RoundTrips) -> int:
    """The round trips of the first request of a process: all but one open the connection."""
    before = round_trips()
    _send(client, bearer, REQUESTS[0])
    return round_trips() - before


def count_requests(
    client: TestClient, bearer: dict[str, str], round_trips: RoundTrips
) -> list[tuple[Request, int]]:
    """The round trips of each request on an open connection."""
    keys = uuid.uuid4().hex  # the database may have the keys of an earlier count

    def with_task(request: Request) -> Request:
        created = client.post(TASKS, json=NEW, headers=bearer)
        headers = {
            name: value.replace("{etag}", created.headers["etag"])
            for name, value in request.headers.items()
        }
        if "Idempotency-Key" in headers:
            headers["Idempotency-Key"] += f"-{keys}"
        path = request.path.replace("{task}", str(created.json()["id"]))
        return replace(request, path=path, headers=headers)

    # All tasks are created first, so that nothing else happens between the counted requests.
    prepared = [with_task(request) for request in REQUESTS]
    counted = []
    for request, sent in zip(REQUESTS, prepared, strict=True):
        before = round_trips()
        _send(client, bearer, sent)
        counted.append((request, round_trips() - before))
    return counted


def _send(client: TestClient, bearer: dict[str, str], request: Request) -> None:
    response = client.request(
        request.method, request.path, json=request.body, headers=bearer | request.headers
    )
    assert response.status_code == request.status, (request, response.text)


def count_tutorial(engine: Engine, round_trips: RoundTrips) -> dict[str, int]:
    """The round trips of the same operations with a SQLModel Session each, as in tutorials."""

    def list_tasks(session: Session) -> None:
        session.exec(select(Task).where(Task.user_id == USER)).all()

    def create_task(session: Session) -> Task:
        task = Task(user_id=USER, title="New")
        session.add(task)
        session.commit()
        session.refresh(task)
        return task

    def get_task(session: Session) -> None:
        assert session.get_one(Task, known).user_id == USER

    def update_task(session: Session) -> None:
        task = session.get_one(Task, known)
        task.title = uuid.uuid4().hex
        session.add(task)
        session.commit()
        session.refresh(task)

    def complete_task(session: Session) -> None:
        task = session.get_one(Task, known)
        task.completed = not task.completed
        session.add(task)
        session.commit()
        session.refresh(task)

    def delete_task(session: Session) -> None:
        session.delete(session.get_one(Task, known))
        session.commit()

    counted: dict[str, int] = {}
    known = 0
    for label, operation in (
        ("first", list_tasks),
        ("GET /tasks", list_tasks),
        ("POST /tasks", create_task),
        ("GET /tasks/{id}", get_task),
        ("PUT /tasks/{id}", update_task),
        ("PATCH /tasks/{id}/complete", complete_task),
        ("DELETE /tasks/{id}", delete_task),
    ):
        before = round_trips()
        with Session(engine) as session:
            created = operation(session)
            known = created.id if created else known
        counted[label] = round_trips() - before
    return counted


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="roundtrips-") as folder,
        local_database(Path(folder)) as urls,
        tcp_proxy.running(_port(urls.app)) as proxy,
    ):
        os.environ |= {"BETTER_AUTH_SECRET": EXAMPLE_SECRET, "LOG_LEVEL": "ERROR"}
        os.environ["DATABASE_URL"] = urls.app.replace(f":{_port(urls.app)}/", f":{proxy.port}/")
        forget_settings()
        bearer = {"Authorization": f"Bearer {make_token(USER, EXAMPLE_SECRET, load_settings())}"}
        with TestClient(app) as client:
            first = count_first_request(client, bearer, lambda: proxy.round_trips)
            counted = count_requests(client, bearer, lambda: proxy.round_trips)
        url = urls.admin.replace(f":{_port(urls.admin)}/", f":{proxy.port}/")
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with Session(engine) as session:
            assert session.get(User, USER)
        engine.dispose()
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        tutorial = count_tutorial(engine, lambda: proxy.round_trips)
        engine.dispose()

    def line(label: str, ours: object, theirs: object) -> None:
        print(f"{label:<64}{ours:>10}{theirs:>10}")

    line("round trips of a request on an open connection", "this API", "tutorial")
    for request, round_trips in counted:
        line(request.label, round_trips, tutorial.get(request.label, ""))
    line("the first request of a process", first + TCP, tutorial["first"] + TCP)
    print("\nWithout TLS; TLS 1.3 adds 2 to the first request, or 1 where Neon speaks TLS at once.")


def _port(url: str) -> int:
    return int(url.rpartition("@")[2].partition(":")[2].partition("/")[0])


if __name__ == "__main__":
    main()
