"""What the tests of the smoke test share: settings, the rows it leaves, an API in this process."""

import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack

import pytest
import uvicorn

from api import smoke
from dev.app import GROUPS, app
from lib.db import pool as database_module
from lib.settings import Settings, forget_settings, read_settings
from lib.smoke.report import Limits
from tests.conftest import SECRET
from tests.support.certificate import Certificate
from tests.support.databases import Database

ORIGIN = "http://localhost:3000"
# For tests that are not about time: machines of CI are slow, and emulators start slowly.
PATIENT = Limits(step=30, slow=30, run=120, cleanup=30)

type MakeSettings = Callable[..., Settings]
type Serve = Callable[..., str]


def settings_for(url: str, **variables: str | None) -> Settings:
    """The settings of a probe that looks at `url`; a variable that is None is not set."""
    known = {"BETTER_AUTH_SECRET": SECRET, "CORS_ORIGINS": ORIGIN, "SMOKE_BASE_URL": url}
    return read_settings({k: v for k, v in (known | variables).items() if v is not None})


@pytest.fixture
def closed_url() -> str:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class Rows:
    """The tasks of the smoke test's users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self) -> int:
        [(count,)] = self._database.query("SELECT count(*) FROM tasks WHERE user_id LIKE 'smoke%'")
        return count

    def add(self, title: str, minutes: int = 0) -> None:
        """A task of the user smoke, made some minutes ago."""
        self._database.query(
            "INSERT INTO users (id, name, email) VALUES ('smoke', 's', 'smoke@users.invalid')"
            " ON CONFLICT DO NOTHING"
        )
        self._database.query(
            "INSERT INTO tasks (user_id, title, created_at)"
            " VALUES ('smoke', %s, now() - make_interval(mins => %s))",
            title,
            minutes,
        )

    def titles(self) -> list[str]:
        rows = self._database.query("SELECT title FROM tasks WHERE user_id LIKE 'smoke%'")
        return sorted(title for (title,) in rows)

    def clear(self) -> None:
        self._database.query("DELETE FROM tasks WHERE user_id LIKE 'smoke%'")


@pytest.fixture
def rows(database: Database) -> Iterator[Rows]:
    rows = Rows(database)
    rows.clear()
    yield rows
    rows.clear()


@pytest.fixture
def serve(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Generator[Serve]:
    """Serve the whole API from this process on a port: `serve(JWT_ISSUER="x")` gives its URL.

    `{self}` in a value stands for that URL.
    """
    with ExitStack() as stack:

        def start(certificate: Certificate | None = None, **variables: str) -> str:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            url = f"{'https' if certificate else 'http'}://{address}"
            for name, value in (environment | variables).items():
                monkeypatch.setenv(name, value.replace("{self}", url))
            forget_settings()
            monkeypatch.setattr(smoke, "_latest", None)
            for group in GROUPS:
                group.app.middleware_stack = None
            config = uvicorn.Config(
                app, log_config=None, lifespan="off", timeout_graceful_shutdown=1,
                ssl_certfile=certificate.chain if certificate else None,
                ssl_keyfile=certificate.key if certificate else None,
            )  # fmt: skip
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
            thread.start()
            stack.callback(thread.join, 20)
            stack.callback(setattr, server, "should_exit", True)
            until = time.monotonic() + 20
            while not server.started:
                assert time.monotonic() < until, "the server did not start"
                time.sleep(0.01)
            return url

        yield start
    database_module.close_pools()
