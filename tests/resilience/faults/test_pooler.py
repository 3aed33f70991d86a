"""A real PgBouncer, configured as Neon's: TLS, round trips, row-level security, timeouts."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from dev import postgres
from dev.local_database import PASSWORD, ROLE
from lib.db import pool as database
from lib.db import transaction
from lib.db.connection import connect
from lib.db.transaction import run_transaction
from lib.db.transport import NotConnected
from lib.db.url import connection_parameters
from lib.errors import DatabaseUnavailable
from tests.conftest import RequestLines, StartApi, bearer
from tests.resilience import roundtrips
from tests.support import pgbouncer, tcp_proxy
from tests.support.certificate import write_certificate
from tests.support.databases import Cluster, Database
from tests.support.pgbouncer import Pooler

pytestmark = pytest.mark.verify

CLIENTS, BACKENDS, TURNS = 30, 5, 25


@pytest.fixture(scope="module")
def pooler(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooler]:
    """A PgBouncer with TLS."""
    with pgbouncer.running(
        postgres.Server(cluster.port, "", 0, Path()),
        users={ROLE: PASSWORD},
        folder=tmp_path_factory.mktemp("pooler"),
        settings={"default_pool_size": str(BACKENDS)},
    ) as pooler:
        yield pooler


@pytest.fixture
def url(pooler: Pooler, fresh_database: Database) -> str:
    return pooler.url(fresh_database.name, user=ROLE, password=PASSWORD)


async def open_and_close(parameters: Mapping[str, Any]) -> bool:
    """Whether the connection used TLS."""
    connection = await connect(parameters, time.monotonic() + 10)
    try:
        return connection.pgconn.ssl_in_use
    finally:
        connection.close()


def test_tls_is_verified(url: str, tmp_path: Path) -> None:
    parameters = connection_parameters(url)
    assert parameters["sslmode"] == "verify-full"
    assert asyncio.run(open_and_close(parameters))
    other = {"sslrootcert": str(write_certificate(tmp_path).ca)}
    with pytest.raises(NotConnected, match="certificate verify failed"):
        asyncio.run(open_and_close(parameters | other))
    elsewhere = {"host": "elsewhere.example", "hostaddr": "127.0.0.1"}
    with pytest.raises(NotConnected, match="does not match host name"):
        asyncio.run(open_and_close(parameters | elsewhere))


def test_a_connection_takes_the_round_trips_of_tls_and_scram_and_a_request_one(
    start_api: StartApi, pooler: Pooler, url: str
) -> None:
    with tcp_proxy.running(pooler.port) as proxy:
        api = start_api(DATABASE_URL=url.replace(f":{pooler.port}/", f":{proxy.port}/"))
        headers = bearer(roundtrips.USER)
        # The request for TLS; the handshake; start-up and two of SCRAM; the statement.
        first = roundtrips.count_first_request(api, headers, lambda: proxy.round_trips)
        # PgBouncer also sends session tickets, which the proxy may count as a response.
        assert first in (1 + 1 + 3 + 1, 1 + 1 + 1 + 3 + 1)
        counted = roundtrips.count_requests(api, headers, lambda: proxy.round_trips)
        assert {request.label: count for request, count in counted if count != 1} == {}
        database.close_pools()


def test_many_clients_on_few_backends_access_only_their_own_rows(
    url: str, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [f"user-{number}" for number in range(CLIENTS)]
    for number, user in enumerate(users):
        fresh_database.query(
            "INSERT INTO users (id, name, email) VALUES (%s, 'n', %s)", user, f"{user}@example.com"
        )
        fresh_database.query(
            "INSERT INTO tasks (user_id, title) SELECT %s, 't' FROM generate_series(0, %s)",
            user,
            number,
        )
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setitem(database.POOL_SIZE, "local", CLIENTS)
    backends: Counter[int] = Counter()
    cross_tenant = []

    async def run_client(number: int) -> None:
        chance = random.Random(number)
        for turn in range(TURNS):
            index = chance.randrange(CLIENTS)
            # No statement names an owner, so that row-level security alone separates the users.
            read, changed, [(pid,)] = await run_transaction(
                users[index],
                ("SELECT user_id FROM tasks", {}),
                ("UPDATE tasks SET version = version + 1 RETURNING user_id", {}),
                ("SELECT pg_backend_pid()", {}),
                writes=True,
            )
            backends[pid] += 1
            if read != [(users[index],)] * (index + 1) or changed != read:
                cross_tenant.append((users[index], read))
            if turn % 8 == 0 and (row := await read_without_user()) not in [
                ("", "0", "0", "auto", 0),
                (None, "0", "0", "auto", 0),
            ]:
                cross_tenant.append(("no user", row))

    async def read_without_user() -> tuple | None:
        """A client that sets no user gets no row, and no setting of an earlier transaction."""
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, prepare_threshold=None
        ) as connection:
            cursor = await connection.execute(
                "SELECT current_setting('app.user_id', true),"
                " current_setting('statement_timeout'), current_setting('lock_timeout'),"
                " current_setting('plan_cache_mode'), (SELECT count(*) FROM tasks)"
            )
            return await cursor.fetchone()

    async def run_all() -> None:
        await asyncio.gather(*map(run_client, range(CLIENTS)))

    asyncio.run(run_all())
    database.close_pools()
    assert cross_tenant == []
    assert sum(backends.values()) == CLIENTS * TURNS
    assert 1 < len(backends) <= BACKENDS
    [(versions,)] = fresh_database.query("SELECT sum(version - 1) FROM tasks")
    assert versions > 0


def test_a_statement_is_cancelled_through_the_pooler(
    url: str, monkeypatch: pytest.MonkeyPatch, fresh_database: Database
) -> None:
    """The remaining time is sent in the same round trip, to the backend of the statement."""
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr(database, "BUDGET", 1.0)
    for _ in range(BACKENDS + 1):
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="Nothing was changed"):
            asyncio.run(run_transaction(None, ("SELECT pg_sleep(60)", {}), writes=True))
        assert time.monotonic() - started < 1.3
    sleeping = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE '%%pg_sleep(60)' AND state = %s"
    )
    assert fresh_database.query(sleeping, "active") == [(0,)]
    database.close_pools()


@pytest.mark.parametrize("supported", [True, False])
def test_prepared_statements_need_the_support_of_the_pooler(
    cluster: Cluster,
    fresh_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    supported: bool,
) -> None:
    """Without it statements are lost or exist already, and requests still succeed, once."""
    fresh_database.query("CREATE TABLE counted (n int); GRANT ALL ON counted TO task_api")
    notices: list[str] = []
    monkeypatch.setattr(transaction, "log_warning", notices.append)
    clients = database.POOL_SIZE["local"]
    with pgbouncer.running(
        postgres.Server(cluster.port, "", 0, Path()),
        users={ROLE: PASSWORD},
        folder=tmp_path,
        tls=False,
        settings={
            "default_pool_size": "3",
            "max_prepared_statements": "1000" if supported else "0",
        },
    ) as pooler:
        monkeypatch.setenv(
            "DATABASE_URL", pooler.url(fresh_database.name, user=ROLE, password=PASSWORD)
        )

        async def write(n: int) -> None:
            insert: LiteralString = "INSERT INTO counted VALUES (%(n)s::int)"
            for _ in range(5):
                await run_transaction(f"user-{n}", (insert, {"n": n}), writes=True)

        async def write_all() -> None:
            await asyncio.gather(*map(write, range(clients)))

        asyncio.run(write_all())
        database.close_pools()
    assert fresh_database.query("SELECT count(*) FROM counted") == [(5 * clients,)]
    assert len(notices) == (0 if supported else 1)


def test_a_wrong_bundle_is_503_with_its_reason_in_the_log(
    start_api: StartApi, url: str, tmp_path: Path, request_lines: RequestLines
) -> None:
    wrong = write_certificate(tmp_path).ca
    parts = url.partition("sslrootcert=")
    api = start_api(DATABASE_URL=f"{parts[0]}sslrootcert={wrong}")
    response = api.get("/api/alice/tasks", headers=bearer("alice"))
    assert response.status_code == 503
    assert "retry-after" in response.headers
    [line] = request_lines()
    assert "certificate verify failed" in line["reason"]
