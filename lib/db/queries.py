"""Every SQL statement, written with SQLModel; functions run what `make sql` compiles of them.

Each statement filters by `owner` itself, so a stranger's task is never found. A parameter that is
null switches its condition off. Answers are JSON documents that PostgreSQL builds: a whole list
costs the function one string, not ten thousand objects.
"""

from pydantic import BaseModel
from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Insert,
    Interval,
    Select,
    Table,
    Update,
    bindparam,
    column,
    exists,
    literal_column,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import ARRAY, array_agg
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.sql.selectable import LateralFromClause
from sqlmodel import (
    BigInteger,
    Boolean,
    Integer,
    Text,
    and_,
    case,
    cast,
    collate,
    delete,
    func,
    insert,
    not_,
    or_,
    tuple_,
    update,
)

from lib import schemas as models
from lib.db.models import SQLModel

NONE, ONE = literal_column("0", Integer), literal_column("1", Integer)

tasks, keys, users = (
    SQLModel.metadata.tables[name] for name in ("tasks", "idempotency_keys", "users")
)
# The tables of users' rows. Better Auth has more that refer to `users`.
ours = [table for table in SQLModel.metadata.tables.values() if table is not users]
constraints = table("pg_constraint", column("contype"), column("confrelid"), column("conrelid"))

owner = bindparam("owner", type_=Text)
task_id = bindparam("task_id", type_=BigInteger)
title = bindparam("title", type_=Text)
description = bindparam("description", type_=Text)
# psycopg sends null without a type, and SQLAlchemy casts every parameter but the booleans.
set_description = cast(bindparam("set_description"), Boolean)
completed = cast(bindparam("completed"), Boolean)
versions = bindparam("versions", type_=ARRAY(BigInteger))
key = bindparam("key", type_=Text)
request_hash = bindparam("request_hash", type_=Text)

mine = and_(tasks.c.id == task_id, tasks.c.user_id == owner)
# If-Match: null means that the request carries none.
as_read = or_(versions.is_(None), tasks.c.version == func.any(versions))
expired = keys.c.created_at < func.now() - cast(literal_column("'24 hours'"), Interval)


def _moment(moment: ColumnElement) -> ColumnElement[str]:
    utc = func.timezone(literal_column("'UTC'"), moment)
    return func.to_char(utc, literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""), type_=Text)


def _answer(source: FromClause, shape: type[BaseModel] = models.Task) -> LateralFromClause:
    """Each row of `source` with the fields of `shape`, in their order."""
    return (
        select(
            *(
                _moment(source.c[field]).label(field) if field.endswith("_at") else source.c[field]
                for field in shape.model_fields
            )
        )
        .correlate(source)
        .lateral("answer")
    )


def _json(answer: LateralFromClause) -> ColumnElement[str]:
    return cast(func.row_to_json(answer.table_valued()), Text)


def _joined(answer: LateralFromClause) -> ColumnElement[str]:
    """The JSON documents of all rows, separated by commas."""
    documents = func.string_agg(_json(answer), literal_column("','"))
    return func.coalesce(documents, literal_column("''"))


def _answered(source: CTE | FromClause) -> Select:
    """The JSON document, id and version of each row of `source`."""
    answer = _answer(source)
    return select(_json(answer), source.c.id, source.c.version).select_from(source, answer)


def _changed(old: FromClause, **new: ColumnElement) -> dict[str, ColumnElement]:
    """`new` values of a task, with the version and the moment that they bring if they differ."""
    stays = tuple_(*(old.c[name] for name in new)).is_not_distinct_from(tuple_(*new.values()))
    # Strictly forward, even where the clock stands still or is set back.
    a_bit_later = old.c.updated_at + cast(literal_column("'1 microsecond'"), Interval)
    return {
        **new,
        "updated_at": case(
            (stays, old.c.updated_at),
            else_=func.greatest(func.clock_timestamp(), a_bit_later),
        ),
        "version": old.c.version + case((stays, NONE), else_=ONE),
    }


