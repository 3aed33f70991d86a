"""No statement reads or changes rows of another user, even without row-level security."""

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
from sqlmodel import SQLModel

from lib.db import queries
from lib.db.queries import TASKS, owned, owner, task_id

OWNED = set(queries.OWNED)
# Checks whether the tables exist, and reads no rows.
WITHOUT_OWNER = {"READY"}


def all_statements() -> Iterator[tuple[str, Executable]]:
    for name, value in vars(queries).items():
        if name.isupper() and name not in WITHOUT_OWNER:
            for key, each in value.items() if isinstance(value, dict) else [("", value)]:
                if isinstance(each, Executable):
                    yield f"{name} {key}".strip(), each


def without_owner(statement: Any) -> list[str]:
    """The owned tables that any part of a statement uses without a filter by owner."""
    found: list[str] = []
    for part in visitors.iterate(statement):
        if not isinstance(part, Select | Update | Delete):
            continue
        conditions = list(conjuncts(part.whereclause))
        # A correlated table belongs to the enclosing statement, which is checked too.
        correlated = getattr(part, "_correlate", ())
        for table in part.get_final_froms() if isinstance(part, Select) else [part.table]:
            if (
                isinstance(table, Table)
                and table not in correlated
                and table in OWNED
                and not any(names_owner(each, table) for each in conditions)
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


def names_owner(clause: ColumnElement, table: Table) -> bool:
    return (
        isinstance(clause, BinaryExpression)
        and clause.operator is operators.eq
        and _column(clause.left) is table.c.user_id
        and clause.right is owner
    )


def _column(expression: Any) -> Any:
    """The column of the table; SQLModel's attributes are annotated copies of it."""
    table = getattr(expression, "table", None)
    return table.c.get(expression.name) if isinstance(table, Table) else expression


@pytest.mark.parametrize(
    ("name", "statement"),
    list(all_statements()),
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_every_statement_filters_by_the_owner(name: str, statement: Executable) -> None:
    assert without_owner(statement) == [], f"{name} does not filter by owner (lib/db/queries.py)"


MUTANTS = {
    "read": select(TASKS),
    "one by its id": select(TASKS).where(TASKS.c.id == task_id),
    "in a part": select(select(TASKS).cte("all")),
    "in a count": select(select(TASKS.c.id).scalar_subquery()).where(literal_column("true")),
    "in a condition": select(literal_column("1")).where(select(TASKS).exists()),
    "or": select(TASKS).where(or_(TASKS.c.user_id == owner, TASKS.c.completed)),
    "not": select(TASKS).where(TASKS.c.user_id != owner),
    "another parameter": select(TASKS).where(TASKS.c.user_id == bindparam("task_id")),
    "of another table": select(TASKS).where(
        SQLModel.metadata.tables["idempotency_keys"].c.user_id == owner
    ),
    "changed": update(TASKS).where(TASKS.c.id == task_id).values(title="x"),
    "deleted": delete(TASKS).where(TASKS.c.id == task_id).returning(TASKS.c.id),
    "copied": insert(TASKS).from_select(["user_id", "title"], select(owner, TASKS.c.title)),
}


@pytest.mark.parametrize("statement", MUTANTS.values(), ids=MUTANTS)
def test_a_missing_owner_filter_is_found(statement: Executable) -> None:
    assert without_owner(statement)
    assert not without_owner(select(TASKS).where(owned))
