"""`make restore-tasks SINCE=... USER_ID=...`: brings back the tasks that a user lost since then.

They come from the trash, and from the database at BACKUP_URL if it is set: a restored backup or a
branch of the past. Uses the URL of the tables' owner, as `make migrate` does.
"""

import argparse
import os
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import errors as sql_errors
from psycopg import sql

from dev.deploy.databases import is_same_database
from dev.owner import connect, last_sentence, show_rows
from migrations.errors import MigrationError, first_line
from migrations.owner_url import check_direct, describe, load_owner_url

# What is copied: the database computes the other columns.
COLUMNS = """SELECT attname FROM pg_attribute
WHERE attrelid = 'tasks'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    AND attname <> 'changed_in' ORDER BY 1"""
# Locked, so that a second run waits for the first one and finds its tasks.
FIND_USER = """SELECT id FROM users WHERE id = %(user)s FOR NO KEY UPDATE"""
# A user who was erased on purpose may have come back. What they had before must not.
ERASED_AT = """SELECT max(erased_at) FROM erased_users
WHERE user_hash = sha256(convert_to(%(user)s, 'UTF8')) AND erased_at <= coalesce(
    (SELECT "createdAt" FROM users WHERE id = %(user)s), 'infinity'
)"""
LOST = "CREATE TEMPORARY TABLE lost (LIKE tasks) ON COMMIT DROP"
SAVED = "CREATE TEMPORARY TABLE saved (LIKE tasks) ON COMMIT DROP"
READ_SAVED = """COPY (
    SELECT {columns}, changed_in FROM tasks WHERE user_id = current_setting('app.user_id')
) TO STDOUT"""
WRITE_SAVED = "COPY saved ({columns}, changed_in) FROM STDIN"
FORGET_ERASED = "DELETE FROM saved WHERE created_at < %(erased_at)s"
TAKE_FROM_TRASH = """WITH taken AS (
    DELETE FROM deleted_tasks
    WHERE user_id = %(user)s AND purged_at IS NULL AND deleted_at >= %(since)s RETURNING *
)
INSERT INTO lost ({columns}, changed_in) SELECT {columns}, changed_in FROM taken"""
# Not what the user has, and not what they deleted before. After a restore of the whole database
# ids are given out again, so `created_at` shows whether it is the same task. The title finds a task
# that got a new id in an earlier run.
TAKE_FROM_BACKUP = """INSERT INTO lost ({columns}, changed_in)
SELECT {columns}, changed_in FROM saved
WHERE NOT EXISTS (
    SELECT FROM tasks WHERE user_id = %(user)s AND created_at = saved.created_at
        AND (id = saved.id OR title = saved.title)
) AND NOT EXISTS (
    SELECT FROM deleted_tasks WHERE user_id = %(user)s AND created_at = saved.created_at
        AND id = saved.id AND (purged_at IS NULL OR deleted_at < %(since)s)
) AND NOT EXISTS (SELECT FROM lost WHERE id = saved.id AND created_at = saved.created_at)"""
# A permanent deletion leaves a row without text. The task continues from its version.
REPLACE_ERASED = """WITH erased AS (
    DELETE FROM deleted_tasks USING lost
    WHERE deleted_tasks.user_id = %(user)s AND deleted_tasks.id = lost.id
        AND deleted_tasks.created_at = lost.created_at
    RETURNING deleted_tasks.id, deleted_tasks.version, deleted_tasks.updated_at
)
UPDATE lost SET version = greatest(lost.version, erased.version),
    updated_at = greatest(lost.updated_at, erased.updated_at)
FROM erased WHERE erased.id = lost.id"""
# Otherwise new tasks would get the restored ids. Not with setval, which could set it back.
ADVANCE_SEQUENCE = """SELECT count(nextval(name)) FROM (
    SELECT pg_get_serial_sequence('tasks', 'id')::regclass AS name
) AS sequence, generate_series(
    coalesce(pg_sequence_last_value(name), 0) + 1, (SELECT max(id) FROM lost)
)"""
# Row-level security hides a deleted task of another user, but not from the primary key.
FIND_FREE_IDS = """INSERT INTO deleted_tasks ({columns}, changed_in, deleted_at)
SELECT {columns}, changed_in, now() FROM lost ON CONFLICT DO NOTHING RETURNING id"""
LEAVE_TRASH = """DELETE FROM deleted_tasks
WHERE user_id = %(user)s AND id IN (SELECT unnest(%(free)s::bigint[]))"""
# A restored task gets the values that lib/db/queries.py gives it. A trigger sets `changed_in`.
RESTORE = """INSERT INTO tasks ({columns})
SELECT {values} FROM lost WHERE id IN (SELECT unnest(%(free)s::bigint[]))
ON CONFLICT DO NOTHING RETURNING id"""
RESTORE_WITH_NEW_IDS = """INSERT INTO tasks ({columns_without_id})
SELECT {values_without_id} FROM lost WHERE id NOT IN (SELECT unnest(%(restored)s::bigint[]))
ORDER BY id"""
NEW_VALUES = {
    "updated_at": sql.SQL("greatest(clock_timestamp(), updated_at + interval '1 microsecond')"),
    "version": sql.SQL("version + 1"),
}


