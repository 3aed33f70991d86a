"""One PostgreSQL for the tests with the real Better Auth, and a new database for whoever asks."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from dev import postgres
from dev.local_database import PASSWORD, ROLE, Urls, create_app_role
from migrations.__main__ import migrate

# Better Auth and migrations come as the owner of the database, who is no superuser, as with Neon.
OWNER = "owner"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    with postgres.running(tmp_path_factory.mktemp("postgres") / "data", durable=False) as running:
        with psycopg.connect(running.url(), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
        yield running


@pytest.fixture(scope="session")
def new_database(server: postgres.Server) -> Callable[[], Urls]:
    """The URLs of a new, empty database at every call: for the owner, and for the API's role."""
    numbers = count(1)

    def make() -> Urls:
        name = f"better_auth_{next(numbers)}"
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" OWNER {OWNER}')
        return Urls(
            app=server.url(name, user=ROLE, password=PASSWORD),
            admin=server.url(name, user=OWNER, password=PASSWORD),
        )

    return make


@pytest.fixture(scope="session")
def deploy() -> Callable[[Urls], None]:
    """Apply our migrations to a database and make the API's role, as operators do."""

    def apply(database: Urls) -> None:
        migrate(database.admin)
        create_app_role(database.admin)

    return apply


@pytest.fixture(scope="session")
def migrated_database(
    new_database: Callable[[], Urls], deploy: Callable[[Urls], None]
) -> Callable[[], Urls]:
    """The URLs of a new database with our tables at every call."""

    def make() -> Urls:
        database = new_database()
        deploy(database)
        return database

    return make


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a new log file."""
    folder = tmp_path_factory.mktemp("logs")
    numbers = count(1)
    return lambda name: folder / f"{next(numbers)}-{name}.log"
