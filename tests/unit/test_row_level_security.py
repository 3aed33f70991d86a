"""Row-level security also protects rows from prepared statements with the id of another user.

Each statement runs on one connection: first for the owner, so that PostgreSQL prepares and plans it
for them, and then for another user who names the owner in every parameter.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, LiteralString

import pytest

from lib.db import compiled
from lib.db.pipeline import Rows
from lib.db.pool import close_pools
from lib.db.transaction import run_transaction
from lib.errors import DatabaseNotPrepared
from tests.support.databases import Database

# The tables with rows of alice. tests/unit/test_owned_tables.py covers every table of users' rows.
TABLES = ("tasks", "deleted_tasks", "idempotency_keys")
READS_TABLE = re.compile(rf"\b({'|'.join(TABLES)})\b")
STATEMENTS: dict[str, LiteralString] = {}
for _name, _value in vars(compiled).items():
    if _name.isupper() and _name not in ("READY", "USERS_ARE_SHARED"):  # they read no rows of users
        _texts = _value if isinstance(_value, dict) else {"": _value}
        STATEMENTS |= {
            f"{_name} {key}".strip(): text
            for key, text in _texts.items()
            if READS_TABLE.search(text)
        }
READING = (
    *("LIST_", "FILTERED_", "COUNTED_", "TRASH_", "STATISTICS", "GET", "EXISTS", "RECORD"),
    *("CHANGES", "LOCK_DELETED"),
)
OF_TRASH = {
    *("GET_DELETED", "EXISTS_DELETED", "EXISTS_ERASABLE"),
    *("LOCK_DELETED", "RESTORE", "RESTORE_ONCE", "ERASE"),
}


@pytest.fixture
def owned(fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Alice has two tasks, two more in the trash, and a key. Mallory has one connection."""
    monkeypatch.setenv("DATABASE_URL", fresh_database.app_url)
    monkeypatch.setenv("DATABASE_POOL_SIZE", "1")
    fresh_database.query(
        "INSERT INTO users (id, name, email) VALUES"
        " ('alice', 'a', 'a@x.example'), ('mallory', 'm', 'm@x.example')"
    )
    fresh_database.query(
        "INSERT INTO tasks (id, user_id, title, tags) OVERRIDING SYSTEM VALUE"
        " VALUES (1001, 'alice', 'secret', '{secret}'), (1002, 'alice', 'secret', '{secret}')"
    )
    fresh_database.query(
        "INSERT INTO tasks (id, user_id, title, tags) OVERRIDING SYSTEM VALUE"
        " VALUES (2001, 'alice', 'secret', '{secret}'), (2002, 'alice', 'secret', '{secret}')"
    )
    fresh_database.query("DELETE FROM tasks WHERE id > 2000")
    fresh_database.query(
        "INSERT INTO idempotency_keys (user_id, key, request_hash, task, task_id, version)"
        " VALUES ('alice', 'stored', 'secret', '{}', 1002, 1)"
    )
    yield fresh_database
    close_pools()


def rows_of_alice(database: Database) -> list[list[tuple[Any, ...]]]:
    return [
        database.query(f"SELECT {table}::text FROM {table} WHERE user_id = 'alice' ORDER BY 1")  # noqa: S608
        for table in TABLES
    ]


def run(user: str, name: str, **values: Any) -> Rows:
    sort_key = name.partition(" ")[2].partition(" ")[0]
    parameters: dict[str, Any] = defaultdict(lambda: None)
    parameters |= {
        "title": "changed", "tags": [], "given": ["title"], "limit": 10, "max_bytes": 10**6,
        "offset": 0, "request_hash": "h", "user_name": "n", "user_email_verified": False,
        "must_match": True, "completed": None if name.startswith(READING) else True,
        "since": "1:1:", "after_change": "0",
    }  # fmt: skip
    if name == "CHANGES":
        parameters["after_id"] = 0
    if name.startswith("LIST_NEXT_PAGE"):
        first = sort_key in ("title", "priority") or name.endswith("asc")
        moment = "-infinity" if first else "infinity"
        parameters |= {"after": {"title": "", "priority": "-1"}.get(sort_key, moment)}
        parameters["after_id"] = 0
        if sort_key in ("title", "priority") and name.endswith("desc"):
            parameters["after"] = {"title": "zz", "priority": "9"}[sort_key]
    parameters |= values
    [rows] = asyncio.run(run_transaction(user, (STATEMENTS[name], parameters), writes=True))
    # Without the current snapshot, which differs each time.
    return [row[:3] for row in rows] if name == "CHANGES" else rows


@pytest.mark.parametrize("name", STATEMENTS)
def test_another_user_reaches_nothing_by_naming_the_owner(owned: Database, name: str) -> None:
    before = rows_of_alice(owned)
    key = "stored" if name == "RECORD" else "of alice"
    first = 2001 if name in OF_TRASH else 1001
    rows = run("alice", name, owner="alice", task_id=first, key=key)
    primed = rows_of_alice(owned)
    if name.startswith(READING):
        assert rows
        assert rows != run("alice", name, owner="nobody", task_id=1, key="unknown")
    else:
        assert primed != before
    key = "stored" if name == "RECORD" else "of mallory"
    try:
        stolen = run("mallory", name, owner="alice", task_id=first + 1, key=key)
    except DatabaseNotPrepared as error:
        assert "row-level security" in str(error.reason)  # noqa: PT017 - either is right
    else:
        if name.startswith(READING):
            assert stolen == run("mallory", name, owner="nobody", task_id=1, key="unknown")
        else:
            assert stolen == []
    assert rows_of_alice(owned) == primed
