"""The feed of changes after a crash of PostgreSQL, which gives lost transaction ids out again."""

import asyncio
import json
import os
import signal
from pathlib import Path

import psycopg
import pytest

from dev import postgres
from dev.local_database import PASSWORD, ROLE, create_app_role
from lib.db.changes import Changes, list_changes
from lib.db.pool import close_pools
from lib.schemas import AuthenticatedUser, FeedPosition
from lib.settings import forget_settings
from migrations.runner import migrate
from tests.support.databases import Database

USER = AuthenticatedUser("u", "n", None, email_verified=False)
# Only commits write the log to the disk.
SETTINGS = {"wal_writer_delay": "10s", "autovacuum": "off"}


def database_of(server: postgres.Server, monkeypatch: pytest.MonkeyPatch) -> Database:
    url = server.url(user=ROLE, password=PASSWORD)
    monkeypatch.setenv("DATABASE_URL", url)
    forget_settings()
    return Database("postgres", url, server.url())


def read(position: FeedPosition | None) -> Changes:
    try:
        return asyncio.run(list_changes(USER, position, 500))
    finally:
        close_pools()


def roll_back(database: Database) -> int:
    """Roll a transaction back. Returns its id."""
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("INSERT INTO tasks (user_id, title) VALUES ('u', 'rolled back')")
        [(transaction,)] = connection.execute("SELECT pg_current_xact_id()::text").fetchall()
        connection.rollback()
    return int(transaction)


def create(database: Database) -> tuple[int, int]:
    """Create a task. Returns its id and that of its transaction."""
    insert = "INSERT INTO tasks (user_id, title) VALUES ('u', 'x') RETURNING id, changed_in::text"
    [(task_id, transaction)] = database.query(insert)
    return task_id, int(transaction)


@pytest.mark.parametrize("knows_tasks", [False, True])
def test_a_change_with_the_id_of_a_lost_transaction_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows_tasks: bool
) -> None:
    with postgres.running(tmp_path, durable=True) as server:
        migrate(server.url())
        create_app_role(server.url())
        database = database_of(server, monkeypatch)
        for name, value in SETTINGS.items():
            database.query(f"ALTER SYSTEM SET {name} = '{value}'")
        database.query("SELECT pg_reload_conf()")
        database.query("INSERT INTO users (id, name, email) VALUES ('u', 'n', 'u@x.example')")
        if knows_tasks:
            create(database)
        lost = roll_back(database)
        page = read(None)
        assert len(page.tasks) == knows_tasks
        os.kill(server.pid, signal.SIGKILL)
    with postgres.running(tmp_path, durable=True) as server:
        database = database_of(server, monkeypatch)
        created = []
        while not created or created[-1][1] < lost:
            created.append(create(database))
        assert created[-1][1] == lost, "the id was not given out again"
        page = read(page.next)
        assert [json.loads(task)["id"] for task in page.tasks] == [id_ for id_, _ in created]
