"""Statements as one transaction, in one flight to PostgreSQL and back; knows no statement."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, LiteralString

import psycopg
from psycopg import abc, generators, pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

# A parameter or a per cent sign in the text of a statement, as SQLAlchemy and psycopg write them.
MARK = re.compile(r"%\((\w+)\)s|%%")

type Statement = tuple[LiteralString, Mapping[str, Any]]
type Bound = tuple[bytes, Sequence[pq.abc.Buffer | None], tuple[int, ...]]
type Rows = list[tuple[Any, ...]]


def run(
    connection: psycopg.Connection[Any], first: Statement, *statements: Statement
) -> list[Rows]:
    """The rows of each statement behind the `first`, none for one that returns none.

    psycopg's `pipeline()` writes and waits for each statement by itself: with it a request takes
    188 k instructions and nine system calls more. Raises psycopg.Error; unless it is one of a
    statement, the connection is of no more use.
    """
    transformer = Transformer(connection)
    flight = [_bound(transformer, *statement) for statement in (first, *statements)]
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    for text, values, types in flight:
        pgconn.send_query_params(text, values, param_types=types)
    pgconn.pipeline_sync()
    results = connection.wait(_results(pgconn, len(flight)))
    if not connection.closed:
        pgconn.exit_pipeline_mode()
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_from_result(result)
    return [_rows(transformer, result) for result in results[1:]]


def _bound(transformer: abc.Transformer, text: LiteralString, values: Mapping[str, Any]) -> Bound:
    """Raises psycopg.DataError for a text with a NUL in it."""
    query, names = _numbered(text)
    # As text, which every type has: which one of two formats is cheaper is no question here.
    texts = transformer.dump_sequence(
        [values[name] for name in names], [PyFormat.TEXT] * len(names)
    )
    return query, texts, transformer.types or ()


@cache
def _numbered(text: LiteralString) -> tuple[bytes, list[str]]:
    """A statement as PostgreSQL's protocol wants it, $1 for a name, and the names."""
    names = list(dict.fromkeys(filter(None, MARK.findall(text))))

    def number(mark: re.Match[str]) -> str:
        return f"${names.index(mark[1]) + 1}" if mark[1] else "%"

    return MARK.sub(number, text).encode(), names


def _rows(transformer: abc.Transformer, result: pq.abc.PGresult) -> Rows:
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)


def _results(pgconn: pq.abc.PGconn, statements: int) -> abc.PQGen[list[pq.abc.PGresult]]:
    """One result of each statement that was sent."""
    yield from generators.send(pgconn)
    results: list[pq.abc.PGresult] = []
    for _ in range(statements):
        results += yield from generators.fetch_many(pgconn)
    yield from generators.fetch_many(pgconn)  # the end of the transaction
    return results
