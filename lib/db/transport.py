"""What a transport to PostgreSQL provides: connections, and errors known by their SQLSTATE.

There are two transports: lib/db/connection.py (libpq) and lib/db/http_connection.py (Neon's
serverless driver endpoint). lib/db/pool.py chooses one.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any, LiteralString, Protocol

type Statement = tuple[LiteralString, Mapping[str, Any]]
type Rows = list[tuple[Any, ...]]
# Opens a connection by a deadline (a timestamp of the monotonic clock), or raises NotConnected.
type Connector = Callable[[float], Awaitable[Connection]]

# A parameter or a percent sign in the text of a statement, as SQLAlchemy and psycopg write them.
PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%")

# A prepared statement does not exist, exists already, or would return other columns. Other clients
# of a pooler, DEALLOCATE or a migration can cause this. The transaction was rolled back.
LOST_STATEMENT_SQLSTATES = {"26000", "42P05"}
STALE_STATEMENT_SQLSTATES = {*LOST_STATEMENT_SQLSTATES, "0A000"}

# The classes of SQLSTATEs for which psycopg raises OperationalError or InternalError.
OPERATIONAL_CLASSES = (
    "08", "24", "25", "27", "28", "2B", "2D", "2F", "38", "39", "3B", "40", "53", "54", "55", "57",
    "58", "F", "H", "X",
)  # fmt: skip


class DatabaseError(Exception):
    """PostgreSQL refused a statement. The attributes are the fields of its error message.

    The exceptions are named as in PEP 249.
    """

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str | None = None,
        severity: str | None = None,
        name: str = "SQLSTATE",
        table: str | None = None,
        column: str | None = None,
        constraint: str | None = None,
        context: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate
        self.severity = severity
        self.name = name
        self.table = table
        self.column = column
        self.constraint = constraint
        self.context = context


class OperationalError(DatabaseError):
    """The server cannot run statements now.

    Without an `sqlstate`, PostgreSQL did not respond, and the outcome is unknown.
    """


class NotConnected(OperationalError):
    """There is no connection, and nothing was sent. The message is for the log."""


class Connection(Protocol):
    """A connection that runs one transaction at a time.

    `deadline` is a timestamp of the monotonic clock, the other two are of the wall clock, because
    the monotonic one may stop while a sandbox is frozen. With `lazy_login`, the first transaction
    includes the login, and the start of a suspended database.
    """

    deadline: float
    opened_at: float
    used_at: float
    lazy_login: bool

    @property
    def closed(self) -> bool: ...

    @property
    def idle(self) -> bool:
        """Whether no statement is under way and no transaction is open."""
        ...

    @property
    def stale(self) -> bool:
        """Whether the server has ended this idle connection."""
        ...

    def close(self) -> None: ...

    async def run(
        self, first: Statement, *statements: Statement, prepare: bool = False
    ) -> list[Rows]:
        """Run all statements as one transaction, in one round trip.

        Returns the rows of each except `first`, which sets parameters. With `prepare`, the server
        may keep the parsed statements. Raises DatabaseError.
        """
        ...

    async def try_out(
        self, first: Statement, *statements: Statement
    ) -> tuple[list[Rows], DatabaseError | None]:
        """Run all statements as one transaction that is always rolled back.

        Returns the rows of each statement after the `first` until one fails, and the error of that
        one.
        """
        ...


def error_from_sqlstate(message: str, sqlstate: str, **fields: str | None) -> DatabaseError:
    """Return the exception for an error that PostgreSQL reported."""
    operational = sqlstate.startswith(OPERATIONAL_CLASSES)
    kind = OperationalError if operational else DatabaseError
    return kind(message, sqlstate=sqlstate, **fields)  # ty: ignore[invalid-argument-type]


@cache
def numbered(text: LiteralString) -> tuple[str, Sequence[str]]:
    """Return the text with $1 for a parameter, and the parameters' names in order."""
    names = list(dict.fromkeys(filter(None, PLACEHOLDER.findall(text))))

    def number(placeholder: re.Match[str]) -> str:
        return f"${names.index(placeholder[1]) + 1}" if placeholder[1] else "%"

    return PLACEHOLDER.sub(number, text), names
