"""Every SQL statement, written with SQLModel. `make sql` compiles them to compiled.py.

Each statement on existing rows names their owner in its WHERE clause, so that it never finds a row
of another user. PostgreSQL builds the JSON of a response: for a list, a function handles
one string instead of thousands of objects.
"""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    DefaultClause,
    FromClause,
    Insert,
    Interval,
    LargeBinary,
    Select,
    SmallInteger,
    Table,
    Update,
    any_,
    column,
    exists,
    literal_column,
    table,
    union_all,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.orm import Mapped
from sqlalchemy.sql.selectable import LateralFromClause
from sqlmodel import (
    BigInteger,
    Boolean,
    DateTime,
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
from lib.db.models import (
    DATABASE_HISTORY,
    DELETED_TASKS,
    ERASED_USERS,
    IdempotencyKey,
    Snapshot,
    Task,
    TransactionId,
    User,
    owned_tables,
    read_only_tables,
)

TASKS = SQLModel.metadata.tables["tasks"]

type Expression = ColumnElement[Any] | Mapped[Any]

ZERO, ONE = literal_column("0", Integer), literal_column("1", Integer)

owner = bindparam("owner", type_=Text)
task_id = bindparam("task_id", type_=BigInteger)
# psycopg sends null without a type, and SQLAlchemy casts every parameter except booleans.
completed = cast(bindparam("completed"), Boolean)
given = bindparam("given", type_=ARRAY(Text))
etags = bindparam("etags", type_=ARRAY(Text))
must_match = cast(bindparam("must_match"), Boolean)
key = bindparam("key", type_=Text)
request_hash = bindparam("request_hash", type_=Text)

after_id = bindparam("after_id", type_=BigInteger)
max_bytes = bindparam("max_bytes", type_=BigInteger)

owned = and_(col(Task.id) == task_id, col(Task.user_id) == owner)
# After this time a deleted task is as good as erased. The retention job erases it.
is_kept = and_(
    DELETED_TASKS.c.purged_at.is_(None),
    DELETED_TASKS.c.deleted_at > func.now() - cast(literal_column("'30 days'"), Interval),
)
in_trash = and_(DELETED_TASKS.c.id == task_id, DELETED_TASKS.c.user_id == owner)
owned_in_trash = and_(in_trash, is_kept)
# The text remains until the retention job has run, and its user can erase it until then.
is_erasable = and_(in_trash, DELETED_TASKS.c.purged_at.is_(None))
expired = col(IdempotencyKey.created_at) < func.now() - cast(literal_column("'24 hours'"), Interval)


# --- Fields -------------------------------------------------------------------------------------
#
# A field of lib.schemas.Task is stored in a column of its name, and written from a parameter of its
# name, unless these functions say otherwise.

# Stored if a task has no due date.
INFINITY = literal_column("'infinity'::timestamptz", DateTime(timezone=True))
PRIORITIES = array([literal_column(f"'{name}'", Text) for name in schemas.PRIORITIES])
DATE_LENGTH, DATE_TIME_LENGTH = literal_column("10", Integer), literal_column("27", Integer)


def _column_names(field: str) -> tuple[str, ...]:
    return ("due_at", "due_is_date") if field == "due_date" else (field,)


def _column_values(field: str) -> dict[str, ColumnElement]:
    """The values of the columns that store a field, from its parameter."""
    parameter = bindparam(field, type_=Text)
    if field == "priority":
        return {field: func.coalesce(func.array_position(PRIORITIES, parameter), ZERO)}
    if field == "due_date":
        # "2026-12-24" or "2026-12-24T13:30:00.000000Z". A date counts as its midnight UTC.
        midnight = parameter.concat(literal_column("'T00:00:00.000000Z'"))
        instant = cast(func.left(midnight, DATE_TIME_LENGTH), DateTime(timezone=True))
        is_date = func.coalesce(func.length(parameter) == DATE_LENGTH, literal_column("false"))
        return {"due_at": func.coalesce(instant, INFINITY), "due_is_date": is_date}
    type_ = TASKS.c[field].type
    if isinstance(type_, Boolean):
        return {field: cast(bindparam(field), Boolean)}
    return {field: bindparam(field, type_=type_)}


def _shown(source: FromClause, field: str) -> ColumnElement:
    """A field as it is in the JSON."""
    if field == "priority":
        return PRIORITIES[source.c.priority]
    if field == "due_date":
        length = case((source.c.due_is_date, DATE_LENGTH), else_=DATE_TIME_LENGTH)
        return func.left(_timestamp(func.nullif(source.c.due_at, INFINITY)), length)
    return _timestamp(source.c[field]) if field.endswith("_at") else source.c[field]


def _timestamp(value: ColumnElement) -> ColumnElement[str]:
    utc = func.timezone(literal_column("'UTC'"), value)
    return func.to_char(utc, literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""), type_=Text)


# --- JSON ---------------------------------------------------------------------------------------


