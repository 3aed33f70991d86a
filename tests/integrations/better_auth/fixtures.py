"""Fixtures for the tests with the real Better Auth: databases and log files."""

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

# As on Neon, Better Auth and migrations connect as the owner of the database, not as a superuser.
OWNER = "owner"

type NewDatabase = Callable[[], Urls]
type Deploy = Callable[[Urls], None]
type NewLog = Callable[[str], Path]


@pytest.fixture(scope="session")
def new_database(cluster: Cluster) -> NewDatabase:
    """A function that creates an empty database and returns its URLs for the owner and the API."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        # Roles belong to the server: another test worker may have created this one already.
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
    """A function that applies our migrations and creates the API's role, as operators do."""

    def apply(database: Urls) -> None:
        migrate(database.admin)
        create_app_role(database.admin)

    return apply


@pytest.fixture(scope="session")
def migrated_database(new_database: NewDatabase, deploy: Deploy) -> NewDatabase:
    """A function that creates a database with our tables and returns its URLs."""

    def make() -> Urls:
        database = new_database()
        deploy(database)
        return database

    return make


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> NewLog:
    """A function that returns the path of a new log file."""
    folder = tmp_path_factory.mktemp("logs")
    numbers = count(1)
    return lambda name: folder / f"{next(numbers)}-{name}.log"
