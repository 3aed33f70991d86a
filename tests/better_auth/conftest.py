"""One PostgreSQL for the tests with the real Better Auth, and a new database for whoever asks."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from dev import postgres
from tests.better_auth.servers import ROOT


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    with postgres.running(tmp_path_factory.mktemp("postgres") / "data", durable=False) as running:
        yield running


@pytest.fixture(scope="session")
def new_database(server: postgres.Server) -> Callable[[], str]:
    """The URL of a new, empty database at every call."""
    numbers = count(1)

    def make() -> str:
        name = f"better_auth_{next(numbers)}"
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return server.url(name)

    return make


@pytest.fixture(scope="session")
def migrate() -> Callable[[str], None]:
    """Apply our migrations to a database, as a deployment does."""

    def apply(url: str) -> None:
        env = {**os.environ, "DATABASE_URL": url, "DATABASE_URL_UNPOOLED": url}
        command = [sys.executable, "-m", "alembic", "upgrade", "head"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return apply


@pytest.fixture(scope="session")
def migrated_database(
    new_database: Callable[[], str], migrate: Callable[[str], None]
) -> Callable[[], str]:
    """The URL of a new database with our tables at every call."""

    def make() -> str:
        url = new_database()
        migrate(url)
        return url

    return make


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a new log file."""
    folder = tmp_path_factory.mktemp("logs")
    numbers = count(1)
    return lambda name: folder / f"{next(numbers)}-{name}.log"