def _fields(source: FromClause, shape: type[BaseModel]) -> list[ColumnElement]:
    return [_shown(source, name).label(name) for name in shape.model_fields]


def _document(source: FromClause, shape: type[BaseModel] = schemas.Task) -> LateralFromClause:
    """Each row of `source` with the fields of `shape`, in their order."""
    return select(*_fields(source, shape)).correlate(source).lateral("document")


def _columns_of_document(source: FromClause) -> list[ColumnElement]:
    names = [each for name in schemas.Task.model_fields for each in _column_names(name)]
    return [source.c[name] for name in names]


def _json(document: Any) -> ColumnElement[str]:
    return cast(func.row_to_json(document.table_valued()), Text)


def _returning_json(source: FromClause) -> Select:
    """The JSON document and the id of each row of `source`."""
    document = _document(source)
    return select(_json(document), source.c.id).select_from(source, document)


def _etag(source: Table) -> ColumnElement[str]:
    """The ETag of a task: a digest of its JSON, as lib/db/tasks.py computes it from a response."""
    document = select(*_fields(source, schemas.Task)).correlate(source).subquery("document")
    json = select(_json(document)).select_from(document).correlate(source).scalar_subquery()
    digest = func.sha256(func.convert_to(json, literal_column("'UTF8'")))
    return func.left(func.encode(digest, literal_column("'hex'")), literal_column("32"))


def _meets_precondition(source: Table) -> ColumnElement[bool]:
    """If-Match and If-None-Match: lib.schemas.Precondition. Null means no condition."""
    return or_(etags.is_(None), (_etag(source) == any_(etags)) == must_match)


precondition = _meets_precondition(TASKS)


# --- Reading ------------------------------------------------------------------------------------


class Order(NamedTuple):
    """The order of a list: by `key`, then by the id, both in the same direction.

    `key` names a column that is never null, because a cursor finds the next task by comparing keys
    in an index. Row-level security keeps expressions such as coalesce out of indexes, so the column
    itself must have a value such as 'infinity' in the place of nulls.
    """

    key: str
    descending: bool


# An order needs an index of (user_id, key, id), which PostgreSQL reads in both directions.
ORDERS = {
    "created_at asc": Order("created_at", descending=False),
    "created_at desc": Order("created_at", descending=True),
    "updated_at asc": Order("updated_at", descending=False),
    "updated_at desc": Order("updated_at", descending=True),
    "title asc": Order("title_key", descending=False),
    "title desc": Order("title_key", descending=True),
    # Undated tasks come last in both.
    "due_date asc": Order("due_at", descending=False),
    "due_date desc": Order("due_at_desc", descending=True),
    "priority asc": Order("priority", descending=False),
    "priority desc": Order("priority", descending=True),
}


def _sorted(tasks: Select, order: Order, key: Expression, id_: Expression) -> Select:
    return tasks.order_by(*([key.desc(), id_.desc()] if order.descending else [key, id_]))


def _follows_cursor(order: Order, key: ColumnElement, id_: ColumnElement) -> ColumnElement[bool]:
    """Whether a task comes after the cursor, which names the key and the id of another task."""
    cursor = tuple_(bindparam("after", type_=key.type), after_id)
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


def _listed(source: Table) -> ColumnElement[bool]:
    is_owned = source.c.user_id == owner
    return and_(is_owned, is_kept) if source is DELETED_TASKS else is_owned


def _filters(source: Table) -> ColumnElement[bool]:
    """A filter whose parameter is null does not apply."""
    q, tags = bindparam("q", type_=Text), bindparam("tag", type_=ARRAY(Text))
    # A subquery is computed once, not for each row.
    searched = select(_utf8(_without_case(q))).scalar_subquery()
    return and_(
        _indexed_filters(source),
        or_(tags.is_(None), source.c.tags.op("@>", is_comparison=True)(tags)),
        or_(
            q.is_(None),
            _contains(source.c.title_key, searched),
            _contains(_without_case(source.c.description), searched),
        ),
    )


def _indexed_filters(source: Table) -> ColumnElement[bool]:
    """The filters on columns of the index tasks_by_completed."""
    priorities = bindparam("priority", type_=ARRAY(SmallInteger))
    due_from, due_to = (
        bindparam(name, type_=DateTime(timezone=True)) for name in ("due_from", "due_to")
    )
    due = source.c.due_at
    return and_(
        or_(completed.is_(None), source.c.completed == completed),
        or_(priorities.is_(None), source.c.priority == any_(priorities)),
        or_(due_from.is_(None), and_(due >= due_from, due < INFINITY)),
        or_(due_to.is_(None), due <= due_to),
    )


def _select_tasks(source: Table, sort_key: Expression) -> Select:
    columns = _columns_of_document(source)
    return select(*columns, sort_key.label("sort_key")).where(_listed(source))


# The fewest bytes that the JSON of a task takes in addition to its texts, and the most for one byte
# of a text: a control character is written as \u0001.
MIN_TASK_OVERHEAD, MAX_ESCAPED = literal_column("130", Integer), literal_column("6", Integer)


