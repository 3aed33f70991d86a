"""`make restore-tasks SINCE=... USER_ID=...`: brings back the tasks that a user lost since then.

They come from the trash, and from the database at BACKUP_URL if it is set: a restored backup or a
branch of the past. Uses the URL of the tables' owner, as `make migrate` does.
"""

import argparse
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from lib.db.url import connection_parameters
from lib.settings import SettingsError
from migrations.errors import MigrationError
from migrations.owner_url import load_owner_url

# What is copied: the database computes the other columns.
COLUMNS = """SELECT attname FROM pg_attribute
WHERE attrelid = 'tasks'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    AND attname <> 'changed_in' ORDER BY 1"""
LOST = "CREATE TEMPORARY TABLE lost (LIKE tasks) ON COMMIT DROP"
TAKE_FROM_TRASH = """WITH taken AS (
    DELETE FROM deleted_tasks
    WHERE user_id = %(user)s AND purged_at IS NULL AND deleted_at >= %(since)s RETURNING *
)
INSERT INTO lost ({columns}, changed_in) SELECT {columns}, changed_in FROM taken"""
SAVED_TASKS = "SELECT coalesce(json_agg(tasks), '[]')::text FROM tasks WHERE user_id = %(user)s"
# Not what the user has, and not what they deleted before. After a restore of the whole database
# ids are given out again, so `created_at` shows whether it is the same task. The title finds a task
# that got a new id in an earlier run.
TAKE_FROM_BACKUP = """INSERT INTO lost ({columns}, changed_in)
SELECT {columns}, changed_in FROM json_populate_recordset(NULL::tasks, %(saved)s) AS saved
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
LEAVE_TRASH = "DELETE FROM deleted_tasks WHERE user_id = %(user)s AND id = ANY (%(free)s)"
# A restored task gets the values that lib/db/queries.py gives it. A trigger sets `changed_in`.
RESTORE = """INSERT INTO tasks ({columns}) SELECT {values} FROM lost WHERE id = ANY (%(free)s)
ON CONFLICT DO NOTHING RETURNING id"""
RESTORE_WITH_NEW_IDS = """INSERT INTO tasks ({columns_without_id})
SELECT {values_without_id} FROM lost WHERE id <> ALL (%(restored)s) ORDER BY id"""
NEW_VALUES = {
    "updated_at": sql.SQL("greatest(clock_timestamp(), updated_at + interval '1 microsecond')"),
    "version": sql.SQL("version + 1"),
}


class Restored(NamedTuple):
    """Numbers of tasks. Another task has the id of the `renumbered` ones, which got new ids."""

    from_trash: int
    from_backup: int
    renumbered: int


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
    values: dict[str, Any] = {"user": user_id, "since": since}
    with _connect(url, ca_bundle, user_id) as connection:
        columns = _columns(connection)

        def run(statement: LiteralString) -> psycopg.Cursor:
            return connection.execute(_with_columns(statement, columns), values)

        if not run("SELECT FROM users WHERE id = %(user)s FOR KEY SHARE").rowcount:
            raise MigrationError(
                f"Nothing was restored: {user_id} has no row in users. Restore that row first."
            )
        run(LOST)
        from_trash = run(TAKE_FROM_TRASH).rowcount
        if backup_url is not None:
            values["saved"] = _read_backup(backup_url, ca_bundle, user_id, columns)
            run(TAKE_FROM_BACKUP)
            run(REPLACE_ERASED)
        run(ADVANCE_SEQUENCE)
        values["free"] = [id_ for (id_,) in run(FIND_FREE_IDS)]
        run(LEAVE_TRASH)
        values["restored"] = [id_ for (id_,) in run(RESTORE)]
        renumbered = run(RESTORE_WITH_NEW_IDS).rowcount
        from_backup = len(values["restored"]) + renumbered - from_trash
        return Restored(from_trash, from_backup, renumbered)


@contextmanager
def _connect(url: str, ca_bundle: str | None, user_id: str) -> Generator[psycopg.Connection]:
    with psycopg.connect(**connection_parameters(url, ca_bundle)) as connection:
        # Row-level security, which applies to the owner too, then shows the rows of this user.
        connection.execute("SELECT set_config('app.user_id', %s, true)", [user_id])
        yield connection


def _columns(connection: psycopg.Connection) -> list[str]:
    return [name for (name,) in connection.execute(COLUMNS)]


def _read_backup(url: str, ca_bundle: str | None, user_id: str, columns: list[str]) -> str:
    """The user's tasks in the backup, as JSON."""
    with _connect(url, ca_bundle, user_id) as backup:
        if _columns(backup) != columns:
            raise MigrationError(
                "Nothing was restored: the tables of the backup are older or newer. Run make"
                " migrate with the URL of the backup, then try again."
            )
        [(saved,)] = backup.execute(SAVED_TASKS, {"user": user_id}).fetchall()
        return saved


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


def _users(url: str, ca_bundle: str | None) -> list[str]:
    with psycopg.connect(**connection_parameters(url, ca_bundle)) as connection:
        return [id_ for (id_,) in connection.execute("SELECT id FROM users ORDER BY id")]


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        sys.exit(f"SINCE is not a time: {text!r}. Example: SINCE=2026-11-23T02:30Z.")
    if instant.tzinfo is None:
        sys.exit(f"SINCE has no time zone: write {text}Z for UTC, or {text}+01:00.")
    if instant > datetime.now(UTC):
        sys.exit(f"SINCE is in the future: {instant.astimezone(UTC):%Y-%m-%dT%H:%MZ}.")
    return instant


def main() -> None:
    parser = argparse.ArgumentParser(prog="make restore-tasks")
    parser.add_argument("--since", default="")
    parser.add_argument("--user", default="")
    parser.add_argument("--all-users", action="store_true")
    given = parser.parse_args()
    if bool(given.user) == given.all_users or not given.since:
        sys.exit("Set SINCE=2026-11-23T02:30Z, and either USER_ID=... or ALL_USERS=1.")
    since = _instant(given.since)
    user_id = given.user
    try:
        url, ca_bundle = load_owner_url()
        backup_url = os.environ.get("BACKUP_URL") or None
        restored = 0
        for user_id in [given.user] if given.user else _users(url, ca_bundle):
            done = restore_tasks(user_id, since, url, backup_url, ca_bundle)
            restored += done.from_trash + done.from_backup
            if done.from_trash + done.from_backup:
                _report(user_id, done)
    except (SettingsError, MigrationError) as error:
        sys.exit(str(error))
    except psycopg.Error as error:
        sys.exit(f"The tasks of {user_id or 'the users'} were not restored: {str(error).strip()}")
    except KeyboardInterrupt:
        sys.exit("Interrupted. Running the command again restores the rest.")
    if not restored:
        sys.exit(f"No task was lost since {since.astimezone(UTC):%Y-%m-%dT%H:%MZ}.")


def _report(user_id: str, done: Restored) -> None:
    renumbered = f", {done.renumbered} of these with new ids" if done.renumbered else ""
    print(
        f"{user_id}: restored {done.from_trash} tasks from the trash and {done.from_backup} from"
        f" the backup{renumbered}.",
        flush=True,
    )


if __name__ == "__main__":
    main()
