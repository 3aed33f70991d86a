"""The feed of changes with transactions that overlap, and tokens that are no longer good."""

import asyncio
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from hashlib import sha256

import psycopg
import pytest

from lib.db import changes
from lib.db.changes import MAX_AGE, Changes, list_changes
from lib.db.pool import close_pools
from lib.db.retention import remove_expired
from lib.errors import ChangesExpired, DatabaseNotPrepared
from lib.schemas import AuthenticatedUser, FeedPosition, Snapshot
from tests.support.databases import Database

USER = AuthenticatedUser("u", "n", None, email_verified=False)
INSERT = "INSERT INTO tasks (user_id, title) VALUES ('u', %s)"
CHANGE = "UPDATE tasks SET title = title || '!' WHERE title = %s"
DELETE = "DELETE FROM tasks WHERE title = %s"


@pytest.fixture
def database(fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database with one user, whom every test follows."""
    monkeypatch.setenv("DATABASE_URL", fresh_database.app_url)
    fresh_database.query("INSERT INTO users (id, name, email) VALUES ('u', 'n', 'u@x.example')")
    yield fresh_database
    close_pools()


@contextmanager
def open_transaction(database: Database, *statements: tuple[str, str]) -> Generator[None]:
    """A transaction that has run the statements, and commits at the end of the block."""
    with psycopg.connect(database.admin_url) as connection:
        for text, title in statements:
            connection.execute(text.encode(), [title])
        yield


def read(position: FeedPosition | None, limit: int = 500) -> Changes:
    return asyncio.run(list_changes(USER, position, limit))


class Follower:
    """A copy of the tasks: ids and titles. `read` notes each title that it gets."""

    def __init__(self, limit: int = 500) -> None:
        self.limit = limit
        self.position: FeedPosition | None = None
        self.copy: dict[int, str] = {}

    def read_page(self) -> Changes:
        page = read(self.position, self.limit)
        for document in page.tasks:
            task = json.loads(document)
            self.copy[task["id"]] = task["title"]
        for task_id in page.deleted:
            self.copy.pop(task_id, None)
        self.position = page.next
        return page

    def catch_up(self) -> int:
        """Returns the number of changes."""
        number, pages, more = 0, 0, True
        while more:
            page, pages = self.read_page(), pages + 1
            assert pages < 100
            number, more = number + len(page.tasks) + len(page.deleted), page.more
        return number

    def titles(self) -> list[str]:
        return sorted(self.copy.values())


def titles(database: Database) -> list[str]:
    return sorted(title for (title,) in database.query("SELECT title FROM tasks"))


def test_a_transaction_that_commits_after_later_ones_is_not_missed(database: Database) -> None:
    for title in ("changed", "deleted"):
        database.query(INSERT, title)
    follower = Follower()
    follower.catch_up()
    with open_transaction(database, (INSERT, "late"), (CHANGE, "changed"), (DELETE, "deleted")):
        database.query(INSERT, "later, committed first")
        assert follower.catch_up() == 1
        assert follower.catch_up() == 0
        database.query(INSERT, "last")
        assert follower.catch_up() == 1
    assert follower.catch_up() == 3
    assert follower.titles() == titles(database)
    assert follower.catch_up() == 0


def test_a_transaction_that_began_before_the_first_page_is_not_missed(database: Database) -> None:
    for number in range(4):
        database.query(INSERT, f"{number}")
    follower = Follower(limit=2)
    with open_transaction(database, (INSERT, "late"), (CHANGE, "0"), (DELETE, "3")):
        database.query(INSERT, "later")
        follower.read_page()
        follower.read_page()
    follower.catch_up()
    assert follower.titles() == titles(database)


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("committed_after", [0, 1, 2, 3, 4])
def test_a_late_transaction_is_not_missed_wherever_the_pages_are(
    database: Database, limit: int, committed_after: int
) -> None:
    for number in range(5):
        database.query(INSERT, f"{number}")
    follower = Follower(limit)
    if committed_after % 2:
        follower.catch_up()
    with open_transaction(database, (INSERT, "late"), (CHANGE, "4"), (DELETE, "0")):
        for number in range(1, 4):
            database.query(CHANGE, f"{number}")
        for _ in range(committed_after):
            follower.read_page()
    follower.catch_up()
    assert follower.titles() == titles(database)


def test_a_savepoint_has_the_id_of_its_transaction(database: Database) -> None:
    follower = Follower()
    follower.catch_up()
    with psycopg.connect(database.admin_url) as connection, connection.transaction():
        for title in ("first", "second"):
            with connection.transaction():
                connection.execute(INSERT.encode(), [title])
        assert follower.catch_up() == 0
    assert follower.catch_up() == 2
    [(changes,)] = database.query("SELECT count(DISTINCT changed_in) FROM tasks")
    assert changes == 1


def test_a_long_transaction_elsewhere_repeats_nothing(database: Database) -> None:
    follower = Follower()
    with open_transaction(database, (INSERT, "of a long transaction")):
        for number in range(3):
            database.query(INSERT, f"{number}")
            assert follower.catch_up() == 1
            assert follower.catch_up() == 0


def test_a_token_with_a_shortened_snapshot_repeats_and_misses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MAX_SNAPSHOT_LENGTH", 0)
    follower = Follower(limit=2)
    with open_transaction(database, (INSERT, "of a long transaction")):
        for number in range(5):
            database.query(INSERT, f"{number}")
        for _ in range(3):
            assert follower.catch_up() >= 5  # it ends, and the next one repeats
    follower.catch_up()
    assert follower.titles() == titles(database)


def test_rows_of_before_the_feed_existed_are_in_the_first_round_alone(database: Database) -> None:
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO tasks (user_id, title) SELECT 'u', n::text FROM generate_series(1, 5) AS n"
        )
    assert database.query("SELECT DISTINCT changed_in::text FROM tasks") == [("0",)]
    follower = Follower(limit=2)
    assert follower.catch_up() == 5
    assert follower.catch_up() == 0


# Tokens


def between_pages(database: Database) -> FeedPosition:
    for number in range(3):
        database.query(INSERT, f"{number}")
    page = read(read(None).next)
    assert not page.more
    database.query("UPDATE tasks SET title = title || '!'")
    page = read(page.next, 1)
    assert page.more
    assert page.next.known
    assert page.next.reached
    return page.next


def test_a_token_is_good_for_thirty_days(database: Database) -> None:
    position = between_pages(database)
    assert position.known
    for age, expired in ((MAX_AGE - 60, False), (MAX_AGE + 60, True)):
        known = Snapshot(position.known.text, position.known.taken_at - age)
        for aged in (position._replace(known=known), FeedPosition(position.history, known)):
            if expired:
                with pytest.raises(ChangesExpired):
                    read(aged)
            else:
                assert read(aged).tasks
        # The age of the first round is that of its first page.
        first = FeedPosition(position.history, None, known, ("0", 0))
        if expired:
            with pytest.raises(ChangesExpired):
                read(first)
        else:
            assert read(first).tasks


def test_a_token_of_another_history_is_refused(database: Database) -> None:
    positions = [between_pages(database), read(None).next, read(None, 1).next]
    for position in positions:
        read(position)
    database.query("UPDATE database_history SET id = gen_random_uuid()")
    for position in positions:
        with pytest.raises(ChangesExpired):
            read(position)


def test_a_token_ahead_of_the_database_is_refused(database: Database) -> None:
    position = between_pages(database)
    assert position.known
    ahead = Snapshot("900000000:900000001:900000000", position.known.taken_at)
    for future in (
        position._replace(known=ahead),
        position._replace(reached=ahead),
        position._replace(known=None, reached=ahead),
        FeedPosition(position.history, ahead),
    ):
        with pytest.raises(ChangesExpired):
            read(future)


# Erased users

ERASE = "DELETE FROM users WHERE id = 'u'"
NEW_USER = "INSERT INTO users (id, name, email) VALUES ('u', 'n', 'u@x.example')"


def test_a_client_of_an_erased_user_starts_again(database: Database) -> None:
    between = between_pages(database)
    positions = [between, read(None).next, read(None, 1).next]
    database.query(ERASE)
    for position in positions:
        with pytest.raises(ChangesExpired):
            read(position)
    page = read(None)
    assert (page.tasks, page.deleted, page.more) == ([], [], False)
    assert read(page.next).tasks == []
    # As with a token that is still valid: the copy would keep the erased tasks beside the new one.
    database.query(NEW_USER)
    database.query(INSERT, "new")
    for position in positions:
        with pytest.raises(ChangesExpired):
            read(position)
    assert len(read(page.next).tasks) == 1


def test_a_token_from_before_the_end_of_an_erasure_is_refused(database: Database) -> None:
    database.query(INSERT, "task")
    with psycopg.connect(database.admin_url) as connection:
        connection.execute(ERASE.encode())
        database.query("INSERT INTO users (id, name, email) VALUES ('other', 'n', 'o@x.example')")
        position = read(None).next
        assert read(position).tasks == []
    with pytest.raises(ChangesExpired):
        read(position)


def test_the_erasure_of_another_user_changes_nothing(database: Database) -> None:
    database.query("INSERT INTO users (id, name, email) VALUES ('other', 'n', 'o@x.example')")
    position = between_pages(database)
    database.query("DELETE FROM users WHERE id = 'other'")
    assert read(position).tasks


def test_the_retention_job_removes_the_digests_of_erased_users(database: Database) -> None:
    database.query(INSERT, "task")
    position = read(None).next
    database.query(ERASE)
    [(digest,)] = database.query("SELECT user_hash FROM erased_users")
    assert digest == sha256(b"u").digest()
    for days, left in ((30, 1), (31, 0)):
        database.query(
            "UPDATE erased_users SET erased_at = now() - %s::interval", f"{days} days 1s"
        )
        asyncio.run(remove_expired())
        assert database.query("SELECT count(*) FROM erased_users") == [(left,)]
        if left:
            with pytest.raises(ChangesExpired):
                read(position)


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("DELETE FROM database_history", "the table database_history is empty"),
        ("DROP TABLE database_history", "database_history"),
        ("REVOKE SELECT ON database_history FROM task_api", "database_history"),
        ("ALTER TABLE deleted_tasks RENAME TO elsewhere", "deleted_tasks"),
        ("INSERT INTO database_history DEFAULT VALUES", "CardinalityViolation"),
        ("REVOKE SELECT ON erased_users FROM task_api", "erased_users"),
    ],
)
def test_a_database_that_is_not_prepared_is_no_internal_error(
    database: Database, fault: str, named: str
) -> None:
    database.query(fault)
    with pytest.raises(DatabaseNotPrepared) as raised:
        read(None)
    assert named in str(raised.value.reason)


# Sizes


def test_a_page_of_the_largest_tasks_fits_into_a_response(database: Database) -> None:
    database.query(
        """INSERT INTO tasks (user_id, title, description, tags)
        SELECT 'u', repeat(E'\\x01', 200), repeat(E'\\x01', 1000),
            ARRAY(SELECT repeat(E'\\x01', 48) || t FROM generate_series(10, 29) AS t)
        FROM generate_series(1, 500)"""
    )
    follower, sizes = Follower(), []
    more = True
    while more:
        page = follower.read_page()
        sizes.append(len(page.body("x" * 3000)))
        more = page.more
    assert len(follower.copy) == 500
    assert len(sizes) > 2
    assert max(sizes) <= 4_000_000