def _list_whole(order: Order) -> Select:
    """A row with the document of each task.

    The documents are null where they might exceed the limit. This is decided by the size of the
    texts, before a document is built. For example, by title:

        SELECT CASE WHEN (SELECT sum(octet_length(title) + ...) * 6 FROM tasks
                          WHERE user_id = :owner) <= :max_bytes
               THEN row_to_json(document)::text END
        FROM tasks, LATERAL (SELECT tasks.id, ...) AS document
        WHERE user_id = :owner ORDER BY title_key, id LIMIT ...
    """
    measured = TASKS.alias("measured")
    size = select(func.sum(_least_bytes(measured)) * MAX_ESCAPED).where(measured.c.user_id == owner)
    document = _document(TASKS)
    shown = case((size.scalar_subquery() <= max_bytes, _json(document)))
    tasks = select(shown).select_from(TASKS, document).where(_listed(TASKS))
    tasks = _sorted(tasks, order, TASKS.c[order.key], TASKS.c.id)
    # The documents of more tasks than this are null.
    return tasks.limit(max_bytes // (MIN_TASK_OVERHEAD * MAX_ESCAPED) + ONE)


def _filtered_whole(source: Table, order: Order) -> Select:
    """One row: the documents separated by commas, and their number. No row for too large a list.

    The size is checked before documents are built. For example, by title:

        WITH list AS (SELECT ..., title_key AS sort_key FROM tasks
                      WHERE user_id = :owner AND <filters> ORDER BY title_key, id)
        SELECT string_agg(row_to_json(document)::text, ','), count(*)
        FROM list, LATERAL (SELECT list.id, ...) AS document
        HAVING (SELECT sum(octet_length(title) + ...) FROM list) <= :max_bytes
    """
    key = source.c[order.key]
    tasks = _select_tasks(source, key).where(_filters(source))
    tasks = _sorted(tasks, order, key, source.c.id).cte("list")
    document = _document(tasks)
    documents = func.string_agg(_json(document), literal_column("','"))
    return (
        select(func.coalesce(documents, literal_column("''")), func.count())
        .select_from(tasks, document)
        .having(_size(tasks) <= max_bytes)
    )


def _size(tasks: CTE) -> ColumnElement[int]:
    """The bytes of the documents.

    A lower bound if that is enough to decide whether they exceed the limit.
    """
    at_least = func.coalesce(func.sum(_least_bytes(tasks)), ZERO)
    # Builds each document and discards it. This takes the time of the list but not its memory.
    document = _document(tasks)
    exact = select(func.sum(func.octet_length(_json(document)) + ONE)).select_from(tasks, document)
    undecided = and_(at_least <= max_bytes, at_least * MAX_ESCAPED > max_bytes)
    size = case((undecided, exact.correlate(None).scalar_subquery()), else_=at_least)
    return select(size).select_from(tasks).correlate(None).scalar_subquery()


def _least_bytes(tasks: FromClause) -> ColumnElement:
    """A lower bound of the bytes of a document."""
    tags = func.array_to_string(tasks.c.tags, literal_column("','"))
    texts = (tasks.c.user_id, tasks.c.title, tasks.c.description, tags)
    sizes = [func.octet_length(each) for each in texts]
    return sum((func.coalesce(each, ZERO) for each in sizes), MIN_TASK_OVERHEAD)


limit = bindparam("limit", type_=Integer) + ONE
offset: ColumnElement[int] = bindparam("offset", type_=Integer)


def _page(tasks: Select) -> Select:
    """A row for each task: its document, its sort key as text, and its id.

    One more than `limit` where there is a next page. For example, the newest tasks after a cursor:

        SELECT row_to_json(document)::text, page.sort_key::text, page.id
        FROM (SELECT ..., created_at AS sort_key FROM tasks
              WHERE user_id = :owner AND (created_at, id) < (:after, :after_id)
              ORDER BY created_at DESC, id DESC LIMIT :limit + 1) AS page,
             LATERAL (SELECT page.id, ...) AS document
    """
    page = tasks.limit(limit).subquery("page")
    document = _document(page)
    rows = select(_json(document).label("document"), cast(page.c.sort_key, Text), page.c.id)
    return rows.select_from(page, document)


def _list_page(order: Order, *conditions: ColumnElement[bool]) -> Select:
    key = TASKS.c[order.key]
    tasks = _select_tasks(TASKS, key).where(*conditions)
    return _page(_sorted(tasks, order, key, TASKS.c.id))


# If at most this many tasks match, reading them by an index and sorting them is faster than reading
# the tasks in the order of the list.
MAX_RARE = literal_column("1000", Integer)


def _filtered_page(order: Order) -> Select:
    """A page of the tasks that pass the filters, in one of two ways.

    If few tasks pass the filters on indexed columns, they are read by their ids and sorted.
    Otherwise the tasks are read in the order of the list until the page is full. PostgreSQL cannot
    choose, because it does not know how often a value occurs among the tasks of one user.

        WITH matching AS MATERIALIZED (SELECT id FROM tasks WHERE user_id = :owner AND <filters>),
             rare AS (SELECT id FROM matching LIMIT 1001)
        SELECT ... FROM (
            (SELECT ... WHERE (SELECT count(*) FROM rare) <= 1000
             AND id = ANY (ARRAY(SELECT id FROM rare)) AND <filters> ORDER BY ... LIMIT ...)
            UNION ALL
            (SELECT ... WHERE (SELECT count(*) FROM rare) > 1000
             AND <filters> ORDER BY ... LIMIT ...)
        ) AS tasks ORDER BY ... LIMIT ... OFFSET :offset
    """
    matching = select(col(Task.id)).where(_listed(TASKS), _indexed_filters(TASKS))
    # MATERIALIZED makes PostgreSQL plan for all matches, although it reads only the first 1,001. A
    # plan for the first 1,001 would scan the table.
    matching = matching.cte("matching").prefix_with("MATERIALIZED")
    rare = select(matching.c.id).limit(MAX_RARE + ONE).cte("rare")
    number = select(func.count()).select_from(rare).scalar_subquery()
    ids = func.array(select(rare.c.id).scalar_subquery(), type_=ARRAY(BigInteger))
    key = TASKS.c[order.key]
    tasks = _select_tasks(TASKS, key).where(
        _filters(TASKS), or_(after_id.is_(None), _follows_cursor(order, key, TASKS.c.id))
    )
    ways = [
        tasks.where(number <= MAX_RARE, col(Task.id) == any_(ids)),
        tasks.where(number > MAX_RARE),
    ]
    both = union_all(
        *(_sorted(way, order, key, TASKS.c.id).limit(limit + offset) for way in ways)
    ).subquery("both")
    return _page(_sorted(select(*both.c), order, both.c.sort_key, both.c.id).offset(offset))


def _counted_page(source: Table, order: Order) -> Select:
    """A filtered page. Each row also has the number of all matching tasks, from the same pass.

    A single row without a document where the page is empty. For example:

        WITH matching AS (SELECT id, created_at AS sort_key FROM tasks
                          WHERE user_id = :owner AND <filters>)
        SELECT page.document, page.sort_key, page.id, counted.total
        FROM (SELECT count(*) AS total FROM matching) AS counted
        LEFT JOIN (<the page of matching JOIN tasks>) AS page ON true
    """
    matching = (
        select(source.c.id, source.c[order.key].label("sort_key"))
        .where(_listed(source), _filters(source))
        .cte("matching")
    )
    key, id_ = matching.c.sort_key, matching.c.id
    tasks = (
        _select_tasks(source, key)
        .join(matching, source.c.id == id_)
        .where(or_(after_id.is_(None), _follows_cursor(order, key, id_)))
    )
    page = _page(_sorted(tasks, order, key, id_).offset(offset)).subquery("counted_page")
    counted = select(func.count().label("total")).select_from(matching).subquery("counted")
    return select(*page.c, counted.c.total).select_from(
        counted.outerjoin(page, literal_column("true"))
    )


# Each kind of list has one statement for each order, because a parameter cannot choose the columns
# of ORDER BY. These three have no filters, so one plan fits all parameters.
LIST_WHOLE = {name: _list_whole(order) for name, order in ORDERS.items()}
LIST_FIRST_PAGE = {name: _list_page(order) for name, order in ORDERS.items()}
LIST_NEXT_PAGE = {
    name: _list_page(order, _follows_cursor(order, TASKS.c[order.key], TASKS.c.id))
    for name, order in ORDERS.items()
}
# These have filters. They are planned with the actual parameters: a null filter costs nothing.
FILTERED_WHOLE = {name: _filtered_whole(TASKS, order) for name, order in ORDERS.items()}
FILTERED_PAGE = {name: _filtered_page(order) for name, order in ORDERS.items()}
COUNTED_PAGE = {name: _counted_page(TASKS, order) for name, order in ORDERS.items()}
# The trash has one statement for each order, which reads and sorts the user's whole trash.
TRASH_WHOLE = {name: _filtered_whole(DELETED_TASKS, order) for name, order in ORDERS.items()}
TRASH_PAGE = {name: _counted_page(DELETED_TASKS, order) for name, order in ORDERS.items()}


def _statistics() -> Select:
    """One row with the JSON of lib.schemas.TaskStatistics.

    The numbers are counted in the index tasks_by_completed, without reading a task. Only the tags
    of open tasks are read from the table.
    """
    mine, is_open = TASKS.c.user_id == owner, not_(TASKS.c.completed)
    day = case(
        (TASKS.c.due_is_date, cast(literal_column("'1 day'"), Interval)),
        else_=cast(literal_column("'0'"), Interval),
    )
    overdue = and_(is_open, TASKS.c.due_at <= func.now() - day)
    by_priority = [
        (literal_column(f"'{name}'"), _count(and_(is_open, TASKS.c.priority == rank)))
        for name, rank in _RANKS.items()
    ]
    numbers = (
        select(  # ty: ignore[no-matching-overload]
            func.count().label("total"),
            _count(is_open).label("pending"),
            _count(TASKS.c.completed).label("completed"),
            _count(overdue).label("overdue"),
            func.json_build_object(*chain.from_iterable(by_priority)).label("by_priority"),
        )
        .where(mine)
        .subquery("numbers")
    )
    unnested = func.unnest(TASKS.c.tags).table_valued("tag", name="unnested").render_derived()
    tag = unnested.c.tag
    tags = (
        select(tag, func.count().label("number"))
        .select_from(Task, unnested)
        .where(mine, is_open)
        .group_by(tag)
        .order_by(func.count().desc(), collate(tag, "C"))
        .limit(literal_column("100"))
        .subquery("tags")
    )
    objects = func.json_object_agg(tags.c.tag, tags.c.number)
    by_tag = select(func.coalesce(objects, literal_column("'{}'::json"))).scalar_subquery()
    statistics = select(*numbers.c, by_tag.label("by_tag")).subquery("statistics")
    return select(cast(func.row_to_json(statistics.table_valued()), Text)).select_from(statistics)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition)


