"""Databases with tasks of two users, and clients that follow their changes."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from migrations.runner import migrate
from tests.conftest import StartApi, bearer
from tests.integrations.migrations.conftest import (
    other_server,
    owned_database,
    project,
    run_migrations,
)
from tests.support.databases import Cluster, Database

__all__ = ["other_server", "owned_database", "project", "run_migrations"]


@pytest.fixture
def admin(owned_database: Database, cluster: Cluster) -> Database:
    """A migrated database, which `owned_database` sees as an owner without special rights."""
    migrate(owned_database.admin_url)
    return cluster.database(owned_database.name)


class Person:
    """A user of an API, and a client that follows their tasks."""

    def __init__(self, api: TestClient, user: str) -> None:
        self.api, self.user = api, user
        self.token = ""
        self.copy: dict[int, str] = {}

    def request(self, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"/api/tasks{path}"
        return self.api.request(method, url, json=json, headers=bearer(self.user) | named)

    def create(self, *titles: str, **headers: str) -> list[int]:
        created = [self.request("POST", "", {"title": title}, **headers) for title in titles]
        assert {response.status_code for response in created} <= {201}
        return [response.json()["id"] for response in created]

    def tasks(self) -> dict[int, str]:
        return {task["id"]: task["title"] for task in self.request("GET", "").json()}

    def follow(self) -> int:
        """Apply what has changed. Returns the number of changes."""
        number, more = 0, True
        while more:
            since = f"?since={self.token}" if self.token else ""
            page = self.request("GET", f"/changes{since}").json()
            self.copy |= {task["id"]: task["title"] for task in page["tasks"]}
            for id_ in page["deleted"]:
                self.copy.pop(id_, None)
            self.token, more = page["next"], page["more"]
            number += len(page["tasks"]) + len(page["deleted"])
        return number


type Serve = Callable[[Database], TestClient]


@pytest.fixture
def serve(start_api: StartApi) -> Serve:
    """Start the API on a database."""
    return lambda database: start_api(DATABASE_URL=database.app_url)
