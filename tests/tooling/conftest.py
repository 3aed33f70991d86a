"""A PostgreSQL server for the tests of the TCP proxy and the pooler."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from dev import postgres

PASSWORD = 'a "quoted" p%ss:word/'


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    """A server with the role `app`, whose password is PASSWORD."""
    data = tmp_path_factory.mktemp("shared") / "data"
    with postgres.running(data, durable=False) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("create role app login")
            connection.execute(sql.SQL("alter role app password {}").format(PASSWORD))
        yield server