_RANKS = {
    name: literal_column(str(rank), Integer)
    for rank, name in reversed(list(enumerate(("none", *schemas.PRIORITIES))))
}

STATISTICS = _statistics()
GET = _returning_json(select(Task).where(owned).cte("task"))
GET_DELETED = _returning_json(DELETED_TASKS).where(owned_in_trash)

# Sent in the same round trip after a conditional change, to distinguish a changed task from a
# missing one.
EXISTS = select(exists().where(owned))
EXISTS_DELETED = select(exists().where(owned_in_trash))
EXISTS_ERASABLE = select(exists().where(is_erasable))


def _changed_since() -> Select:
    """A page of what has changed since a snapshot, in the order of the transactions, then of ids.

    A row for each task, without a document if it was deleted, or a single row without an id. Each
    also has the current snapshot, the history of the database, and the transactions that last
    changed a task of the user and last erased the user. A null snapshot means that nothing is
    known: then deleted tasks are left out.

        SELECT page.document, page.id, page.changed_in::text,
               head.snapshot, head.history, head.last_change, head.erased_in
        FROM (SELECT pg_current_snapshot()::text AS snapshot,
                     (SELECT id::text FROM database_history) AS history, ...) AS head
        LEFT JOIN (
            (SELECT ... FROM tasks WHERE user_id = :owner
             AND (changed_in, id) > (:after_change, :after_id) AND <not visible in the snapshot>
             ORDER BY changed_in, id LIMIT :limit + 1)
            UNION ALL
            (<the same of deleted_tasks>)
            ORDER BY changed_in, id LIMIT :limit + 1
        ) AS page ON true
    """
    live = _unseen(TASKS, *_columns_of_document(TASKS)).limit(limit).subquery("live")
    document = _document(live)
    deleted = _unseen(DELETED_TASKS, DELETED_TASKS.c.id).where(since.is_not(None))
    deleted = deleted.limit(limit).subquery("deleted")
    both = union_all(
        select(live.c.changed_in, live.c.id, _json(document).label("document")).select_from(
            live, document
        ),
        select(deleted.c.changed_in, deleted.c.id, literal_column("NULL::text")),
    ).subquery("both")
    page = select(*both.c).order_by(both.c.changed_in, both.c.id).limit(limit).subquery("page")
    history = select(cast(DATABASE_HISTORY.c.id, Text)).scalar_subquery()
    snapshot = cast(func.pg_current_snapshot(), Text)
    user_hash = func.sha256(func.convert_to(owner, literal_column("'UTF8'")))
    erased_in = _last_transaction(ERASED_USERS, ERASED_USERS.c.user_hash == user_hash)
    last_change = func.greatest(
        *(_last_transaction(each, each.c.user_id == owner) for each in (TASKS, DELETED_TASKS))
    )
    head = select(
        snapshot.label("snapshot"),
        history.label("history"),
        _or_none_yet(last_change).label("last_change"),
        _or_none_yet(erased_in).label("erased_in"),
    ).subquery("head")
    return select(page.c.document, page.c.id, cast(page.c.changed_in, Text), *head.c).select_from(
        head.outerjoin(page, literal_column("true"))
    )


