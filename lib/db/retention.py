"""The retention job: removes what has expired, of all users.

The function `remove_expired` (migrations/versions/0005_retention.py) removes it, and
`remove_erased_users` what the feed of changes keeps of erased users. A run calls it
several times, each time in a transaction of its own, so that no lock lasts long. Runs may overlap.
"""

import time
from dataclasses import asdict, astuple, dataclass

from lib import log
from lib.db import waiting
from lib.db.transaction import run_transaction
from lib.errors import RetentionStalled

BATCH_SIZE = 2_000  # rows of each kind in one transaction
# The limits of one run. The next run continues.
MAX_BATCHES = 50
MAX_SECONDS = 8.0
# Another run may have locked all rows that are left. Their deletion takes less than this.
PAUSE = 0.5  # seconds
MAX_PAUSES = 3

REMOVE_EXPIRED = "SELECT * FROM remove_expired(%(max_rows)s::integer)"
# The digests of the ids of erased users, after 31 days.
REMOVE_ERASED_USERS = "SELECT remove_erased_users(%(max_rows)s::integer)"


@dataclass(frozen=True, slots=True)
class ExpiredRows:
    """A number of expired rows of each kind.

    idempotency_keys: records of idempotency keys, after 24 hours.
    task_texts: texts of deleted tasks, after 30 days.
    task_ids: ids of deleted tasks, after 31 days.
    """

    idempotency_keys: int = 0
    task_texts: int = 0
    task_ids: int = 0


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """The result of a run.

    `left` is counted up to 10,000 of each kind. `overdue_seconds` is the time since the oldest of
    these rows expired. `batches` is the number of transactions.
    """

    removed: ExpiredRows
    left: ExpiredRows
    overdue_seconds: float
    batches: int
    milliseconds: float


async def remove_expired() -> RetentionReport:
    """Remove what has expired, up to the limits of a run, and log the result.

    Raises RetentionStalled if rows of a kind have expired and none of them can be removed,
    DatabaseUnavailable and DatabaseNotPrepared.
    """
    started, removed = time.monotonic(), ExpiredRows()
    batches = pauses = 0
    while True:
        latest, left, overdue_seconds = await _remove_batch()
        batches, removed = batches + 1, _sum(removed, latest)
        stalled = any(
            of_kind and not done
            for of_kind, done in zip(astuple(left), astuple(removed), strict=True)
        )
        may_have_more = max(astuple(latest)) == BATCH_SIZE
        seconds = time.monotonic() - started
        if batches == MAX_BATCHES or seconds >= MAX_SECONDS:
            break
        if stalled and not may_have_more and pauses < MAX_PAUSES:
            pauses += 1
            await waiting.sleep(PAUSE)
        elif not may_have_more:
            break
    report = RetentionReport(
        removed, left, round(overdue_seconds, 1), batches, round(1000 * seconds, 1)
    )
    if stalled:
        log.log_warning("Expired data could not be removed.", **asdict(report))
        raise RetentionStalled
    log.log_info("Expired data was removed.", **asdict(report))
    return report


async def _remove_batch() -> tuple[ExpiredRows, ExpiredRows, float]:
    """Remove up to BATCH_SIZE rows of each kind.

    Returns the numbers of removed rows and of those that are left, and the time in seconds since
    the oldest of these expired.
    """
    limit = {"max_rows": BATCH_SIZE}
    # A repeated batch removes other rows, so it is harmless.
    [[row], _] = await run_transaction(
        None,
        (REMOVE_EXPIRED, limit),
        (REMOVE_ERASED_USERS, limit),
        writes=True,
        repeatable=True,
    )
    return ExpiredRows(*row[:3]), ExpiredRows(*row[3:6]), row[6]


def _sum(one: ExpiredRows, other: ExpiredRows) -> ExpiredRows:
    return ExpiredRows(*(a + b for a, b in zip(astuple(one), astuple(other), strict=True)))