class Restored(NamedTuple):
    """Numbers of tasks. Another task has the id of the `renumbered` ones, which got new ids.

    The `erased` ones are in the backup and stay away, because the user was erased since.
    """

    from_trash: int
    from_backup: int
    renumbered: int
    erased: int = 0


def restore_tasks(
    user_id: str,
    since: datetime,
    url: str,
    backup_url: str | None = None,
    ca_bundle: str | None = None,
) -> Restored:
    """Bring back what the user has lost since then, in one transaction.

    These are the tasks that were deleted since then, and those of the backup that are missing. A
    task keeps its id and gets a new version, so clients that follow the changes get it.
    """
    with _databases(url, backup_url, ca_bundle) as databases:
        return _restore(user_id, since, *databases)


def _restore(
    user_id: str,
    since: datetime,
    connection: psycopg.Connection,
    backup: psycopg.Connection | None,
) -> Restored:
    values: dict[str, Any] = {"user": user_id, "since": since}
    with connection.transaction():
        show_rows(connection, user_id)
        columns = _columns(connection)

        def run(statement: LiteralString) -> psycopg.Cursor:
            return connection.execute(_with_columns(statement, columns), values)

        if not run(FIND_USER).rowcount:
            [(erased_at,)] = run(ERASED_AT).fetchall()
            if erased_at is not None:
                raise MigrationError(
                    f"Nothing was restored: {user_id} was erased at {_utc(erased_at)}. Only if"
                    " this was a mistake, restore their row in users (docs/recovery.md)."
                )
            raise MigrationError(
                f"Nothing was restored: {user_id} has no row in users. Restore that row first"
                " (docs/recovery.md)."
            )
        run(LOST)
        from_trash = run(TAKE_FROM_TRASH).rowcount
        erased = 0
        if backup is not None:
            run(SAVED)
            _copy_backup(backup, connection, user_id, columns)
            [(values["erased_at"],)] = run(ERASED_AT).fetchall()
            erased = run(FORGET_ERASED).rowcount
            run(TAKE_FROM_BACKUP)
            run(REPLACE_ERASED)
        run(ADVANCE_SEQUENCE)
        values["free"] = [id_ for (id_,) in run(FIND_FREE_IDS)]
        run(LEAVE_TRASH)
        values["restored"] = [id_ for (id_,) in run(RESTORE)]
        renumbered = run(RESTORE_WITH_NEW_IDS).rowcount
        from_backup = len(values["restored"]) + renumbered - from_trash
        return Restored(from_trash, from_backup, renumbered, erased)


@contextmanager
def _databases(
    url: str, backup_url: str | None, ca_bundle: str | None
) -> Generator[tuple[psycopg.Connection, psycopg.Connection | None]]:
    with ExitStack() as stack:
        backup = None
        if backup_url is not None:
            try:
                is_same = is_same_database(url, backup_url)
            except ValueError as error:
                raise MigrationError(f"Nothing was restored: BACKUP_URL {error}.") from None
            check_direct(backup_url, "BACKUP_URL")
            if is_same:
                raise MigrationError(
                    f"Nothing was restored: BACKUP_URL names {describe(url)}, which is the database"
                    " to restore into. Set it to a backup or a branch of the past."
                )
            with _reading(backup_url):
                backup = stack.enter_context(connect(backup_url, ca_bundle))
                backup.autocommit = True
        connection = stack.enter_context(connect(url, ca_bundle))
        connection.autocommit = True
        try:
            columns = _columns(connection)
        except sql_errors.UndefinedTable:
            raise MigrationError(
                f"Nothing was restored: {describe(url)} has no table tasks. Restore the table first"
                " (docs/recovery.md), or correct DATABASE_URL_UNPOOLED."
            ) from None
        if backup is not None:
            with _reading(backup_url):
                is_same = _columns(backup) == columns
                backup.execute("SELECT FROM tasks LIMIT 0")  # fails if the role may not read them
            if not is_same:
                raise MigrationError(
                    "Nothing was restored: the tables of the backup are older or newer. Run make"
                    " migrate with the URL of the backup, then try again."
                )
        yield connection, backup


