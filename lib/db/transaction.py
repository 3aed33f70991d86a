"""Runs statements as one transaction of one user, within a time budget and with safe retries."""

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from lib.db import pool, waiting
from lib.db.transport import (
    LOST_STATEMENT_SQLSTATES,
    STALE_STATEMENT_SQLSTATES,
    Connection,
    DatabaseError,
    NotConnected,
    OperationalError,
    Rows,
    Statement,
)
from lib.errors import (
    DatabaseNotPrepared,
    DatabaseUnavailable,
    TooManyRequests,
    UserNotProvisioned,
)
from lib.log import log_warning
from lib.settings import load_settings

# PostgreSQL cancels a statement this many seconds before our deadline, so that its response, which
# says that nothing was changed, arrives in time.
RESPONSE_RESERVE = 0.25
# A retry needs at least this many seconds: a pause, a round trip and RESPONSE_RESERVE.
MIN_RETRY_TIME = 0.3
LOCK_TIMEOUT = 1.5

# Rolled back by PostgreSQL, and likely to succeed the next time: serialization failure, deadlock,
# lock timeout.
RETRYABLE_SQLSTATES = {"40001", "40P01", "55P03"}
# Seconds before each retry, on average, and before all later ones.
PAUSES = (0.0, 0.08, 0.16, 0.32, 0.5)
# Without a connection a request keeps trying while it has time, because most outages of a pooler
# are short. These attempts count only if the outage lasts: then requests must not pile up.
MAX_ATTEMPTS = 4

# A row refers to a row that does not exist.
FOREIGN_KEY_VIOLATION = "23503"
MAX_LOGGED_MESSAGE = 200  # characters

# Sets the user for row-level security, the time limits and the planning of statements. The values
# end with the transaction, because PgBouncer shares the connection with other clients.
SESSION_SETTINGS = """SELECT set_config('app.user_id', %(user_id)s, true),
set_config('statement_timeout', %(statement_timeout)s, true),
set_config('lock_timeout', %(lock_timeout)s, true)"""
# By default, PostgreSQL plans a prepared statement again for its first five executions, and for all
# later ones if it expects plans for the actual parameters to be cheaper.
PREPARED_SETTINGS = SESSION_SETTINGS + ", set_config('plan_cache_mode', 'force_generic_plan', true)"

PREPARED_STATEMENTS_FAIL = (
    "A prepared statement was lost. This process continues without prepared statements. If the "
    "pooler does not support them, set DATABASE_PREPARED_STATEMENTS=false."
)


async def run_transaction(
    user_id: str | None,
    *statements: Statement,
    writes: bool = False,
    repeatable: bool = False,
    prepare: bool = True,
) -> list[Rows]:
    """Run statements as one transaction of a user, in one round trip. Returns the rows of each.

    writes: The statements change rows. If their response is lost, they are retried only if they
        are also `repeatable`.
    repeatable: Running the statements twice has the same effect as running them once, even if
        another client changes the rows in between.
    prepare: PostgreSQL keeps the statements and their plans, which must suit all parameters. If
        false, PostgreSQL plans them each time, for the actual parameters.

    Raises:
        DatabaseUnavailable: no result within the time budget.
        TooManyRequests: the user has too many requests under way.
        UserNotProvisioned: the user has no row in `users`.
        DatabaseNotPrepared: a table, a column or a privilege is missing.
    """
    user = user_id or ""

    def run(connection: Connection, prepare: bool) -> Awaitable[list[Rows]]:
        first = _session_settings(connection, user, prepare=prepare)
        return connection.run(first, *statements, prepare=prepare)

    safe = repeatable or not writes
    return await _within_budget(run, user, writes=writes, safe=safe, prepare=prepare)


async def try_transaction(
    user_id: str, *statements: Statement
) -> tuple[list[Rows], DatabaseError | None]:
    """Run statements as `run_transaction` does, and roll them back, in the same round trip.

    Returns the rows of each statement until one fails, and the error of that one. Raises
    DatabaseUnavailable within the time budget.
    """

    async def try_out(
        connection: Connection, prepare: bool
    ) -> tuple[list[Rows], DatabaseError | None]:
        settings = _session_settings(connection, user_id, prepare=prepare)
        rows, error = await connection.try_out(settings, *statements)
        if error and (not _is_rolled_back(error) or error.sqlstate in RETRYABLE_SQLSTATES):
            raise error
        return rows, error

    return await _within_budget(try_out, user_id, writes=False, safe=True, prepare=False)


