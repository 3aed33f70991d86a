"""`make sql`: compiles lib/db/queries.py to lib/db/compiled.py.

With `--check` it writes nothing, and fails if the file is out of date.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import ClauseElement, Executable
from sqlalchemy.dialects import registry

from lib.db import queries

GENERATED = Path(__file__).parent.parent / "lib" / "db" / "compiled.py"
HEADER = '''"""The SQL that runs. Compiled from queries.py by `make sql`: do not edit."""

from typing import LiteralString
'''


class NullableOrder(Exception):
    """A list would be ordered by a column that may be null."""


def compile_statement(statement: ClauseElement) -> str:
    """Return the SQL of a statement, with psycopg's named parameters.

    Raises ValueError if SQLAlchemy would pass a constant as a parameter.
    """
    compiled = statement.compile(dialect=registry.load("postgresql.psycopg")())
    if invented := [name for name, value in compiled.params.items() if value is not None]:
        raise ValueError(f"write these constants with literal_column: {invented}")
    # SQLAlchemy leaves trailing spaces where it joins clauses.
    return "\n".join(line.strip() for line in str(compiled).splitlines())


def generate() -> str:
    """Return the text of compiled.py. Raises NullableOrder."""
    for name, order in queries.ORDERS.items():
        column = queries.TASKS.c[order.key]
        if column.nullable and column.computed is None:
            raise NullableOrder(
                f"The order {name!r} is by {order.key}, which may be null: the next page would "
                "leave out tasks, because SQL compares nothing with null. Order by a generated "
                "column that is never null, such as due_at_desc in lib/db/models.py."
            )
    return HEADER + "".join(_definitions())


def _definitions() -> Iterator[str]:
    for name, value in vars(queries).items():
        if isinstance(value, Executable):
            yield f'\n{name} = """\n{compile_statement(value)}\n"""\n'
        elif isinstance(value, dict) and isinstance(next(iter(value.values()), None), Executable):
            items = (f'    "{k}": """\n{compile_statement(v)}\n""",\n' for k, v in value.items())
            yield f"\n{name}: dict[str, LiteralString] = {{\n{''.join(items)}}}\n"


def main() -> None:
    try:
        fresh = generate()
    except NullableOrder as error:
        sys.exit(str(error))
    if "--check" in sys.argv:
        if not GENERATED.exists() or GENERATED.read_text() != fresh:
            sys.exit("lib/db/compiled.py is out of date: run make sql and commit it.")
        return
    GENERATED.write_text(fresh)


if __name__ == "__main__":
    main()
