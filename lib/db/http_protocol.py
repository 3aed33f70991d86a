"""The bodies of requests to Neon's serverless driver endpoint, and of its responses.

Values are as the npm package @neondatabase/serverless sends them: tests/integrations/neon_driver
compares both.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib.db.transport import (
    DatabaseError,
    NotConnected,
    OperationalError,
    Rows,
    Statement,
    error_from_sqlstate,
    numbered,
)

# PostgreSQL rejects a login with these: an unknown role or a wrong password, an unknown database,
# too many connections, a server that starts or stops.
LOGIN_SQLSTATES = ("28", "3D000", "53300", "57P03")
# The beginnings of messages with which Neon's proxy reports that it could not log in. Every other
# error without an SQLSTATE, such as "connection closed", may have come after the commit.
LOGIN_MESSAGES = (
    "password authentication failed",
    "error connecting to server",
    "Control plane request failed",
    "Console request failed",
    "Failed to acquire permit",
    "Too many connections to this endpoint",
)

# The names that psycopg gives to errors which an operator is likely to see in the log.
NAMES = {
    "22001": "StringDataRightTruncation",
    "23502": "NotNullViolation",
    "23503": "ForeignKeyViolation",
    "23505": "UniqueViolation",
    "23514": "CheckViolation",
    "25006": "ReadOnlySqlTransaction",
    "42501": "InsufficientPrivilege",
    "42703": "UndefinedColumn",
    "42P01": "UndefinedTable",
    "P0001": "RaiseException",
}

MAX_LOGGED_MESSAGE = 200  # characters

ARRAY_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^{},"]+)')


def batch(statements: Sequence[Statement]) -> bytes:
    queries = []
    for text, values in statements:
        query, names = numbered(text)
        queries.append({"query": query, "params": [_parameter(values[name]) for name in names]})
    return json.dumps({"queries": queries}, ensure_ascii=False, separators=(",", ":")).encode()


def results(body: bytes, expected: int) -> list[Rows]:
    """Return the rows of each statement except the first. Raises OperationalError."""
    try:
        _, *found = json.loads(body)["results"]
        if len(found) != expected:
            raise ValueError
        return [_rows(result) for result in found]
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise OperationalError("the response of the endpoint has another form") from error


def _parameter(value: Any) -> str | None:
    """A value in PostgreSQL's text format."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        # The endpoint would take a list, but change its control characters.
        return f"{{{','.join(map(_array_item, value))}}}"
    raise TypeError(f"a parameter of type {type(value).__name__} cannot be sent")


def _array_item(value: Any) -> str:
    text = _parameter(value)
    if text is None:
        return "NULL"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _read_array(text: str) -> list[str | None]:
    """The items of a one-dimensional array."""
    return [
        None if plain == "NULL" else plain or re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        for quoted, plain in ARRAY_ITEM.findall(text)
    ]


# Readers of values, by the OID of their type. Values of other types stay text. They raise an error
# for a value that the endpoint has converted, as it does if a proxy removes our headers.
READERS: dict[int, Callable[[str], Any]] = {
    16: {"t": True, "f": False}.__getitem__,  # bool
    20: int,  # bigint
    23: int,  # integer
    701: float,  # double precision
    1009: _read_array,  # text[]
    1015: _read_array,  # varchar[]
}


def _rows(result: Mapping[str, Any]) -> Rows:
    # Unlike str(), its method refuses other types.
    readers = [READERS.get(field["dataTypeID"], str.__str__) for field in result["fields"]]
    return [
        tuple(
            [
                value if value is None else read(value)
                for read, value in zip(readers, list.__iter__(row), strict=True)
            ]
        )
        for row in result["rows"]
    ]


def error_from_response(status: int, body: bytes) -> DatabaseError:
    try:
        fields = json.loads(body)
        message, sqlstate = str(fields.get("message", "")), str(fields.get("code") or "")
    except (AttributeError, ValueError, RecursionError):
        fields, message, sqlstate = {}, "", ""
    severity = fields.get("severity")
    if not severity:  # PostgreSQL reports both: this is the code of a proxy
        sqlstate = ""
    login_failed = severity == "FATAL" and sqlstate.startswith(LOGIN_SQLSTATES)
    if login_failed or (not sqlstate and message.startswith(LOGIN_MESSAGES)):
        return NotConnected(message.partition("\n")[0][:MAX_LOGGED_MESSAGE])
    if sqlstate:
        return error_from_sqlstate(
            message,
            sqlstate,
            severity=severity,
            name=NAMES.get(sqlstate, "SQLSTATE"),
            table=fields.get("table"),
            column=fields.get("column"),
            constraint=fields.get("constraint"),
            context=fields.get("where"),
        )
    if status == 507:  # the rows are too large, and the transaction was rolled back
        return OperationalError(message, sqlstate="54000", severity="ERROR")
    if 400 < status < 500 and status != 408:  # refused before it was run, as by a rate limit
        return NotConnected(f"the endpoint responded with HTTP status {status}")
    return OperationalError(message or f"the endpoint responded with HTTP status {status}")
