"""One PostgreSQL for the tests with the real Better Auth, and a new database for whoever asks."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from dev import postgres


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
def logs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a new log file."""
    folder = tmp_path_factory.mktemp("logs")
    numbers = count(1)
    return lambda name: folder / f"{next(numbers)}-{name}.log"
