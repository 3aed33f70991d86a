"""Databases and log files for the tests with the real Better Auth; knows nothing of tokens."""

import uuid
from collections.abc import Callable
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dev.local_database import PASSWORD, ROLE, Urls, create_app_role
from migrations.__main__ import migrate
from tests.support.databases import Cluster

# Better Auth and migrations come as the owner of the database, who is no superuser, as with Neon.
OWNER = "owner"

type NewDatabase = Callable[[], Urls]
type Deploy = Callable[[Urls], None]
type NewLog = Callable[[str], Path]


@pytest.fixture(scope="session")
def new_database(cluster: Cluster) -> NewDatabase:
    """The URLs of a new, empty database at every call: for its owner, and for the API's role."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        # Roles belong to the whole server: another worker may have made this one already.
        connection.execute(
            f"DO $$ BEGIN CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{PASSWORD}';"
            " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )

    def make() -> Urls:
        name = f"better_auth_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(*map(sql.Identifier, (name, OWNER)))
            )
        return Urls(app=cluster.url(name, ROLE, PASSWORD), admin=cluster.url(name, OWNER, PASSWORD))

    return make


@pytest.fixture(scope="session")
def deploy() -> Deploy:
    """Apply our migrations to a database and make the API's role, as operators do."""

    def apply(database: Urls) -> None:
        migrate(database.admin)
        create_app_role(database.admin)

    return apply


@pytest.fixture(scope="session")
def migrated_database(new_database: NewDatabase, deploy: Deploy) -> NewDatabase:
    """The URLs of a new database with our tables at every call."""

    def make() -> Urls:
        database = new_database()
        deploy(database)
        return database

    return make


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> NewLog:
    """The path of a new log file at every call."""
    folder = tmp_path_factory.mktemp("logs")
    numbers = count(1)
    return lambda name: folder / f"{next(numbers)}-{name}.log"
