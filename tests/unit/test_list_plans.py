"""How many rows a statement reads, for a user with 100,000 tasks, at best and at worst.

The tasks of other users have other values, so that PostgreSQL's statistics mislead it. Row-level
security applies. `pytest tests/unit/test_list_plans.py -s` prints the table of docs/database.md.
"""

from collections.abc import Callable, Iterator
from typing import Any, LiteralString

import psycopg
import pytest

from lib.db import compiled
from tests.support.databases import Cluster, Database
from tests.support.plans import NO_FILTER, explain, explain_prepared, nodes

MANY, OTHERS, LIMIT = 100_000, 50_000, 10
RARE = 1000  # MAX_RARE in lib/db/queries.py
ORDERS = list(compiled.LIST_FIRST_PAGE)
FIRST = {"limit": LIMIT, "offset": 0, "after": None, "after_id": None}
# Of the user's tasks one, the oldest, is completed, urgent, due and tagged.
RARE_FILTERS: dict[str, dict[str, Any]] = {
    "status": {"completed": True},
    "priority": {"priority": [4]},
    "two priorities": {"priority": [4, 3]},
    "due": {"due_from": "2026-12-24T00:00:00Z", "due_to": "2026-12-24T23:59:59.999999Z"},
    "due and status": {"due_to": "2026-12-24T23:59:59.999999Z", "completed": True},
    "status and priority": {"completed": False, "priority": [4]},
    "status and tag": {"completed": True, "tag": ["rare"]},
}
COMMON_FILTERS: dict[str, dict[str, Any]] = {
    "status": {"completed": False},
    "priority": {"priority": [0]},
    "due": {"due_from": "2027-01-01T00:00:00Z"},
    "tag": {"tag": ["common"]},
    "q": {"q": "task"},
}


@pytest.fixture(scope="module")
def grown(cluster: Cluster) -> Iterator[Database]:
    """A user with many tasks, half of them undated, one with ten, and 500 others with 100 each."""
    with cluster.clone() as database:
        database.query(
            """INSERT INTO users (id, name, email) SELECT u, u, u || '@x' FROM (
                SELECT unnest('{many,few}'::text[]) UNION SELECT 'u' || generate_series(0, 499)
            ) AS users (u)"""
        )
        with psycopg.connect(database.admin_url) as connection:
            # Without the foreign key check and the triggers of each task.
            connection.execute("SET session_replication_role = replica")
            connection.execute(
                """INSERT INTO tasks
                    (user_id, title, created_at, updated_at, priority, due_at, tags)
                SELECT u, 'Task ' || n * 7919 %% 100003, now() - n * interval '1 s',
                    now() - n * interval '1 s', 0,
                    CASE WHEN n %% 2 = 0 THEN '2027-01-01'::timestamptz + n * interval '1 h'
                        ELSE 'infinity' END,
                    CASE WHEN n %% 2 = 0 THEN '{common}'::text[] ELSE '{}' END
                FROM (VALUES ('many', %s::int), ('few', 10)) AS amount (u, total),
                    generate_series(1, total) AS n""",
                (MANY,),
            )
            connection.execute(
                """UPDATE tasks SET completed = true, priority = 4, due_at = '2026-12-24',
                    due_is_date = true, tags = '{rare}'
                WHERE title = (SELECT 'Task ' || %s * 7919 %% 100003)""",
                (MANY,),
            )
            connection.execute(
                """INSERT INTO tasks
                    (user_id, title, created_at, updated_at, completed, priority, due_at, tags)
                SELECT 'u' || n %% 500, 'Task ' || n, now() - n * interval '1 s',
                    now() - n * interval '1 s', n %% 3 = 0, n %% 5,
                    CASE WHEN n %% 2 = 0 THEN '2026-12-24'::timestamptz ELSE 'infinity' END,
                    CASE WHEN n %% 3 = 0 THEN '{rare}'::text[] ELSE '{}' END
                FROM generate_series(1, %s) AS n""",
                (OTHERS,),
            )
        # Keys of the user and of others, half of them expired, tasks in the trash, erased users.
        with psycopg.connect(database.admin_url) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(
                """INSERT INTO idempotency_keys
                    (user_id, key, request_hash, task, task_id, version, created_at)
                SELECT CASE WHEN n % 2 = 0 THEN 'many' ELSE 'u' || n % 500 END, 'k' || n, 'x', '{}',
                    n, 1, now() - n % 4 * interval '13 hours'
                FROM generate_series(1, 40000) AS n"""
            )
            connection.execute(
                """INSERT INTO deleted_tasks
                SELECT (jsonb_populate_record(NULL::deleted_tasks,
                    to_jsonb(tasks) || jsonb_build_object('deleted_at', now()))).*
                FROM tasks WHERE id % 4 = 0"""
            )
            connection.execute(
                """INSERT INTO erased_users (user_hash)
                SELECT sha256(n::text::bytea) FROM generate_series(1, 10000) AS n"""
            )
        database.query("VACUUM ANALYZE")
        yield database


