"""No statement reads or changes rows of another user, even where no row-level security is."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Delete,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, ColumnElement, Grouping

from lib.db import queries as statements

OWNED = {table for table in statements.ours if "user_id" in table.c}
# Whether the tables are there: it looks for rows of nobody.
OF_NOBODY = {"READY"}


def all_statements() -> Iterator[tuple[str, Executable]]:
    for name, value in vars(statements).items():
        if name.isupper() and name not in OF_NOBODY:
            for key, each in value.items() if isinstance(value, dict) else [("", value)]:
                if isinstance(each, Executable):
                    yield f"{name} {key}".strip(), each


def without_owner(statement: Any) -> list[str]:
    """The owned tables that any part of a statement touches without asking for its owner."""
    found: list[str] = []
    for part in visitors.iterate(statement):
        if not isinstance(part, Select | Update | Delete):
            continue
        asked = list(conjuncts(part.whereclause))
        for table in part.get_final_froms() if isinstance(part, Select) else [part.table]:
            if (
                isinstance(table, Table)
                and table in OWNED
                and not any(asks_for_owner(each, table) for each in asked)
            ):
                found.append(table.name)  # noqa: PERF401 - one loop reads better than two
    return found


def conjuncts(clause: Any) -> Iterator[ColumnElement]:
    if isinstance(clause, Grouping):
        yield from conjuncts(clause.element)
    elif isinstance(clause, BooleanClauseList) and clause.operator is operators.and_:
        for each in clause.clauses:
            yield from conjuncts(each)
    elif clause is not None:
        yield clause


def asks_for_owner(clause: ColumnElement, table: Table) -> bool:
    return (
        isinstance(clause, BinaryExpression)
        and clause.operator is operators.eq
        and clause.left is table.c.user_id
        and clause.right is statements.owner
    )


@pytest.mark.parametrize(
    ("name", "statement"),
    list(all_statements()),
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_every_statement_asks_for_the_owner(name: str, statement: Executable) -> None:
    assert without_owner(statement) == [], f"{name} filters by no owner (lib/db/queries.py)"


tasks, owner, mine = statements.tasks, statements.owner, statements.mine
PLANTED = {
    "read": select(tasks),
    "one by its id": select(tasks).where(tasks.c.id == statements.task_id),
    "in a part": select(select(tasks).cte("all")),
    "in a count": select(select(tasks.c.id).scalar_subquery()).where(literal_column("true")),
    "in a condition": select(literal_column("1")).where(select(tasks).exists()),
    "or": select(tasks).where(or_(tasks.c.user_id == owner, tasks.c.completed)),
    "not": select(tasks).where(tasks.c.user_id != owner),
    "whoever it says": select(tasks).where(tasks.c.user_id == bindparam("task_id")),
    "of another table": select(tasks).where(statements.keys.c.user_id == owner),
    "changed": update(tasks).where(tasks.c.id == statements.task_id).values(title="x"),
    "deleted": delete(tasks).where(tasks.c.id == statements.task_id).returning(tasks.c.id),
    "copied": insert(tasks).from_select(["user_id", "title"], select(owner, tasks.c.title)),
}


@pytest.mark.parametrize("statement", PLANTED.values(), ids=PLANTED)
def test_a_forgotten_owner_is_found(statement: Executable) -> None:
    assert without_owner(statement)
    assert not without_owner(select(tasks).where(mine))