# --- Reading ------------------------------------------------------------------------------------


def _matching() -> ColumnElement[bool]:
    pattern = bindparam("pattern", type_=Text)
    return and_(
        tasks.c.user_id == owner,
        or_(completed.is_(None), tasks.c.completed == completed),
        or_(
            pattern.is_(None),
            # The column's own collation "C" would fold the case of ASCII letters only.
            collate(tasks.c.title, "default").ilike(pattern),
            tasks.c.description.ilike(pattern),
        ),
    )


def _ordered(sort: str, order: str) -> tuple[ColumnElement, ColumnElement]:
    columns = (tasks.c[sort], tasks.c.id)
    return columns if order == "asc" else tuple(column.desc() for column in columns)


def _list_whole(sort: str, order: str) -> Select:
    """One row: the documents joined by commas, and their number."""
    page = select(tasks).where(_matching()).order_by(*_ordered(sort, order)).subquery("page")
    answer = _answer(page)
    return select(_joined(answer), func.count()).select_from(page, answer)


def _list_page(sort: str, order: str) -> Select:
    """One row: the documents (one more than asked for where there is a next page), the place of
    the last one of this page as text and id, and the number of all tasks if it is wanted."""
    after = bindparam("after", type_=tasks.c[sort].type)
    place = tuple_(tasks.c[sort], tasks.c.id)
    last = tuple_(after, bindparam("after_id", type_=BigInteger))
    limit = bindparam("limit", type_=Integer)
    page = (
        select(tasks)
        .where(_matching(), or_(after.is_(None), place > last if order == "asc" else place < last))
        .order_by(*_ordered(sort, order))
        .limit(limit + ONE)
        .subquery("page")
    )
    answer = _answer(page)
    total = select(func.count()).select_from(tasks).where(_matching()).scalar_subquery()
    return select(
        array_agg(_json(answer)),
        array_agg(cast(answer.c[sort], Text), type_=ARRAY(Text))[limit],
        array_agg(answer.c.id, type_=ARRAY(BigInteger))[limit],
        case((cast(bindparam("count"), Boolean), total)),
    ).select_from(page, answer)


_ORDERS = [
    (sort, order) for sort in ("created_at", "updated_at", "title") for order in ("asc", "desc")
]

LIST_WHOLE = {f"{sort} {order}": _list_whole(sort, order) for sort, order in _ORDERS}
LIST_PAGE = {f"{sort} {order}": _list_page(sort, order) for sort, order in _ORDERS}

GET = _answered(select(tasks).where(mine).cte("task"))

# Sent behind a conditional change, in the same flight: tells a changed task from a missing one.
EXISTS = select(exists().where(mine))


# --- Writing ------------------------------------------------------------------------------------


def _oid(table: Table) -> ColumnElement[int]:
    return literal_column(f"'{table.name}'::regclass")


def _with_account[S: (Select, Insert)](statement: S) -> S:
    """The same statement, making the user's row if there is none (PROVISION_USERS).

    Not where Better Auth's own tables refer to `users`: there every user who signed up has a row,
    and one made for a deleted user whose token lives on would block their address for good.
    """
    account = {
        "id": owner,
        "name": bindparam("account_name", type_=Text),
        "email": bindparam("account_email", type_=Text),
        "emailVerified": cast(bindparam("account_email_verified"), Boolean),
    }
    shared = exists().where(
        constraints.c.contype == literal_column("'f'"),
        constraints.c.confrelid == _oid(users),
        constraints.c.conrelid.not_in([_oid(table) for table in ours]),
    )
    made = select(*(value.label(name) for name, value in account.items())).where(not_(shared))
    return statement.add_cte(
        insert_or(users).from_select(list(account), made).on_conflict_do_nothing().cte("account")
    )


