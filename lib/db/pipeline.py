"""Sends the statements of a transaction in one round trip."""

import re
import select
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, LiteralString

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

from lib.db.connection import Connection

# A parameter or a percent sign in the text of a statement, as SQLAlchemy and psycopg write them.
PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%")

type Statement = tuple[LiteralString, Mapping[str, Any]]
type Rows = list[tuple[Any, ...]]


async def run(connection: Connection, first: Statement, *statements: Statement) -> list[Rows]:
    """Send all statements at once, as one transaction. Returns the rows of each but the `first`.

    Uses libpq's pipeline mode through psycopg.pq: psycopg's own `Connection.pipeline()` writes and
    waits for each statement, which takes 188 k instructions and nine system calls more.

    Raises psycopg.Error. After one that is not of a statement the connection must be closed.
    """
    transformer = Transformer()
    _send(connection, transformer, first, *statements)
    results = await _results(connection)
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_from_result(result, encoding="utf-8")
    return [_rows(transformer, result) for result in results[1:]]


async def try_out(
    connection: Connection, first: Statement, *statements: Statement
) -> tuple[list[Rows], psycopg.Error | None]:
    """Send all statements at once, as one transaction that is always rolled back.

    Returns the rows of each statement after the `first` until one fails, and the error of that one.
    """
    transformer = Transformer()
    _send(connection, transformer, ("BEGIN", {}), first, *statements)
    # After an error the server skips what was sent before the next synchronization point only.
    _send(connection, transformer, ("ROLLBACK", {}))
    results = await _results(connection)
    if not connection.closed:
        await _results(connection)
    rows: list[Rows] = []
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            return rows[2:], error_from_result(result, encoding="utf-8")
        rows.append(_rows(transformer, result))
    return rows[2:], None


def _send(connection: Connection, transformer: Any, *statements: Statement) -> None:
    pgconn = connection.pgconn
    for text, values in statements:
        query, names = _numbered(text)
        # In text format, which every type has.
        formats = [PyFormat.TEXT] * len(names)
        parameters = transformer.dump_sequence([values[name] for name in names], formats)
        pgconn.send_query_params(query, parameters, param_types=transformer.types or ())
    pgconn.pipeline_sync()


@cache
def _numbered(text: LiteralString) -> tuple[bytes, Sequence[str]]:
    """A statement as PostgreSQL's protocol wants it, with $1 for a name, and the names in order."""
    names = list(dict.fromkeys(filter(None, PLACEHOLDER.findall(text))))

    def number(placeholder: re.Match[str]) -> str:
        return f"${names.index(placeholder[1]) + 1}" if placeholder[1] else "%"

    return PLACEHOLDER.sub(number, text).encode(), names


async def _results(connection: Connection) -> list[pq.abc.PGresult]:
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