def _or_none_yet(transaction: ColumnElement) -> ColumnElement:
    """The transaction id as text, or 0, which is before every transaction."""
    return func.coalesce(cast(transaction, Text), literal_column("'0'"))


def _last_transaction(source: Table, of_user: ColumnElement[bool]) -> ColumnElement:
    transaction, one = source.c.changed_in, literal_column("1")
    last = select(transaction).where(of_user).order_by(transaction.desc()).limit(one)
    return last.scalar_subquery()


since = bindparam("since", type_=Text)


def _unseen(source: Table, *columns: ColumnElement) -> Select:
    """The rows whose last change is not visible in the snapshot `since`, after the position."""
    position = tuple_(bindparam("after_change", type_=TransactionId()), after_id)
    # A subquery is computed once, not for each row.
    snapshot = select(cast(since, Snapshot())).scalar_subquery()
    return (
        select(*columns, source.c.changed_in)
        .where(
            source.c.user_id == owner,
            tuple_(source.c.changed_in, source.c.id) > position,
            or_(
                since.is_(None),
                not_(func.pg_visible_in_snapshot(source.c.changed_in, snapshot, type_=Boolean)),
            ),
        )
        .order_by(source.c.changed_in, source.c.id)
    )


CHANGES = _changed_since()


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
    return {
        **new,
        "updated_at": case((same, old.c.updated_at), else_=_later(old)),
        "version": old.c.version + case((same, ZERO), else_=ONE),
    }


