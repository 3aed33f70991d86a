"""Sends the statements of a transaction in one round trip."""

import select
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

from lib.db.transport import STALE_STATEMENT_SQLSTATES, Rows, Statement, numbered

if TYPE_CHECKING:
    from lib.db.connection import Connection  # which imports this module

# PgBouncer needs the whole of a message about a prepared statement. Over TLS, version 1.24.1 can
# wait for ever for one that its buffer of 4,096 bytes splits (found by the round trips in
# tests/resilience/faults/test_pooler.py). More bytes are sent without prepared statements.
MAX_PREPARED_BYTES = 4000
MESSAGE_OVERHEAD = 250  # bytes for one statement, in addition to its text and its values


async def run(
    connection: "Connection", first: Statement, *statements: Statement, prepare: bool = False
) -> list[Rows]:
    """Send all statements at once, as one transaction.

    Returns the rows of each except `first`, which sets parameters. With `prepare`, the server keeps
    the parsed statements for later transactions: the request to parse one is sent together with
    its first use. Uses libpq's pipeline mode through psycopg.pq, because psycopg's own
    `Connection.pipeline()` writes and waits for each statement (measured in bench/NOTES.md).

    Raises psycopg.Error. If no statement caused it, the connection must be closed.
    """
    transformer = Transformer()
    sent = _send(connection, transformer, (first, *statements), prepare=prepare)
    results = await _results(connection)
    for text, result in zip(sent, results, strict=False) if any(sent) else ():
        if text and result.status == pq.ExecStatus.COMMAND_OK:
            connection.prepared.add(text)
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            error = error_from_result(result, encoding="utf-8")
            if prepare and error.sqlstate in STALE_STATEMENT_SQLSTATES:
                connection.close()  # it is unknown which statements are prepared on it
            raise error
    if any(sent):
        results = [result for text, result in zip(sent, results, strict=True) if not text]
    return [_rows(transformer, result) for result in results[1:]]


async def try_out(
    connection: "Connection", first: Statement, *statements: Statement
) -> tuple[list[Rows], psycopg.Error | None]:
    """Send all statements at once, as one transaction that is always rolled back.

    Returns the rows of each statement after the `first` until one fails, and the error of that one.
    """
    transformer = Transformer()
    _send(connection, transformer, (("BEGIN", {}), first, *statements), prepare=False)
    # After an error, the server skips only the statements before the next synchronization point.
    _send(connection, transformer, (("ROLLBACK", {}),), prepare=False)
    results = await _results(connection)
    if not connection.closed:
        await _results(connection)
    rows: list[Rows] = []
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            return rows[2:], error_from_result(result, encoding="utf-8")
        rows.append(_rows(transformer, result))
    return rows[2:], None


def _send(
    connection: "Connection", transformer: Any, statements: Sequence[Statement], *, prepare: bool
) -> list[str | None]:
    """Return one item per expected result.

    The item is the text of a statement if the result confirms that it was prepared, and None if it
    is the result of a statement.
    """
    pgconn = connection.pgconn
    expected: list[str | None] = []
    messages = []
    size = 0
    for text, values in statements:
        query, names, name = _numbered(text)
        # In text format, which every type has. PostgreSQL derives the types from the statement.
        formats = [PyFormat.TEXT] * len(names)
        parameters = transformer.dump_sequence([values[name] for name in names], formats)
        messages.append((text, query, name, parameters))
        size += MESSAGE_OVERHEAD + (0 if text in connection.prepared else len(query))
        size += sum(len(each) for each in parameters if each is not None)
    prepare = prepare and size <= MAX_PREPARED_BYTES
    for text, query, name, parameters in messages:
        if not prepare:
            pgconn.send_query_params(query, parameters)
        else:
            if text not in connection.prepared:
                pgconn.send_prepare(name, query)
                expected.append(text)
            pgconn.send_query_prepared(name, parameters)
        expected.append(None)
    pgconn.pipeline_sync()
    return expected


@cache
def _numbered(text: LiteralString) -> tuple[bytes, Sequence[str], bytes]:
    """Return the text with $1 for a parameter, the parameters' names in order, and a name for it.

    The name is a digest of the text, so it never denotes another statement, even if a pooler shares
    the prepared statements of its clients.
    """
    query, names = numbered(text)
    sent = query.encode()
    return sent, names, sha256(sent).hexdigest()[:32].encode()


async def _results(connection: "Connection") -> list[pq.abc.PGresult]:
    """The result of each statement, and of the end of the transaction if that failed."""
    pgconn = connection.pgconn
    while pgconn.flush():
        await connection.wait(select.POLLIN | select.POLLOUT)
        pgconn.consume_input()
    results: list[pq.abc.PGresult] = []
    while True:
        while pgconn.is_busy():
            await connection.wait(select.POLLIN)
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:  # the end of one statement's results
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return results
        results.append(result)
        if connection.closed:
            return results


def _rows(transformer: Any, result: pq.abc.PGresult) -> Rows:
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)
