"""Users of the API over HTTP: their tokens, their paths and their requests."""

import base64
import json
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any

import httpx2
import jwt

type Task = dict[str, Any]
type Titles = list[str]  # the class below has a method named list


def mint(secret: str, algorithm: str = "HS256", **claims: Any) -> str:
    """A token with exactly these claims. A claim given as ... is omitted."""
    kept = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(kept, secret, algorithm=algorithm)


def claims_of(user_id: str) -> dict[str, Any]:
    """The claims of a usual token: valid for five minutes, without issuer and audience."""
    now = int(time.time())
    return {
        "sub": user_id,
        "iat": now,
        "exp": now + 300,
        "email": f"{uuid.uuid4().hex}@example.test",
        "name": "Contract Suite",
    }


def segment(value: object) -> str:
    """One base64url-encoded part of a token."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def in_parallel[T](count: int, call: Callable[[int], T]) -> list[T]:
    """Run call(0) to call(count - 1) at the same time, each in its own thread."""
    barrier = Barrier(count)

    def released(number: int) -> T:
        barrier.wait(timeout=30)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(released, range(count)))


@dataclass(frozen=True)
class User:
    """One user of the API: id, token, and methods that send requests."""

    client: httpx2.Client
    id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def url(self) -> str:
        return f"/api/{self.id}/tasks"

    def url_of(self, task: Task | int | str) -> str:
        return f"{self.url}/{task['id'] if isinstance(task, dict) else task}"

    def send(
        self, method: str, url: str, headers: Mapping[str, Any] | None = None, **request: Any
    ) -> httpx2.Response:
        """Send a request with this user's token and `headers` (text or bytes)."""
        sent: dict[str, Any] = {**self.headers, **(headers or {})}
        return self.client.request(method, url, headers=sent, **request)

    def list(self, **parameters: Any) -> httpx2.Response:
        return self.send("GET", self.url, params=parameters)

    def post(self, body: Any = None, **request: Any) -> httpx2.Response:
        return self.send("POST", self.url, json=body, **request)

    def get(self, task: Task | int | str, **request: Any) -> httpx2.Response:
        return self.send("GET", self.url_of(task), **request)

    def put(self, task: Task | int | str, changes: Any = None, **request: Any) -> httpx2.Response:
        return self.send("PUT", self.url_of(task), json=changes, **request)

    def complete(self, task: Task | int | str, body: Any = None, **request: Any) -> httpx2.Response:
        """PATCH .../complete. Without a body it toggles."""
        return self.send("PATCH", self.url_of(task) + "/complete", json=body, **request)

    def delete(self, task: Task | int | str, **request: Any) -> httpx2.Response:
        return self.send("DELETE", self.url_of(task), **request)

    def restore(self, task: Task | int | str, **request: Any) -> httpx2.Response:
        return self.send("POST", self.url_of(task) + "/restore", **request)

    def erase(self, task: Task | int | str, **request: Any) -> httpx2.Response:
        """DELETE ...?permanent=true."""
        return self.delete(task, params={"permanent": "true"}, **request)

    def changes(self, since: str | None = None, **parameters: Any) -> httpx2.Response:
        sent = parameters if since is None else {"since": since, **parameters}
        return self.send("GET", f"{self.url}/changes", params=sent)

    def create(self, title: str = "Buy milk", **fields: Any) -> Task:
        """Create a task and return it. The request must succeed."""
        response = self.post({"title": title, **fields})
        assert response.status_code == 201, response.text
        return response.json()

    def read(self, task: Task | int | str) -> Task:
        """Return a task that must exist."""
        response = self.get(task)
        assert response.status_code == 200, response.text
        return response.json()

    def titles(self, **parameters: Any) -> Titles:
        """The titles of a list, in its order. The request must succeed."""
        response = self.list(**parameters)
        assert response.status_code == 200, response.text
        return [task["title"] for task in response.json()]
