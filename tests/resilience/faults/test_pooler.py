"""Through a real PgBouncer as Neon's: TLS, round trips, row security, sessions that are shared."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from dev import postgres
from dev.local_database import PASSWORD, ROLE
from lib.db import pool as database
from lib.db.connection import NotConnected, connect
from lib.db.pool import Pool, Session
from lib.db.url import connection_parameters
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
    """With TLS."""
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


@pytest.fixture
def pool(url: str) -> Iterator[Pool]:
    parameters = connection_parameters(url)
    pool = Pool(lambda deadline: connect(parameters, deadline))
    yield pool
    pool.close()


def test_tls_is_verified(url: str, tmp_path: Path) -> None:
    parameters = connection_parameters(url)
    assert parameters["sslmode"] == "verify-full"
    with connect(parameters, time.monotonic() + 10) as connection:
        assert connection.pgconn.ssl_in_use
    other = {"sslrootcert": str(write_certificate(tmp_path).ca)}
    with pytest.raises(NotConnected, match="certificate verify failed"):
        connect(parameters | other, time.monotonic() + 10)
    elsewhere = {"host": "elsewhere.example", "hostaddr": "127.0.0.1"}
    with pytest.raises(NotConnected, match="does not match host name"):
        connect(parameters | elsewhere, time.monotonic() + 10)


def test_round_trips_are_those_of_tls_and_scram_then_one_a_request(
    start_api: StartApi, pooler: Pooler, url: str
) -> None:
    with tcp_proxy.running(pooler.port) as proxy:
        api = start_api(DATABASE_URL=url.replace(f":{pooler.port}/", f":{proxy.port}/"))
        headers = bearer(roundtrips.USER)
        # May we speak TLS; the handshake; start-up and two of SCRAM; the statement.
        first = roundtrips.count_first_request(api, headers, lambda: proxy.flights)
        # PgBouncer also sends tickets for later sessions: the proxy may take them for an answer
        # that was waited for.
        assert first in (1 + 1 + 3 + 1, 1 + 1 + 1 + 3 + 1)
        counted = roundtrips.count_requests(api, headers, lambda: proxy.flights)
        assert {request.label: flights for request, flights in counted if flights != 1} == {}
        database.close()


def test_many_clients_on_few_backends_see_their_own_rows_only(
    pool: Pool, url: str, fresh_database: Database
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
    backends: Counter[int] = Counter()
    cross_tenant = []

    def work_as(number: int) -> None:
        chance = random.Random(number)
        for turn in range(TURNS):
            who = chance.randrange(CLIENTS)
            with pool.lend(time.monotonic()) as connection:
                # No statement names an owner: the second lock is on its own.
                read, changed, [(pid,)] = Session(connection, users[who]).fetch(
                    ("SELECT user_id FROM tasks", {}),
                    ("UPDATE tasks SET version = version + 1 RETURNING user_id", {}),
                    ("SELECT pg_backend_pid()", {}),
                )
                backends[pid] += 1
                if read != [(users[who],)] * (who + 1) or changed != read:
                    cross_tenant.append((users[who], read))
            if turn % 8 == 0:
                # Somebody who sets nothing gets nothing, whoever was here before.
                with psycopg.connect(url, autocommit=True, prepare_threshold=None) as raw:
                    row = raw.execute(
                        "SELECT current_setting('app.user_id', true),"
                        " current_setting('statement_timeout'), current_setting('lock_timeout'),"
                        " (SELECT count(*) FROM tasks),"
                        " (SELECT count(*) FROM pg_prepared_statements)"
                    ).fetchone()
                    if row not in [("", "0", "0", 0, 0), (None, "0", "0", 0, 0)]:
                        cross_tenant.append(("nobody", row))

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(work_as, range(CLIENTS)))
    assert cross_tenant == []
    assert sum(backends.values()) == CLIENTS * TURNS
    assert 1 < len(backends) <= BACKENDS
    [(versions,)] = fresh_database.query("SELECT sum(version - 1) FROM tasks")
    assert versions > 0


def test_a_statement_is_cancelled_through_the_pooler(
    url: str, monkeypatch: pytest.MonkeyPatch, fresh_database: Database
) -> None:
    """The time that is left travels in the same flight, on whichever backend it lands."""
    from lib.errors import DatabaseUnavailable

    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr(database, "BUDGET", 1.0)

    def sleep(session: Session) -> None:
        session.fetch(("SELECT pg_sleep(60)", {}))

    for _ in range(BACKENDS + 1):
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="nothing was changed"):
            asyncio.run(database.run(None, sleep, writes=True))
        assert time.monotonic() - started < 1.3
    asleep = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%pg_sleep(60)' AND state = %s"
    )
    assert fresh_database.query(asleep, "active") == [(0,)]
    database.close()


def test_a_wrong_bundle_is_503_with_its_reason_in_the_log(
    start_api: StartApi, url: str, tmp_path: Path, request_lines: RequestLines
) -> None:
    wrong = write_certificate(tmp_path).ca
    parts = url.partition("sslrootcert=")
    api = start_api(DATABASE_URL=f"{parts[0]}sslrootcert={wrong}")
    answer = api.get("/api/alice/tasks", headers=bearer("alice"))
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    [line] = request_lines()
    assert "certificate verify failed" in line["reason"]