def _later(old: FromClause) -> ColumnElement:
    """`updated_at` increases with every change, even if the clock stops or is set back."""
    slightly_later = old.c.updated_at + cast(literal_column("'1 microsecond'"), Interval)
    return func.greatest(func.clock_timestamp(), slightly_later)


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
    """Stores the key with the response, the document of `new`.

    Returns no row if the key is taken.

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
    """The same statement, which also removes a few expired keys of the user, in no order.

    With an order, PostgreSQL would search the expired keys of all users for those of this one. It
    joins `record`, so that it runs after the key is stored, and skips what others have locked:
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


def _new_values() -> dict[str, ColumnElement]:
    values: dict[str, ColumnElement] = {"user_id": owner}
    for field in schemas.TaskCreate.model_fields:
        values |= _column_values(field)
    return values


def _create() -> Select:
    return _returning_json(insert(Task).values(_new_values()).returning(Task).cte("task"))


def _create_once() -> Insert:
    # The record holds the response, which contains the id. So the sequence is read first.
    sequence = func.pg_get_serial_sequence(literal_column("'tasks'"), literal_column("'id'"))
    values = {
        "id": func.nextval(sequence, type_=BigInteger),
        **_new_values(),
        "completed_at": case((completed, func.now())),
        "created_at": func.now(),
        "updated_at": func.now(),
        "version": cast(ONE, BigInteger),
    }
    new = select(*(value.label(name) for name, value in values.items())).cte("new")
    record = _record(new)
    values_of_new = select(*new.c).select_from(new, record)
    create = insert(Task).from_select(list(values), values_of_new)
    return _sweeping(create, record)


def _update(old: FromClause) -> dict[str, ColumnElement]:
    """The values of the fields that `given` names; the others stay."""
    return _changes(
        old,
        **{
            name: case((literal_column(f"'{field}'") == any_(given), value), else_=old.c[name])
            for field in schemas.TaskUpdate.model_fields
            for name, value in _column_values(field).items()
        },
    )


def _complete(old: FromClause) -> dict[str, ColumnElement]:
    """The given completion, or the opposite of the stored one. Atomic: the row is locked."""
    return _changes(old, completed=func.coalesce(completed, not_(old.c.completed)))


def _changing(change: Callable[[FromClause], dict[str, ColumnElement]]) -> Select:
    changed = update(Task).where(owned, precondition).values(change(TASKS)).returning(Task)
    return _returning_json(changed.cte("task"))


def _changing_once(change: Callable[[FromClause], dict[str, ColumnElement]]) -> Update:
    locked = select(Task).where(owned, precondition).with_for_update().cte("locked")
    values = change(locked)
    changed = select(*(values.get(each.name, each).label(each.name) for each in locked.c))
    changed = changed.cte("changed")
    # As the trigger before_write sets it: the record holds the response.
    completed_at = case(
        (changed.c.completed, func.coalesce(changed.c.completed_at, changed.c.updated_at))
    )
    others = (each for each in changed.c if each.name != "completed_at")
    new = select(*others, completed_at.label("completed_at")).cte("new")
    record = _record(new)
    statement = (
        update(Task)
        .where(col(Task.id) == new.c.id, col(Task.user_id) == owner, record.c.key == key)
        .values({name: new.c[name] for name in values})
    )
    return _sweeping(statement, record)


# --- The trash ----------------------------------------------------------------------------------
#
# The trigger after_delete moves a deleted task to the trash.

# The columns that the database does not fill itself.
_STORED = [each.name for each in TASKS.c if each.computed is None and each.name != "changed_in"]


def _restore() -> Select:
    """Moves a task back. Of two at once, the second waits here and then finds no row."""
    deleted = delete(DELETED_TASKS).where(owned_in_trash, _meets_precondition(DELETED_TASKS))
    deleted = deleted.returning(DELETED_TASKS).cte("deleted")
    task = insert(Task).from_select(_STORED, select(*_restored(deleted)).select_from(deleted))
    return _returning_json(task.returning(Task).cte("task"))


def _restored(deleted: CTE) -> list[ColumnElement]:
    new = {"updated_at": _later(deleted), "version": deleted.c.version + ONE}
    return [new.get(name, deleted.c[name]).label(name) for name in _STORED]


