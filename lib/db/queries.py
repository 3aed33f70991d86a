"""Every SQL statement, written with SQLModel. `make sql` compiles them to compiled.py.

Each statement on existing rows names their owner in its WHERE clause, so that it never finds a row
of another user. PostgreSQL builds the JSON of a response: a list costs a function one string
instead of thousands of objects.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    FromClause,
    Insert,
    Interval,
    LargeBinary,
    Select,
    Table,
    Update,
    any_,
    column,
    exists,
    literal_column,
    table,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.orm import Mapped
from sqlalchemy.sql.selectable import LateralFromClause
from sqlmodel import (
    BigInteger,
    Boolean,
    Integer,
    SQLModel,
    Text,
    and_,
    bindparam,
    case,
    cast,
    col,
    collate,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    tuple_,
    update,
)

from lib import schemas
from lib.db.models import IdempotencyKey, Task, User

TASKS = SQLModel.metadata.tables["tasks"]

type Expression = ColumnElement[Any] | Mapped[Any]

ZERO, ONE = literal_column("0", Integer), literal_column("1", Integer)

owner = bindparam("owner", type_=Text)
task_id = bindparam("task_id", type_=BigInteger)
title = bindparam("title", type_=Text)
description = bindparam("description", type_=Text)
# psycopg sends null without a type, and SQLAlchemy casts every parameter except booleans.
set_description = cast(bindparam("set_description"), Boolean)
completed = cast(bindparam("completed"), Boolean)
etags = bindparam("etags", type_=ARRAY(Text))
must_match = cast(bindparam("must_match"), Boolean)
key = bindparam("key", type_=Text)
request_hash = bindparam("request_hash", type_=Text)

after_id = bindparam("after_id", type_=BigInteger)
max_bytes = bindparam("max_bytes", type_=BigInteger)

owned = and_(col(Task.id) == task_id, col(Task.user_id) == owner)
expired = col(IdempotencyKey.created_at) < func.now() - cast(literal_column("'24 hours'"), Interval)


# --- JSON ---------------------------------------------------------------------------------------


def _timestamp(value: ColumnElement) -> ColumnElement[str]:
    utc = func.timezone(literal_column("'UTC'"), value)
    return func.to_char(utc, literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""), type_=Text)


def _fields(source: FromClause, shape: type[BaseModel]) -> list[ColumnElement]:
    return [
        _timestamp(source.c[name]).label(name) if name.endswith("_at") else source.c[name]
        for name in shape.model_fields
    ]


def _document(source: FromClause, shape: type[BaseModel] = schemas.Task) -> LateralFromClause:
    """Each row of `source` with the fields of `shape`, in their order."""
    return select(*_fields(source, shape)).correlate(source).lateral("document")


def _json(document: Any) -> ColumnElement[str]:
    return cast(func.row_to_json(document.table_valued()), Text)


def _returning_json(source: CTE) -> Select:
    """The JSON document and the id of each row of `source`."""
    document = _document(source)
    return select(_json(document), source.c.id).select_from(source, document)


def _etag() -> ColumnElement[str]:
    """The ETag of a task: a digest of its JSON, as lib/db/tasks.py computes it from a response."""
    document = select(*_fields(TASKS, schemas.Task)).correlate(TASKS).subquery("document")
    json = select(_json(document)).select_from(document).correlate(TASKS).scalar_subquery()
    digest = func.sha256(func.convert_to(json, literal_column("'UTF8'")))
    return func.left(func.encode(digest, literal_column("'hex'")), literal_column("32"))


# If-Match and If-None-Match: lib.schemas.Precondition. Null means without a condition.
precondition = or_(etags.is_(None), (_etag() == any_(etags)) == must_match)


# --- Reading ------------------------------------------------------------------------------------


class Order(NamedTuple):
    """The order of a list: by `key`, then by the id, both in the same direction.

    `key` must never be null, because a cursor finds the next task by comparing keys. A column that
    may be null needs coalesce, with a value such as 'infinity' in the place of nulls.
    """

    key: ColumnElement[Any]
    descending: bool


# An order needs an index of (user_id, key, id), which PostgreSQL reads in both directions.
ORDERS = {
    "created_at asc": Order(TASKS.c.created_at, descending=False),
    "created_at desc": Order(TASKS.c.created_at, descending=True),
    "updated_at asc": Order(TASKS.c.updated_at, descending=False),
    "updated_at desc": Order(TASKS.c.updated_at, descending=True),
    "title asc": Order(TASKS.c.title_key, descending=False),
    "title desc": Order(TASKS.c.title_key, descending=True),
}


def _sorted(tasks: Select, order: Order, key: Expression, id_: Expression) -> Select:
    return tasks.order_by(*([key.desc(), id_.desc()] if order.descending else [key, id_]))


def _follows_cursor(order: Order, key: Expression, id_: Expression) -> ColumnElement[bool]:
    """Whether a task comes after the cursor, which names the key and the id of another task."""
    cursor = tuple_(bindparam("after", type_=order.key.type), after_id)
    return tuple_(key, id_) < cursor if order.descending else tuple_(key, id_) > cursor


def _without_case(value: Expression) -> ColumnElement[str]:
    """The text in lower case, by rules that are built into PostgreSQL: the same on every server."""
    return func.lower(collate(value, "pg_c_utf8"), type_=Text)


def _contains(text: Expression, searched: ColumnElement[bytes]) -> ColumnElement[bool]:
    """Whether a text contains the bytes `searched`, which in UTF-8 are the same as its characters.

    PostgreSQL compares bytes with memcmp, in little more than the time to read them. Its searches
    in text (strpos, LIKE) can take the product of both lengths.
    """
    return func.position(searched.op("IN")(_utf8(text)), type_=Integer) > ZERO


def _utf8(text: Expression) -> ColumnElement[bytes]:
    return func.convert_to(text, literal_column("'UTF8'"), type_=LargeBinary)


def _filters() -> ColumnElement[bool]:
    """A filter whose parameter is null does not apply."""
    q = bindparam("q", type_=Text)
    # A subquery is computed once, not for each row.
    searched = select(_utf8(_without_case(q))).scalar_subquery()
    return and_(
        or_(completed.is_(None), col(Task.completed) == completed),
        or_(
            q.is_(None),
            _contains(col(Task.title_key), searched),
            _contains(_without_case(col(Task.description)), searched),
        ),
    )


def _select_tasks(sort_key: Expression) -> Select:
    columns = [TASKS.c[name] for name in schemas.Task.model_fields]
    return select(*columns, sort_key.label("sort_key")).where(col(Task.user_id) == owner)


def _list_whole(order: Order, *filters: ColumnElement[bool]) -> Select:
    """One row: the documents separated by commas, and their number. No row for too large a list.

    The size is checked before documents are built. For example, by title:

        WITH list AS (SELECT ..., title_key AS sort_key FROM tasks WHERE user_id = :owner
                      ORDER BY title_key, id)
        SELECT string_agg(row_to_json(document)::text, ','), count(*)
        FROM list, LATERAL (SELECT list.id, ...) AS document
        HAVING (SELECT sum(octet_length(title) + ...) FROM list) <= :max_bytes
    """
    tasks = _select_tasks(order.key).where(*filters)
    tasks = _sorted(tasks, order, order.key, col(Task.id)).cte("list")
    document = _document(tasks)
    documents = func.string_agg(_json(document), literal_column("','"))
    return (
        select(func.coalesce(documents, literal_column("''")), func.count())
        .select_from(tasks, document)
        .having(_size(tasks) <= max_bytes)
    )


# The fewest bytes that the JSON of a task takes in addition to its texts, and the most for one byte
# of a text: a control character is written as \u0001.
MIN_TASK_OVERHEAD, MAX_ESCAPED = literal_column("130", Integer), literal_column("6", Integer)


def _size(tasks: CTE) -> ColumnElement[int]:
    """The bytes of the documents: a lower bound where that tells whether they are too many."""
    texts = [func.octet_length(tasks.c[name]) for name in ("user_id", "title", "description")]
    text_bytes = sum((func.coalesce(each, ZERO) for each in texts), MIN_TASK_OVERHEAD)
    at_least = func.coalesce(func.sum(text_bytes), ZERO)
    # Builds each document and forgets it: as much time as the list takes, but not its memory.
    document = _document(tasks)
    exact = select(func.sum(func.octet_length(_json(document)) + ONE)).select_from(tasks, document)
    undecided = and_(at_least <= max_bytes, at_least * MAX_ESCAPED > max_bytes)
    size = case((undecided, exact.correlate(None).scalar_subquery()), else_=at_least)
    return select(size).select_from(tasks).correlate(None).scalar_subquery()


def _page(tasks: Select) -> Select:
    """A row for each task: its document, its sort key as text, and its id.

    One more than `limit` where there is a next page. For example, the newest tasks after a cursor:

        SELECT row_to_json(document)::text, page.sort_key::text, page.id
        FROM (SELECT ..., created_at AS sort_key FROM tasks
              WHERE user_id = :owner AND (created_at, id) < (:after, :after_id)
              ORDER BY created_at DESC, id DESC LIMIT :limit + 1) AS page,
             LATERAL (SELECT page.id, ...) AS document
    """
    page = tasks.limit(bindparam("limit", type_=Integer) + ONE).subquery("page")
    document = _document(page)
    rows = select(_json(document).label("document"), cast(page.c.sort_key, Text), page.c.id)
    return rows.select_from(page, document)


def _list_page(order: Order, *conditions: ColumnElement[bool]) -> Select:
    tasks = _select_tasks(order.key).where(*conditions)
    return _page(_sorted(tasks, order, order.key, col(Task.id)))


def _counted_page(order: Order) -> Select:
    """The same with the number of all matching tasks in each row, in one pass over the tasks.

    A single row without a document where the page is empty. For example:

        WITH matching AS (SELECT id, created_at AS sort_key FROM tasks
                          WHERE user_id = :owner AND <filters>)
        SELECT page.document, page.sort_key, page.id, counted.total
        FROM (SELECT count(*) AS total FROM matching) AS counted
        LEFT JOIN (<the page of matching JOIN tasks>) AS page ON true
    """
    matching = (
        select(col(Task.id), order.key.label("sort_key"))
        .where(col(Task.user_id) == owner, _filters())
        .cte("matching")
    )
    key, id_ = matching.c.sort_key, matching.c.id
    tasks = (
        _select_tasks(key)
        .join(matching, col(Task.id) == id_)
        .where(or_(after_id.is_(None), _follows_cursor(order, key, id_)))
    )
    page = _page(_sorted(tasks, order, key, id_)).subquery("counted_page")
    counted = select(func.count().label("total")).select_from(matching).subquery("counted")
    return select(*page.c, counted.c.total).select_from(
        counted.outerjoin(page, literal_column("true"))
    )


# Of each kind of list one statement for each order, because a parameter cannot choose the columns
# of ORDER BY. In these three every condition always applies: one plan fits all parameters.
LIST_WHOLE = {name: _list_whole(order) for name, order in ORDERS.items()}
LIST_FIRST_PAGE = {name: _list_page(order) for name, order in ORDERS.items()}
LIST_NEXT_PAGE = {
    name: _list_page(order, _follows_cursor(order, order.key, col(Task.id)))
    for name, order in ORDERS.items()
}
# These have filters, which are planned with the actual parameters: one that is null costs nothing.
FILTERED_WHOLE = {name: _list_whole(order, _filters()) for name, order in ORDERS.items()}
FILTERED_PAGE = {
    name: _list_page(
        order,
        _filters(),
        or_(after_id.is_(None), _follows_cursor(order, order.key, col(Task.id))),
    )
    for name, order in ORDERS.items()
}
COUNTED_PAGE = {name: _counted_page(order) for name, order in ORDERS.items()}

GET = _returning_json(select(Task).where(owned).cte("task"))

# Sent in the same round trip after a conditional change: tells a changed task from a missing one.
EXISTS = select(exists().where(owned))


# --- Writing ------------------------------------------------------------------------------------
#
# Creating a task has four variants: with and without an idempotency key, with and without
# provisioning of the user. Each is one statement, so that it takes one round trip and is applied
# wholly or not at all. For example, with both:
#
#     WITH profile AS (INSERT INTO users ... ON CONFLICT DO NOTHING),
#          new AS (SELECT nextval(...) AS id, :owner AS user_id, :title AS title, ...),
#          record AS (INSERT INTO idempotency_keys ... SELECT ... FROM new
#                     ON CONFLICT (user_id, key) DO UPDATE ... WHERE <expired> RETURNING key),
#          sweep AS (DELETE FROM idempotency_keys WHERE ...)
#     INSERT INTO tasks (...) SELECT ... FROM new, record


def _changes(old: FromClause, **new: ColumnElement) -> dict[str, ColumnElement]:
    """`new` values of a task, with the version and the timestamp that follow if they differ."""
    same = tuple_(*(old.c[name] for name in new)).is_not_distinct_from(tuple_(*new.values()))
    # `updated_at` increases with every change, even where the clock stands still or is set back.
    slightly_later = old.c.updated_at + cast(literal_column("'1 microsecond'"), Interval)
    return {
        **new,
        "updated_at": case(
            (same, old.c.updated_at),
            else_=func.greatest(func.clock_timestamp(), slightly_later),
        ),
        "version": old.c.version + case((same, ZERO), else_=ONE),
    }


_constraints = table("pg_constraint", column("contype"), column("confrelid"), column("conrelid"))
# Better Auth's tables that refer to its users, also with its option `usePlural`, and columns by
# which they differ from tables of the same name.
_BETTER_AUTH_TABLES = ("session", "sessions", "account", "accounts")
_BETTER_AUTH_COLUMNS = ("token", "providerId", "provider_id")
_attributes = table("pg_attribute", column("attrelid"), column("attname"))
# Whether Better Auth keeps its users in the table that the tasks refer to.
shares_users = exists().where(
    _constraints.c.contype == literal_column("'f'"),
    _constraints.c.confrelid == literal_column("to_regclass('users')"),
    _constraints.c.conrelid.in_(
        [literal_column(f"to_regclass('{name}')") for name in _BETTER_AUTH_TABLES]
    ),
    exists().where(
        _attributes.c.attrelid == _constraints.c.conrelid,
        _attributes.c.attname.in_([literal_column(f"'{c}'") for c in _BETTER_AUTH_COLUMNS]),
    ),
)


def _provisioning_user[S: (Select, Insert)](statement: S) -> S:
    """The same statement, which also inserts the user's row if there is none.

    Nothing is inserted where Better Auth keeps its users in the same table: there everybody who
    signed up has a row, and a row made from the token of a deleted user would block their e-mail
    address. An address that another row holds is replaced by a random one: of the two candidates,
    ON CONFLICT DO NOTHING takes the first that fits.
    """
    random_email = cast(func.gen_random_uuid(), Text).concat(literal_column("'@users.invalid'"))
    emails = func.unnest(array([bindparam("user_email", type_=Text), random_email]))
    candidates = emails.table_valued("email", with_ordinality="position", name="candidate")
    candidates = candidates.render_derived()
    profiles = (
        select(
            owner.label("id"),
            bindparam("user_name", type_=Text).label("name"),
            candidates.c.email,
            cast(bindparam("user_email_verified"), Boolean).label("verified"),
        )
        .select_from(candidates)
        .where(candidates.c.email.is_not(None), not_(shares_users))
        .order_by(candidates.c.position)
    )
    profile = postgresql_insert(User).from_select(
        ["id", "name", "email", "emailVerified"], profiles
    )
    return statement.add_cte(profile.on_conflict_do_nothing().cte("profile"))


def _record(new: CTE) -> CTE:
    """Stores the key with the response that `new` gives. Returns no row if the key is taken.

    Of two requests at once, the second waits here until the first has committed.
    """
    document = _document(new)
    stored = ["user_id", "key", "request_hash", "task", "task_id", "version"]
    claim = postgresql_insert(IdempotencyKey).from_select(
        stored,
        select(  # ty: ignore[no-matching-overload]
            owner, key, request_hash, _json(document), new.c.id, new.c.version
        ).select_from(new, document),
    )
    return (
        claim.on_conflict_do_update(
            index_elements=["user_id", "key"],
            set_={name: claim.excluded[name] for name in [*stored[2:], "created_at"]},
            where=expired,
        )
        .returning(col(IdempotencyKey.key))
        .cte("record")
    )


def _sweeping[S: (Insert, Update)](statement: S, record: CTE) -> S:
    """The same statement, which also removes a few expired keys of the user.

    It joins `record`, so that it runs after the key is stored, and skips what others have locked:
    two requests never wait for each other's keys.
    """
    some = (
        select(col(IdempotencyKey.key))
        .select_from(IdempotencyKey, record)
        .where(
            col(IdempotencyKey.user_id) == owner,
            col(IdempotencyKey.key) != record.c.key,
            expired,
        )
        .order_by(col(IdempotencyKey.created_at))
        .limit(literal_column("20"))
        .with_for_update(skip_locked=True, of=IdempotencyKey)
        .correlate(None)
    )
    # As an array, which is computed once: a plan could run a subquery of IN for each key.
    keys = func.array(some.scalar_subquery())
    sweep = delete(IdempotencyKey).where(
        col(IdempotencyKey.user_id) == owner, col(IdempotencyKey.key) == any_(keys)
    )
    return statement.add_cte(sweep.cte("sweep"))


def _create() -> Select:
    values = {"user_id": owner, "title": title, "description": description, "completed": completed}
    return _returning_json(insert(Task).values(values).returning(Task).cte("task"))


def _create_once() -> Insert:
    # The record holds the response, which contains the id: so the id is drawn first.
    sequence = func.pg_get_serial_sequence(literal_column("'tasks'"), literal_column("'id'"))
    values = {
        "id": func.nextval(sequence, type_=BigInteger),
        "user_id": owner,
        "title": title,
        "description": description,
        "completed": completed,
        "created_at": func.now(),
        "updated_at": func.now(),
        "version": cast(ONE, BigInteger),
    }
    new = select(*(value.label(name) for name, value in values.items())).cte("new")
    record = _record(new)
    values_of_new = select(*new.c).select_from(new, record)
    create = insert(Task).from_select(list(values), values_of_new)
    return _sweeping(create, record)


def _update() -> Select:
    values = _changes(
        TASKS,
        title=func.coalesce(title, col(Task.title)),
        description=case((set_description, description), else_=col(Task.description)),
        completed=func.coalesce(completed, col(Task.completed)),
    )
    changed = update(Task).where(owned, precondition).values(values).returning(Task)
    return _returning_json(changed.cte("task"))


def _completion(old: FromClause) -> dict[str, ColumnElement]:
    """The given completion, or the opposite of the stored one. Atomic: the row is locked."""
    return _changes(old, completed=func.coalesce(completed, not_(old.c.completed)))


def _complete() -> Select:
    completion = _completion(TASKS)
    changed = update(Task).where(owned, precondition).values(completion).returning(Task)
    return _returning_json(changed.cte("task"))


def _complete_once() -> Update:
    locked = select(Task).where(owned, precondition).with_for_update().cte("locked")
    completion = _completion(locked)
    columns = (completion.get(each.name, each).label(each.name) for each in locked.c)
    new = select(*columns).cte("new")
    record = _record(new)
    complete = (
        update(Task)
        .where(col(Task.id) == new.c.id, col(Task.user_id) == owner, record.c.key == key)
        .values({name: new.c[name] for name in completion})
    )
    return _sweeping(complete, record)


CREATE = _create()
CREATE_WITH_USER = _provisioning_user(_create())
UPDATE = _update()
COMPLETE = _complete()
DELETE = delete(Task).where(owned, precondition).returning(col(Task.id))

# With an Idempotency-Key the effect and its record are one statement. RECORD reads the response
# after it, in the same round trip: the first response, also to a repeated request.
CREATE_ONCE = _create_once()
CREATE_ONCE_WITH_USER = _provisioning_user(_create_once())
COMPLETE_ONCE = _complete_once()
RECORD = select(
    col(IdempotencyKey.request_hash), col(IdempotencyKey.task), col(IdempotencyKey.task_id)
).where(col(IdempotencyKey.user_id) == owner, col(IdempotencyKey.key) == key, not_(expired))


# --- Readiness ----------------------------------------------------------------------------------

OWNED = [table for table in SQLModel.metadata.tables.values() if "user_id" in table.columns]


def _values(*rows: tuple[str, ...]) -> str:
    return "VALUES " + ", ".join(f"({', '.join(f"'{value}'" for value in row)})" for row in rows)


def _type(column: Column) -> str:
    return column.type.compile(postgresql.dialect()).partition(" COLLATE ")[0].lower()


def _types(tables: Iterable[Table]) -> list[tuple[str, ...]]:
    """The table, the name and the type of each column, as PostgreSQL's format_type writes it."""
    return [(each.name, column.name, _type(column)) for each in tables for column in each.columns]