def blocks_read(plan: dict[str, Any]) -> int:
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def rows_read(plan: dict[str, Any], *relations: str) -> int:
    """The rows and index entries of `tasks`, or of other tables, that a plan has looked at."""
    removed = "Rows Removed by Filter", "Rows Removed by Index Recheck"
    return sum(
        round((node["Actual Rows"] + sum(node.get(name, 0) for name in removed)) * loops)
        for node in scans(plan)
        if (loops := node["Actual Loops"]) and node["Relation Name"] in (relations or {"tasks"})
    )


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for node in nodes(plan):
        if "Relation Name" in node and node["Node Type"] != "ModifyTable":
            yield node


def positions(database: Database, order: str) -> list[dict[str, Any]]:
    """The first page, and the position of a task every tenth of the list, and near its end."""
    statement = compiled.LIST_FIRST_PAGE[order].replace(
        "LIMIT %(limit)s::INTEGER + 1", f"LIMIT {MANY}"
    )
    with psycopg.connect(database.app_url) as connection:
        connection.execute("SELECT set_config('app.user_id', 'many', true)")
        rows = connection.execute(statement.encode(), {"owner": "many"}).fetchall()
    assert len(rows) == MANY
    deep = [*rows[:: MANY // 5][1:], rows[-LIMIT - 2]]
    return [{"after": key, "after_id": id_} for _, key, id_ in deep]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("explained", [explain, explain_prepared])
def test_an_unfiltered_page_reads_its_own_rows_at_any_depth(
    grown: Database, order: str, explained: Callable[..., dict[str, Any]]
) -> None:
    first, following = compiled.LIST_FIRST_PAGE[order], compiled.LIST_NEXT_PAGE[order]
    few = explained(grown, first, "few", **FIRST | {"limit": 5})
    assert rows_read(few) == 6
    plans = [
        explained(grown, first, "many", **FIRST),
        *(explained(grown, following, "many", **FIRST | each) for each in positions(grown, order)),
    ]
    for plan in plans:
        assert rows_read(plan) == LIMIT + 1
        assert not any("Sort" in node["Node Type"] for node in nodes(plan))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", RARE_FILTERS)
def test_a_rare_filter_is_read_from_an_index_in_every_order(
    grown: Database, order: str, name: str
) -> None:
    values = FIRST | NO_FILTER | RARE_FILTERS[name]
    plan = explain(grown, compiled.FILTERED_PAGE[order], "many", **values)
    assert rows_read(plan) <= 4


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", COMMON_FILTERS)
def test_a_common_filter_is_read_in_the_order_of_the_list(
    grown: Database, order: str, name: str
) -> None:
    values = FIRST | NO_FILTER | COMMON_FILTERS[name]
    plan = explain(grown, compiled.FILTERED_PAGE[order], "many", **values)
    assert rows_read(plan) <= RARE + 1 + 4 * (LIMIT + 1)


@pytest.mark.parametrize("order", ORDERS)
def test_an_offset_reads_no_more_than_it_skips(grown: Database, order: str) -> None:
    values = FIRST | NO_FILTER | {"offset": 10_000}
    plan = explain(grown, compiled.FILTERED_PAGE[order], "many", **values)
    assert rows_read(plan) <= RARE + 1 + 10_000 + LIMIT + 1


def test_statistics_read_the_tasks_of_the_user_once_and_the_tags_of_open_ones(
    grown: Database,
) -> None:
    [(open_tasks,)] = grown.query(
        "SELECT count(*) FROM tasks WHERE user_id = 'u1' AND NOT completed"
    )
    plan = explain(grown, compiled.STATISTICS, "u1")
    scans = [node for node in nodes(plan) if node.get("Relation Name") == "tasks"]
    assert all("Index" in scan["Node Type"] for scan in scans)
    assert sorted(scan["Actual Rows"] for scan in scans) == [open_tasks, 100]


@pytest.fixture(scope="module")
def followed(cluster: Cluster) -> Iterator[Database]:
    """Users with 1,000 and 100,000 changes, every second a deletion, and 50 others with 100 each.

    Each change has a transaction of its own, in turn: from 1,001 on.
    """
    with cluster.clone() as database:
        with psycopg.connect(database.admin_url) as connection:
            # Without the foreign key check and the triggers of each task.
            connection.execute("SET session_replication_role = replica")
            connection.execute(
                """CREATE TEMPORARY TABLE made AS
                SELECT u, n, (1000 + n)::text::xid8 AS changed_in FROM (
                    VALUES ('few', 1000), ('many', 100000)
                    UNION ALL SELECT 'u' || number, 100 FROM generate_series(1, 50) AS number
                ) AS amount (u, total), generate_series(1, total) AS n"""
            )
            connection.execute(
                """INSERT INTO tasks (user_id, title, changed_in)
                SELECT u, 'Task', changed_in FROM made WHERE n % 2 = 1"""
            )
            connection.execute(
                """INSERT INTO deleted_tasks (id, user_id, title, title_key, changed_in,
                    created_at, updated_at, deleted_at, version, completed, priority, due_at,
                    due_at_desc, due_is_date, tags)
                SELECT 1000000 + row_number() OVER (), u, 'Task', 'task', changed_in,
                    now(), now(), now(), 2, false, 0, 'infinity', '-infinity', false, '{}'
                FROM made WHERE n % 2 = 0"""
            )
        database.query("VACUUM ANALYZE tasks")
        database.query("VACUUM ANALYZE deleted_tasks")
        yield database


@pytest.mark.parametrize("user", ["few", "many"])
@pytest.mark.parametrize("explained", [explain, explain_prepared])
def test_a_page_of_changes_reads_its_own_rows_at_any_depth(
    followed: Database, user: str, explained: Callable[..., dict[str, Any]]
) -> None:
    tables = {"tasks", "deleted_tasks"}
    total = 1000 if user == "few" else MANY
    for depth in (0, total // 2, total - 200):
        position = {"after_change": str(1000 + depth), "after_id": 0, "limit": 100}
        for since in (None, f"{1000 + depth}:{1000 + depth}:"):
            plan = explained(followed, compiled.CHANGES, user, since=since, **position)
            scans = [node for node in nodes(plan) if node.get("Relation Name") in tables]
            indexes = {scan.get("Index Name") for scan in scans}
            assert indexes == {f"{table}_by_changed_in" for table in tables}
            # And the last change in each table.
            assert rows_read(plan, *tables) <= 2 * (101 + 1)
            assert blocks_read(plan) < 250


def test_an_empty_page_of_changes_reads_only_the_last_change(followed: Database) -> None:
    last = "300000:300000:"
    position = {"after_change": "300000", "after_id": 0, "limit": 500, "since": last}
    plan = explain_prepared(followed, compiled.CHANGES, "many", **position)
    assert rows_read(plan, "tasks", "deleted_tasks") == 2
    assert blocks_read(plan) < 20


def test_a_page_of_changes_is_not_sorted_by_table(followed: Database) -> None:
    position = {"after_change": "0", "after_id": 0, "limit": 100, "since": "1:1:"}
    plan = explain_prepared(followed, compiled.CHANGES, "many", **position)
    # Only the rows of both limited scans are merged or sorted.
    assert all(node["Actual Rows"] <= 202 for node in nodes(plan) if "Sort" in node["Node Type"])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("statements", [compiled.TRASH_PAGE, compiled.TRASH_WHOLE])
def test_a_list_of_the_trash_reads_the_trash_of_the_user_alone(
    followed: Database, order: str, statements: dict[str, LiteralString]
) -> None:
    values = FIRST | NO_FILTER | {"max_bytes": 10**9}
    plan = explain(followed, statements[order], "few", **values)
    assert rows_read(plan, "tasks") == 0
    assert 500 <= rows_read(plan, "deleted_tasks") <= 1000 + LIMIT


@pytest.mark.parametrize("filters", [{"tag": ["nowhere"]}, {"q": "nowhere"}])
def test_a_tag_or_text_that_no_task_has_reads_each_task_of_the_user_once(
    grown: Database, filters: dict[str, Any]
) -> None:
    values = FIRST | NO_FILTER | filters
    plan = explain(grown, compiled.FILTERED_PAGE["title asc"], "many", **values)
    assert MANY <= rows_read(plan) <= MANY + RARE + 1


# --- Prepared statements --------------------------------------------------------------------------

# lib/db/tasks.py does not prepare these: no plan suits every combination of filters.
NOT_PREPARED = {"FILTERED_WHOLE", "FILTERED_PAGE", "COUNTED_PAGE", "TRASH_WHOLE", "TRASH_PAGE"}
# They read no row of a user.
OF_NO_USER = {"READY", "USERS_ARE_SHARED"}
PREPARED: dict[str, Any] = {
    f"{name} {order}".strip(): statement
    for name, texts in vars(compiled).items()
    if name.isupper() and name not in NOT_PREPARED | OF_NO_USER
    for order, statement in (texts.items() if isinstance(texts, dict) else [("", texts)])
}
# The most rows that a statement reads of a table. Of one task, where nothing is said.
MAX_READ = {
    "LIST_WHOLE": {"tasks": 2 * 10},
    "LIST_FIRST_PAGE": {"tasks": LIMIT},
    "LIST_NEXT_PAGE": {"tasks": LIMIT},
    "STATISTICS": {"tasks": 2 * 10},
    "CHANGES": {"tasks": LIMIT + 2, "deleted_tasks": LIMIT + 2},
}
# The sweep reads 20 expired keys and deletes them.
MAX_KEYS = 1 + 2 * 20


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        (name, condition)
        for name, statement in PREPARED.items()
        for condition in ([None, ["x"]] if "%(etags)s" in statement else [None])
    ],
)
def test_the_plan_of_a_prepared_statement_finds_its_rows_by_an_index(
    grown: Database, name: str, condition: list[str] | None
) -> None:
    """The plan is for all users and values, and must suit users with few and with many rows."""
    user = "few" if name.startswith(("LIST", "STATISTICS")) else "many"
    [(task_id, created)] = grown.query(
        "SELECT id, created_at::text FROM tasks WHERE user_id = %s ORDER BY id LIMIT 1", user
    )
    after: dict[str, Any] = {"title": "", "priority": "-1", "due_date": "1000-01-01"}
    values = FIRST | {
        "after": after.get(name.split()[-2] if " " in name else "", created),
        "after_id": 0,
        "max_bytes": 10**9,
        "task_id": task_id,
        "completed": None if name.startswith("COMPLETE") else False,
        "title": "Changed",
        "description": None,
        "priority": "high",
        "due_date": "2026-12-24",
        "tags": ["x"],
        "given": ["title", "priority", "due_date", "tags"],
        "etags": condition,
        "must_match": condition is None,
        "key": "new",
        "request_hash": "x",
        "since": None,
        "after_change": "0",
        "user_name": "Many",
        "user_email": "many@example.com",
        "user_email_verified": True,
    }
    plan = explain_prepared(grown, PREPARED[name], user, **values)
    for scan in scans(plan):
        if scan["Schema"] == "public" and scan["Relation Name"] != "database_history":
            assert "Index" in scan["Node Type"] or scan["Node Type"] == "Bitmap Heap Scan", scan
    limits = MAX_READ.get(name.partition(" ")[0], {"tasks": 2, "idempotency_keys": MAX_KEYS})
    for relation in ("tasks", "deleted_tasks", "idempotency_keys", "users", "erased_users"):
        assert rows_read(plan, relation) <= limits.get(relation, 1), relation