def _record(new: CTE) -> CTE:
    """Claims the key with the answer that `new` gives; gives no row if the key is taken.

    Of two requests at once, the second waits here until the first has committed.
    """
    answer = _answer(new)
    claim = insert_or(keys).from_select(
        ["user_id", "key", "request_hash", "task", "task_id", "version"],
        select(owner, key, request_hash, _json(answer), new.c.id, new.c.version).select_from(
            new, answer
        ),
    )
    columns = ("request_hash", "task", "task_id", "version", "created_at")
    return (
        claim.on_conflict_do_update(
            index_elements=[keys.c.user_id, keys.c.key],
            set_={column: claim.excluded[column] for column in columns},
            where=expired,
        )
        .returning(keys.c.key)
        .cte("record")
    )


def _sweep[S: (Insert, Update)](statement: S) -> S:
    """The same statement, removing the caller's expired keys on the way: no job has to."""
    others = delete(keys).where(keys.c.user_id == owner, keys.c.key != key, expired)
    return statement.add_cte(others.cte("sweep"))


def _create() -> Select:
    values = {"user_id": owner, "title": title, "description": description, "completed": completed}
    return _answered(insert(tasks).values(values).returning(tasks).cte("task"))


def _create_once() -> Insert:
    # The record holds the answer, and the answer holds the id: so the id is drawn first.
    sequence = func.pg_get_serial_sequence(literal_column("'tasks'"), literal_column("'id'"))
    columns = {
        "id": func.nextval(sequence, type_=BigInteger),
        "user_id": owner,
        "title": title,
        "description": description,
        "completed": completed,
        "created_at": func.now(),
        "updated_at": func.now(),
        "version": cast(ONE, BigInteger),
    }
    new = select(*(value.label(name) for name, value in columns.items())).cte("new")
    record = _record(new)
    return _sweep(insert(tasks).from_select(list(columns), select(new).select_from(new, record)))


def _update() -> Select:
    values = _changed(
        tasks,
        title=func.coalesce(title, tasks.c.title),
        description=case((set_description, description), else_=tasks.c.description),
        completed=func.coalesce(completed, tasks.c.completed),
    )
    return _answered(update(tasks).where(mine, as_read).values(values).returning(tasks).cte("task"))


def _completion(old: FromClause) -> dict[str, ColumnElement]:
    """The wanted completion, or the opposite of the stored one: atomic, for the row is locked."""
    return _changed(old, completed=func.coalesce(completed, not_(old.c.completed)))


def _complete() -> Select:
    changed = update(tasks).where(mine, as_read).values(_completion(tasks)).returning(tasks)
    return _answered(changed.cte("task"))


def _complete_once() -> Update:
    locked = select(tasks).where(mine, as_read).with_for_update().cte("locked")
    completion = _completion(locked)
    new = select(
        *(completion.get(column.name, column).label(column.name) for column in locked.c)
    ).cte("new")
    record = _record(new)
    return _sweep(
        update(tasks)
        .where(tasks.c.id == new.c.id, tasks.c.user_id == owner, record.c.key == key)
        .values({name: new.c[name] for name in completion})
    )


CREATE = _create()
CREATE_WITH_ACCOUNT = _with_account(_create())
UPDATE = _update()
COMPLETE = _complete()
DELETE = delete(tasks).where(mine, as_read).returning(tasks.c.id)

# With an Idempotency-Key: the effect and its record are one statement. Its answer is read behind
# it, in the same flight, by RECORD: the first answer, whoever made it.
CREATE_ONCE = _create_once()
CREATE_ONCE_WITH_ACCOUNT = _with_account(_create_once())
COMPLETE_ONCE = _complete_once()
RECORD = select(keys.c.request_hash, keys.c.task, keys.c.task_id, keys.c.version).where(
    keys.c.user_id == owner, keys.c.key == key, not_(expired)
)

# Touches every table that requests need, so that a database without migrations is not ready; and
# says whether row-level security holds the role that asks.
READY = select(
    func.row_security_active(literal_column("'tasks'"), type_=Boolean),
    *(exists().where(table.c.user_id == literal_column("''")) for table in ours),
)