async def _within_budget[T](
    run: Callable[[Connection, bool], Awaitable[T]],
    user: str,
    *,
    writes: bool,
    safe: bool,
    prepare: bool,
) -> T:
    """Return the result of `run`, which is called again if that is safe.

    The second argument of `run` says whether to prepare statements.
    """
    started, settings = time.monotonic(), load_settings()
    connections = pool.get_pool(settings)
    prepare &= settings.DATABASE_PREPARED_STATEMENTS and connections.prepares
    outcome_unknown = False
    attempts = failures = 0
    while True:
        try:
            connection = await connections.acquire(user, started, probe=not safe)
            attempts += 1
            succeeded = False
            try:
                result = await run(connection, prepare)
                succeeded = True
            finally:
                connections.release(user, connection, succeeded=succeeded)
            return result
        except OperationalError as error:
            not_sent = isinstance(error, NotConnected)
            rolled_back = _is_rolled_back(error)
            # Set by any attempt, not only the last one: an earlier attempt may have been applied.
            outcome_unknown |= writes and not (not_sent or rolled_back)
            retry = not_sent or (error.sqlstate in RETRYABLE_SQLSTATES if rolled_back else safe)
            attempts += connections.is_unreachable
            pause = PAUSES[min(failures, len(PAUSES) - 1)] * (0.5 + random.random())  # noqa: S311 - jitter
            failures += 1
            out_of_time = time.monotonic() - started + pause + MIN_RETRY_TIME >= pool.BUDGET
            if not retry or out_of_time or attempts >= MAX_ATTEMPTS:
                unavailable = DatabaseUnavailable(outcome_unknown=outcome_unknown)
                unavailable.reason = f"no connection: {error}" if not_sent else None
                raise unavailable from error
            await waiting.sleep(pause)
        except TooManyRequests as error:
            if outcome_unknown:  # of an earlier attempt
                raise DatabaseUnavailable(outcome_unknown=True) from error
            raise
        except DatabaseError as error:
            # Also one with an SQLSTATE of a trigger's own: the statements do not fit the schema,
            # its constraints, triggers or privileges.
            stale = error.sqlstate in STALE_STATEMENT_SQLSTATES
            if prepare and stale:
                prepare = False
                if connections.prepares and error.sqlstate in LOST_STATEMENT_SQLSTATES:
                    connections.prepares = False
                    log_warning(PREPARED_STATEMENTS_FAIL)
                continue
            if is_missing_user(error):
                raise UserNotProvisioned from error
            not_prepared = DatabaseNotPrepared()
            not_prepared.reason = describe(error)
            raise not_prepared from error


def _session_settings(connection: Connection, user: str, *, prepare: bool) -> Statement:
    left = connection.deadline - RESPONSE_RESERVE - time.monotonic()
    if left <= 0:
        raise NotConnected("no time left")
    values: dict[str, Any] = {
        "user_id": user,
        "statement_timeout": _milliseconds(left),
        "lock_timeout": _milliseconds(min(left, LOCK_TIMEOUT)),
    }
    return PREPARED_SETTINGS if prepare else SESSION_SETTINGS, values


def _is_rolled_back(error: DatabaseError) -> bool:
    """Whether the server has rolled back, and the connection can be used again."""
    return error.severity == "ERROR"


def _milliseconds(seconds: float) -> str:
    return str(max(1, int(1000 * seconds)))  # 0 would mean no limit


def is_missing_user(error: DatabaseError) -> bool:
    """Whether a row refers to a user who has no row in `users`.

    The reference is known by its constraint, as PostgreSQL reports it: messages may be translated.
    """
    return error.sqlstate == FOREIGN_KEY_VIOLATION and (
        error.constraint == f"{error.table}_user_id_fkey"
    )


def describe(error: DatabaseError, *, with_message: bool = False) -> str:
    """Describe a fault of the database for the log.

    Only PostgreSQL's own messages about the schema and the privileges are included by default.
    Others, and those of functions (which have a context), may quote the data of a row.
    """
    name = f"{error.name}({error.sqlstate})"
    is_about_schema = (error.sqlstate or "").startswith("42") and not error.context
    if with_message or is_about_schema:
        named = error.message.partition("\n")[0][:MAX_LOGGED_MESSAGE]
    else:
        column = ".".join(filter(None, (error.table, error.column)))
        named = ", ".join(filter(None, (column, error.constraint)))
    return f"{name}: {named}" if named else name