# One row: whether row-level security applies to this role, whether Better Auth shares the table of
# users, the policies that are missing, what else requests need and the database lacks, and the same
# for provisioning users. It explains why lib/db/readiness.py failed to run the statements above,
# and is no error where something is missing. The catalogs of PostgreSQL have no classes.
READY = select(  # ty: ignore[no-matching-overload]
    literal_column(
        "(SELECT row_security_active(oid) FROM pg_class WHERE oid = to_regclass('tasks'))"
    ),
    shares_users,
    literal_column(f"""ARRAY(
    SELECT 'policy own_rows on ' || name
    FROM ({_values(*((each.name,) for each in OWNED))}) AS owned (name)
    WHERE row_security_active(to_regclass(name)) AND NOT EXISTS (
      SELECT FROM pg_policies
      WHERE tablename = name AND policyname = 'own_rows' AND cmd = 'ALL'
        AND schemaname = ANY (current_schemas(false))
        AND qual LIKE '%app.user_id%' AND with_check LIKE '%app.user_id%'
    )
  )"""),  # noqa: S608 - the names are those of our own tables
    literal_column(f"""ARRAY(
    SELECT 'USAGE on a schema of search_path' WHERE current_schema() IS NULL
    UNION ALL
    SELECT 'table ' || name
    FROM ({_values(*((name,) for name in SQLModel.metadata.tables))}) AS needed (name)
    WHERE to_regclass(name) IS NULL
    UNION ALL
    SELECT format('column %s.%s of type %s', relation, name, type)
    FROM ({_values(*_types(OWNED))}) AS needed (relation, name, type)
    WHERE to_regclass(relation) IS NOT NULL AND NOT EXISTS (
      SELECT FROM pg_attribute
      WHERE attrelid = to_regclass(relation) AND attname = name AND NOT attisdropped
        AND format_type(atttypid, atttypmod) = type
    )
    UNION ALL
    SELECT privilege || ' on ' || name
    FROM ({_values(*((each.name,) for each in OWNED))}) AS owned (name),
      (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS needed (privilege)
    WHERE NOT has_table_privilege(to_regclass(name), privilege)
    UNION ALL
    SELECT 'USAGE on the sequence of tasks.id'
    FROM pg_attribute
    WHERE attrelid = to_regclass('tasks') AND attname = 'id'
      AND has_sequence_privilege(
        pg_get_serial_sequence(attrelid::regclass::text, attname), 'USAGE'
      ) IS NOT TRUE
    UNION ALL
    SELECT format('a default for %s.%s', relation, attname)
    FROM ({_values(*((each.name,) for each in OWNED))}) AS owned (relation)
      JOIN pg_attribute ON attrelid = to_regclass(relation)
    WHERE attnum > 0 AND attnotnull AND NOT atthasdef AND attidentity = '' AND NOT attisdropped
      AND (relation, attname) NOT IN (
        {_values(*(column[:2] for column in _types(OWNED)))}
      )
  )"""),  # noqa: S608
    literal_column("""ARRAY(
    SELECT 'INSERT on users.' || name
    FROM (VALUES ('id'), ('name'), ('email'), ('emailVerified')) AS needed (name)
      LEFT JOIN pg_attribute
        ON attrelid = to_regclass('users') AND attname = name AND NOT attisdropped
    WHERE to_regclass('users') IS NOT NULL
      AND has_column_privilege(attrelid, attnum, 'INSERT') IS NOT TRUE
  )"""),
)
