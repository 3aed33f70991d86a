"""The feed of changes: what a client lacks that knows an earlier state of the tasks."""

import time
from typing import NamedTuple

from lib.db import compiled
from lib.db.tasks import MAX_ESCAPED_LIST_BYTES, MAX_LIST_BYTES
from lib.db.transaction import run_transaction
from lib.errors import ChangesExpired, DatabaseNotPrepared
from lib.schemas import AuthenticatedUser, FeedPosition, Snapshot

# The ids of deleted tasks are kept for 31 days.
MAX_AGE = 30 * 24 * 60 * 60
# A snapshot lists the transactions that were open. A longer one would not fit into a URL.
MAX_SNAPSHOT_LENGTH = 1000
# Bytes of a response for the deleted ids, the token and the names of the members.
RESERVE = 20_000


# A document, or null for a deleted task, the id of the task and that of the transaction.
type Row = tuple[str | None, int, str]


class Changes(NamedTuple):
    """One page: the documents of changed tasks, the ids of deleted tasks, and where it ends."""

    tasks: list[str]
    deleted: list[int]
    next: FeedPosition
    more: bool

    def body(self, next_token: str) -> bytes:
        """The JSON of lib.schemas.TaskChanges."""
        tasks, deleted = ",".join(self.tasks), ",".join(map(str, self.deleted))
        more = "true" if self.more else "false"
        return (
            f'{{"tasks":[{tasks}],"deleted":[{deleted}],"next":"{next_token}","more":{more}}}'
        ).encode()


async def list_changes(
    user: AuthenticatedUser, position: FeedPosition | None, limit: int
) -> Changes:
    """Return the changes after a position, or all tasks, in pages.

    A round delivers the rows whose last change is not visible in the snapshot `known`, in the order
    of transactions and ids. The next round starts from the snapshot of the round's first page, so a
    change that this snapshot does not see, because its transaction was open or began later,
    belongs to the next round, whatever its transaction id and wherever the pages were by then. A
    row that it does see keeps its place in the order until it changes again, so a page of this
    round has it. `more` is false only after a round of one page, which is one snapshot: then the
    client has exactly the tasks that this snapshot sees.

    Raises ChangesExpired.
    """
    now = int(time.time())
    known, reached, after = position[1:] if position else (None, None, None)
    oldest = known or reached
    if oldest and oldest.taken_at < now - MAX_AGE:
        raise ChangesExpired
    after_change, after_id = after or (known.text.partition(":")[0] if known else "0", 0)
    values = {
        "owner": user.id,
        "since": known and known.text,
        "after_change": after_change,
        "after_id": after_id,
        "limit": limit,
    }
    [rows] = await run_transaction(user.id, (compiled.CHANGES, values))
    current, history, *transactions = rows[0][3:]
    last_change, erased_in = map(int, transactions)
    if history is None:
        not_prepared = DatabaseNotPrepared()
        not_prepared.reason = "the table database_history is empty"
        raise not_prepared
    if position and (
        position.history != history
        or any(_last(each.text) > _last(current) for each in (known, reached) if each)
        or (oldest and not _sees(oldest.text, erased_in))
    ):
        raise ChangesExpired
    changed = [row[:3] for row in rows if row[1] is not None]
    page = _fitting(changed[:limit])
    is_first = reached is None
    reached = reached or Snapshot(_shortened(_until(current, max(last_change, erased_in))), now)
    is_last = len(page) == len(changed)
    if is_last:
        following = FeedPosition(history, reached)
    else:
        _, task_id, transaction = page[-1]
        following = FeedPosition(history, known, reached, (transaction, task_id))
    # A snapshot that was shortened may be no later than the one before. Then another round would
    # only repeat this one.
    is_complete = is_first or (known is not None and known.text == reached.text)
    return Changes(
        [document for document, _, _ in page if document is not None],
        [task_id for document, task_id, _ in page if document is None],
        following,
        more=not (is_last and is_complete),
    )


def _last(snapshot: str) -> int:
    """The first transaction id that had not been assigned: xmin:xmax:open transactions."""
    return int(snapshot.split(":")[1])


def _until(snapshot: str, last: int) -> str:
    """The snapshot, as if the transactions after `last` had not begun.

    After a crash, PostgreSQL gives an id out again if the log had not reached the disk when its
    transaction ended, as after a rollback. A token that has seen such an id would miss the changes
    of the second transaction. The last visible change of the user is on the disk, and so are all
    ids before it.
    """
    first, end, open_ = snapshot.split(":")
    end = min(int(end), last + 1)
    still_open = [each for each in open_.split(",") if each and int(each) < end]
    return f"{min(int(first), end)}:{end}:{','.join(still_open)}"


def _sees(snapshot: str, transaction: int) -> bool:
    """Whether the transaction is visible in the snapshot."""
    still_open = snapshot.split(":")[2].split(",")
    return transaction < _last(snapshot) and str(transaction) not in still_open


def _shortened(snapshot: str) -> str:
    """The snapshot, or an earlier one if it is too long. Then some changes come twice."""
    first = snapshot.partition(":")[0]
    return snapshot if len(snapshot) <= MAX_SNAPSHOT_LENGTH else f"{first}:{first}:"


def _fitting(rows: list[Row]) -> list[Row]:
    """The first rows, as many as a response can hold on every platform."""
    size = escaped = 0
    for number, (document, _, _) in enumerate(rows):
        text = (document or "").encode()
        size += len(text) + 1
        escaped += len(text) + text.count(b'"') + text.count(b"\\") + 1
        if size > MAX_LIST_BYTES - RESERVE or escaped > MAX_ESCAPED_LIST_BYTES - RESERVE:
            return rows[:number]
    return rows