def _restore_once() -> Insert:
    """The same with the record of a key. A task outside the trash is recorded as it is.

    Otherwise a repeated request could restore a task that was deleted after the first one.
    """
    deleted = select(*DELETED_TASKS.c).where(owned_in_trash, _meets_precondition(DELETED_TASKS))
    deleted = deleted.with_for_update().cte("deleted")
    live = select(Task).where(owned, precondition).with_for_update().cte("live")
    new = union_all(
        select(*_restored(deleted)).select_from(deleted),
        select(*(live.c[name] for name in _STORED)).select_from(live),
    ).cte("new")
    record = _record(new)
    removed = (
        delete(DELETED_TASKS)
        .where(
            DELETED_TASKS.c.id == new.c.id, DELETED_TASKS.c.user_id == owner, record.c.key == key
        )
        .returning(DELETED_TASKS.c.id)
        .cte("removed")
    )
    task = select(*(new.c[name] for name in _STORED)).join(removed, removed.c.id == new.c.id)
    return _sweeping(insert(Task).from_select(_STORED, task), record)


def _erase() -> Select:
    """Erases the text of a task in the trash and in the records of idempotency keys.

    A task that this transaction has moved to the trash met the precondition before that.
    """
    names = {*_STORED, "title_key", "due_at_desc"} - {
        *("id", "user_id", "created_at", "updated_at", "version")
    }
    transaction: ColumnElement = func.pg_current_xact_id(type_=TransactionId())
    erased = (
        update(DELETED_TASKS)
        .where(
            is_erasable,
            or_(DELETED_TASKS.c.changed_in == transaction, _meets_precondition(DELETED_TASKS)),
        )
        .values(
            {
                **{each.name: _empty(each) for each in TASKS.c if each.name in names},
                "updated_at": _later(DELETED_TASKS),
                "version": DELETED_TASKS.c.version + ONE,
                "changed_in": transaction,
                "purged_at": func.now(),
            }
        )
        .returning(DELETED_TASKS.c.id)
        .cte("erased")
    )
    records = (
        update(IdempotencyKey)
        .where(col(IdempotencyKey.user_id) == owner, col(IdempotencyKey.task_id) == erased.c.id)
        .values(task=literal_column("''"))
    )
    return select(erased.c.id).add_cte(records.cte("records"))


def _empty(column: Column) -> ColumnElement:
    """The value that says nothing: the default, null or an empty text."""
    if isinstance(column.server_default, DefaultClause):
        return literal_column(str(column.server_default.arg))
    return literal_column("NULL" if column.nullable else "''")


CREATE = _create()
CREATE_WITH_USER = _provisioning_user(_create())
USERS_ARE_SHARED = select(shares_users)
UPDATE = _changing(_update)
COMPLETE = _changing(_complete)
DELETE = delete(Task).where(owned, precondition).returning(col(Task.id))
RESTORE = _restore()
# A permanent deletion is these three in one transaction: LOCK_DELETED, DELETE, ERASE. The first
# waits until a restoration under way has ended, so that DELETE finds its task.
LOCK_DELETED = select(DELETED_TASKS.c.id).where(is_erasable).with_for_update()
ERASE = _erase()

# With an Idempotency-Key the effect and its record are one statement. RECORD reads the response
# after it, in the same round trip: the first response, also to a repeated request.
CREATE_ONCE = _create_once()
CREATE_ONCE_WITH_USER = _provisioning_user(_create_once())
UPDATE_ONCE = _changing_once(_update)
COMPLETE_ONCE = _changing_once(_complete)
RESTORE_ONCE = _restore_once()
RECORD = select(
    col(IdempotencyKey.request_hash), col(IdempotencyKey.task), col(IdempotencyKey.task_id)
).where(col(IdempotencyKey.user_id) == owner, col(IdempotencyKey.key) == key, not_(expired))


# --- Readiness ----------------------------------------------------------------------------------

OWNED = owned_tables()
# lib/db/readiness.py runs the statements of these tables. That proves more than the catalogs: for
# example, privileges on each column are enough. Of other tables, whatever is missing is a fault.
TRIED = {TASKS, DELETED_TASKS, SQLModel.metadata.tables["idempotency_keys"]}


def _values(*rows: tuple[str, ...]) -> str:
    return "VALUES " + ", ".join(f"({', '.join(f"'{value}'" for value in row)})" for row in rows)


def _type(column: Column) -> str:
    return column.type.compile(postgresql.dialect()).partition(" COLLATE ")[0].lower()


def _types(tables: Iterable[Table]) -> list[tuple[str, ...]]:
    """The table, the name and the type of each column, as PostgreSQL's format_type writes it."""
    return [(each.name, column.name, _type(column)) for each in tables for column in each.columns]


def _names(tables: Iterable[Table]) -> str:
    return _values(*((each.name,) for each in tables))


