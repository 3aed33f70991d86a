"""Acts as users of the API over HTTP; knows tokens and paths, no database."""

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
    """A token with exactly these claims; a claim given as ... is left out."""
    kept = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(kept, secret, algorithm=algorithm)


def claims_of(user_id: str) -> dict[str, Any]:
    """What a usual token says about a user: valid for five minutes, no issuer, no audience."""
    now = int(time.time())
    return {
        "sub": user_id,
        "iat": now,
        "exp": now + 300,
        "email": f"{uuid.uuid4().hex}@example.test",
        "name": "Contract Suite",
    }


def segment(value: object) -> str:
    """One base64url part of a hand-made token."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def at_once[T](count: int, call: Callable[[int], T]) -> list[T]:
    """call(0) to call(count - 1), released together, each from a thread of its own."""
    gate = Barrier(count)

    def released(number: int) -> T:
        gate.wait(timeout=30)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(released, range(count)))


@dataclass(frozen=True)
class User:
    """One user of the API: his id, his token, and the requests he can make."""

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
        """One request with this user's token; `headers` (text or bytes) come on top of it."""
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
        """PATCH .../complete: without a body it toggles."""
        return self.send("PATCH", self.url_of(task) + "/complete", json=body, **request)

    def delete(self, task: Task | int | str, **request: Any) -> httpx2.Response:
        return self.send("DELETE", self.url_of(task), **request)

    def create(self, title: str = "Buy milk", **fields: Any) -> Task:
        """Create a task that must succeed; gives the task."""
        answer = self.post({"title": title, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def read(self, task: Task | int | str) -> Task:
        """Get a task that must exist."""
        answer = self.get(task)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def titles(self, **parameters: Any) -> Titles:
        """The titles of a list that must succeed, in its order."""
        answer = self.list(**parameters)
        assert answer.status_code == 200, answer.text
        return [task["title"] for task in answer.json()]
