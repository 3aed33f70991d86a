"""Readiness: whether the database can do what requests need.

No list of conditions would be complete, because any trigger, constraint or policy can refuse what
the privileges allow. So the statements of requests run for a user who does not exist, in one
transaction that is rolled back. The only lasting effect is that two task ids are skipped.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, LiteralString
from uuid import uuid4

from lib.db import compiled
from lib.db.retention import REMOVE_ERASED_USERS, REMOVE_EXPIRED
from lib.db.transaction import describe, is_missing_user, run_transaction, try_transaction
from lib.db.transport import OperationalError, Rows, Statement
from lib.db.users import profile_values
from lib.errors import DatabaseNotPrepared, DatabaseUnavailable
from lib.schemas import AuthenticatedUser, TaskCreate
from lib.settings import Settings, load_settings

# Seconds after a success in which only the catalogs are read: running the statements of requests
# writes 12 KB of WAL, and anybody can request it.
TRY_INTERVAL = 10.0
SHORT = TaskCreate(title="x")
# The maximum lengths, and a character that some encodings of databases cannot store.
LONG = TaskCreate(
    title="\U0001f600".ljust(200, "x"),
    description="\U0001f600".ljust(1000, "x"),
    priority="urgent",
    due_date="9999-12-31",
    tags=["\U0001f600".ljust(50, "x")],
)
# Statements that return no row where they succeed. Two of them are checked by the record that the
# next statement reads.
WITHOUT_ROWS = {"creating a task once", "completing a task once", "the end of the transaction"}
# The id of the task that this transaction created last.
CREATED = "currval(pg_get_serial_sequence('tasks', 'id'))"


_last_success: tuple[Settings, float] | None = None


async def check_ready() -> bool:
    """Whether row-level security applies to the role of this process.

    Raises DatabaseNotPrepared or DatabaseUnavailable. Their `reason` names what is missing.
    """
    global _last_success  # noqa: PLW0603 - one per process
    settings = load_settings()
    of, at = _last_success or (None, 0.0)
    # The wall clock, because the monotonic clock may stop while a sandbox is frozen.
    if of is settings and 0 <= time.time() - at < TRY_INTERVAL:
        [[(row_security, _, *missing)]] = await run_transaction(None, (compiled.READY, {}))
        if not any(missing):
            return bool(row_security)
    row_security = await _try_requests(provision=settings.PROVISION_USERS)
    _last_success = settings, time.time()
    return row_security


async def _try_requests(*, provision: bool) -> bool:
    user = AuthenticatedUser(f"readiness-{uuid4()}", "Readiness", None, email_verified=False)
    statements = _statements(user, provision=provision)
    rows, error = await try_transaction(user.id, *statements.values())
    catalogs = rows[0] if rows else [(False, False, [], [], [])]
    [(row_security, users_are_shared, policies, missing, missing_for_users)] = catalogs
    missing = missing + missing_for_users if provision else missing
    if error is None:
        missing = policies + _without_effect(statements, rows)
    elif is_missing_user(error) and (users_are_shared or not provision):
        # Users are not provisioned, so the new task refers to no user. PostgreSQL checks this last.
        missing = policies + missing
    else:
        failed = list(statements)[len(rows)]
        missing = [*policies, *missing, f"{failed} ({describe(error, with_message=True)})"]
        if isinstance(error, OperationalError):
            unavailable = DatabaseUnavailable(outcome_unknown=False)
            unavailable.reason = f"missing: {', '.join(missing)}"
            raise unavailable from error
    if missing:
        not_prepared = DatabaseNotPrepared()
        not_prepared.reason = f"missing: {', '.join(missing)}"
        raise not_prepared
    return bool(row_security)


def _statements(user: AuthenticatedUser, *, provision: bool) -> dict[str, Statement]:
    """The statements, each under a description of its effect."""
    # Every other parameter is null, so that its filter or condition does not apply.
    values: Mapping[str, Any] = defaultdict(
        lambda: None, profile_values(user), owner=user.id, key="readiness", request_hash="", limit=1
    )
    short, long = values | SHORT.model_dump(), values | LONG.model_dump()
    create_once, create = (
        (compiled.CREATE_ONCE_WITH_USER, compiled.CREATE_WITH_USER)
        if provision
        else (compiled.CREATE_ONCE, compiled.CREATE)
    )
    return {
        "the catalogs": (compiled.READY, values),
        # These two remove nothing. The first one counts what has expired.
        "the retention job": (REMOVE_EXPIRED, {"max_rows": 0}),
        "the removal of erased users": (REMOVE_ERASED_USERS, {"max_rows": 0}),
        "creating a task once": (create_once, long),
        "its record": (compiled.RECORD, values),
        "creating a task": (create, short),
        "reading a task": (_created(compiled.GET), values),
        "listing tasks": (compiled.FILTERED_PAGE["title asc"], values),
        "changing a task": (
            _created(compiled.UPDATE),
            long | {"given": list(TaskCreate.model_fields)},
        ),
        "completing a task once": (_created(compiled.COMPLETE_ONCE), values | {"key": "second"}),
        "the record of that": (compiled.RECORD, values | {"key": "second"}),
        "deleting a task": (_created(compiled.DELETE), values),
        "reading a deleted task": (_created(compiled.GET_DELETED), values),
        "restoring a task": (_created(compiled.RESTORE), values),
        "deleting it again": (_created(compiled.DELETE), values),
        "erasing a task": (_created(compiled.ERASE), values),
        "reading the changes": (
            compiled.CHANGES,
            values | {"since": "1:1:", "after_change": "0", "after_id": 0},
        ),
        "the end of the transaction": ("SET CONSTRAINTS ALL IMMEDIATE", {}),
    }


def _created(statement: LiteralString) -> LiteralString:
    return statement.replace("%(task_id)s::BIGINT", CREATED)


def _without_effect(statements: Mapping[str, Statement], rows: list[Rows]) -> list[str]:
    """Return the statements that affected no row although they raised no error."""
    return [
        name
        for name, result in zip(statements, rows, strict=True)
        if name not in WITHOUT_ROWS and (not result or None in result[0])
    ]