def _missing(tables: list[Table]) -> str:
    """The tables, columns, privileges and sequences that requests need and the database lacks."""
    identities = [
        (each.name, column.name) for each in tables for column in each.columns if column.identity
    ]
    of_sequences = f"""
    UNION ALL
    SELECT format('USAGE on the sequence of %s.%s', relation, name)
    FROM ({_values(*identities)}) AS needed (relation, name)
      JOIN pg_attribute ON attrelid = to_regclass(relation) AND attname = name
    WHERE has_sequence_privilege(
        pg_get_serial_sequence(attrelid::regclass::text, attname), 'USAGE'
      ) IS NOT TRUE"""  # noqa: S608 - the names are those of our own tables
    return f"""
    SELECT 'table ' || name
    FROM ({_names(tables)}) AS needed (name)
    WHERE to_regclass(name) IS NULL
    UNION ALL
    SELECT format('column %s.%s of type %s', relation, name, type)
    FROM ({_values(*_types(tables))}) AS needed (relation, name, type)
    WHERE to_regclass(relation) IS NOT NULL AND NOT EXISTS (
      SELECT FROM pg_attribute
      WHERE attrelid = to_regclass(relation) AND attname = name AND NOT attisdropped
        AND format_type(atttypid, atttypmod) = type
    )
    UNION ALL
    SELECT privilege || ' on ' || name
    FROM ({_names(tables)}) AS owned (name),
      (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS needed (privilege)
    WHERE NOT has_table_privilege(to_regclass(name), privilege){of_sequences if identities else ""}
    UNION ALL
    SELECT format('a default for %s.%s', relation, attname)
    FROM ({_names(tables)}) AS owned (relation)
      JOIN pg_attribute ON attrelid = to_regclass(relation)
    WHERE attnum > 0 AND attnotnull AND NOT atthasdef AND attidentity = '' AND NOT attisdropped
      AND (relation, attname) NOT IN (
        {_values(*(column[:2] for column in _types(tables)))}
      )"""  # noqa: S608


def _ready(owned: list[Table]) -> Select:
    """One row about the database and this role, read from the catalogs of PostgreSQL.

    It has five columns:

    1. whether row-level security applies to this role on every owned table
    2. whether Better Auth shares the table of users
    3. what is missing that no statement of lib/db/readiness.py would show: row-level security,
       policies, triggers, tables that are only read, and everything about tables it does not try
    4. what else requests need and the database lacks: it explains why a statement failed, and is no
       error where all succeed
    5. the same for provisioning users
    """
    tried = [each for each in owned if each in TRIED]
    untried = [each for each in owned if each not in TRIED]
    read_only = _names(read_only_tables())
    names = ", ".join(f"to_regclass('{table.name}')" for table in owned)
    return select(  # ty: ignore[no-matching-overload]
        literal_column(
            f"(SELECT bool_and(row_security_active(oid)) FROM pg_class WHERE oid IN ({names}))"  # noqa: S608
        ),
        shares_users,
        literal_column(f"""ARRAY(
    SELECT 'row-level security on ' || name
    FROM ({_names(owned)}) AS owned (name) JOIN pg_class ON oid = to_regclass(name)
    WHERE NOT relrowsecurity
    UNION ALL
    SELECT 'policy own_rows on ' || name
    FROM ({_names(owned)}) AS owned (name)
    WHERE row_security_active(to_regclass(name)) AND NOT EXISTS (
      SELECT FROM pg_policies
      WHERE tablename = name AND policyname = 'own_rows' AND cmd = 'ALL'
        AND schemaname = ANY (current_schemas(false))
        AND qual LIKE '%app.user_id%' AND with_check LIKE '%app.user_id%'
    )
    UNION ALL
    SELECT format('trigger %s on %s', name, relation)
    FROM (VALUES ('before_write', 'tasks'), ('after_delete', 'tasks'),
      ('users_after_delete', 'users')) AS needed (name, relation)
    WHERE NOT EXISTS (
      SELECT FROM pg_trigger
      WHERE tgrelid = to_regclass(relation) AND tgname = name AND tgenabled IN ('O', 'A')
    )
    UNION ALL
    SELECT 'table ' || name
    FROM ({read_only}) AS needed (name)
    WHERE to_regclass(name) IS NULL
    UNION ALL
    SELECT 'SELECT on ' || name
    FROM ({read_only}) AS needed (name)
    WHERE NOT has_any_column_privilege(to_regclass(name), 'SELECT')
    {f"UNION ALL{_missing(untried)}" if untried else ""}
  )"""),  # noqa: S608
        literal_column(f"""ARRAY(
    SELECT 'USAGE on a schema of search_path' WHERE current_schema() IS NULL
    UNION ALL
    SELECT 'table users' WHERE to_regclass('users') IS NULL
    UNION ALL{_missing(tried)}
    UNION ALL
    SELECT 'EXECUTE on ' || name
    FROM (VALUES ('remove_expired'), ('remove_erased_users')) AS needed (name)
    WHERE has_function_privilege(to_regprocedure(name || '(integer)'), 'EXECUTE') IS NOT TRUE
    ORDER BY 1
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


READY = _ready(OWNED)