@contextmanager
def _reading(backup_url: str | None) -> Generator[None]:
    """Raises MigrationError where the backup cannot be read."""
    try:
        yield
    except psycopg.Error as error:
        raise MigrationError(
            f"Nothing was restored: the backup {describe(backup_url or '')} cannot be read"
            f" ({first_line(error)}). Correct BACKUP_URL."
        ) from error


def _columns(connection: psycopg.Connection) -> list[str]:
    return [name for (name,) in connection.execute(COLUMNS)]


def _copy_backup(
    backup: psycopg.Connection, connection: psycopg.Connection, user_id: str, columns: list[str]
) -> None:
    """Copy the user's tasks in the backup to the table `saved`."""
    with backup.transaction():
        show_rows(backup, user_id)
        with (
            backup.cursor().copy(_with_columns(READ_SAVED, columns)) as source,
            connection.cursor().copy(_with_columns(WRITE_SAVED, columns)) as target,
        ):
            for data in source:
                target.write(data)


def _with_columns(statement: LiteralString, columns: list[str]) -> sql.Composed:
    names = {name: sql.Identifier(name) for name in columns}
    new = {name: NEW_VALUES.get(name, each) for name, each in names.items()}
    comma = sql.SQL(", ")
    return sql.SQL(statement).format(
        columns=comma.join(names.values()),
        values=comma.join(new.values()),
        columns_without_id=comma.join(each for name, each in names.items() if name != "id"),
        values_without_id=comma.join(each for name, each in new.items() if name != "id"),
    )


def _users(connection: psycopg.Connection) -> list[str]:
    return [id_ for (id_,) in connection.execute("SELECT id FROM users ORDER BY id")]


def _instant(text: str) -> datetime:
    try:
        given = datetime.fromisoformat(text)
        instant = given.astimezone(UTC)
    except (ValueError, OverflowError):
        sys.exit(f"SINCE is not a time: {text!r}. Example: SINCE=2026-11-23T02:30Z.")
    if given.tzinfo is None:
        example = given.isoformat(timespec="minutes")
        sys.exit(f"SINCE has no time zone: write {example}Z for UTC, or {example}+01:00.")
    if instant > datetime.now(UTC):
        sys.exit(f"SINCE is in the future: {_utc(instant)}.")
    return instant


def _utc(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make restore-tasks")
    parser.add_argument("--since", default="")
    parser.add_argument("--user", default="")
    parser.add_argument("--all-users", action="store_true")
    given = parser.parse_args()
    if bool(given.user) == given.all_users or not given.since:
        sys.exit("Set SINCE=2026-11-23T02:30Z, and either USER_ID=... or ALL_USERS=1.")
    since = _instant(given.since)
    restored = 0
    with last_sentence("Nothing more was restored"):
        url, ca_bundle = load_owner_url(explicit=True)
        backup_url = os.environ.get("BACKUP_URL")
        if backup_url is not None and not backup_url.strip():
            raise MigrationError(
                "Nothing was restored: BACKUP_URL is empty. Set it to the URL of the past, or"
                " unset it to restore from the trash alone."
            )
        with _databases(url, backup_url, ca_bundle) as databases:
            for user_id in [given.user] if given.user else _users(databases[0]):
                done = _restore(user_id, since, *databases)
                restored += done.from_trash + done.from_backup
                _report(user_id, done)
    if not restored:
        sys.exit(f"No task was lost since {_utc(since)} in {describe(url)}.")


def _report(user_id: str, done: Restored) -> None:
    renumbered = f", {done.renumbered} of these with new ids" if done.renumbered else ""
    if done.from_trash + done.from_backup:
        print(
            f"{user_id}: restored {done.from_trash} tasks from the trash and {done.from_backup}"
            f" from the backup{renumbered}.",
            flush=True,
        )
    if done.erased:
        print(
            f"{user_id}: {done.erased} tasks of the backup stay erased, because the user was erased"
            " after them.",
            flush=True,
        )


if __name__ == "__main__":
    main()
