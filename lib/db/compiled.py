"""The SQL that runs: compiled from statements.py by `make sql`, not edited."""

from typing import LiteralString

LIST_WHOLE: dict[str, LiteralString] = {
    "created_at asc": """
SELECT coalesce(string_agg(CAST(row_to_json(answer) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) ORDER BY tasks.created_at, tasks.id) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
    "created_at desc": """
SELECT coalesce(string_agg(CAST(row_to_json(answer) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) ORDER BY tasks.created_at DESC, tasks.id DESC) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
    "updated_at asc": """
SELECT coalesce(string_agg(CAST(row_to_json(answer) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) ORDER BY tasks.updated_at, tasks.id) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
    "updated_at desc": """
SELECT coalesce(string_agg(CAST(row_to_json(answer) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) ORDER BY tasks.updated_at DESC, tasks.id DESC) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
    "title asc": """
SELECT coalesce(string_agg(CAST(row_to_json(answer) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) ORDER BY tasks.title, tasks.id) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
    "title desc": """
SELECT coalesce(string_agg(CAST(row_to_json(answer) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) ORDER BY tasks.title DESC, tasks.id DESC) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
}

LIST_PAGE: dict[str, LiteralString] = {
    "created_at asc": """
SELECT array_agg(CAST(row_to_json(answer) AS TEXT)) AS array_agg_1, (array_agg(CAST(answer.created_at AS TEXT)))[%(limit)s::INTEGER] AS anon_1, (array_agg(answer.id))[%(limit)s::INTEGER] AS anon_2, CASE WHEN CAST(%(count)s AS BOOLEAN) THEN (SELECT count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR)) END AS anon_3
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) AND (%(after)s::TIMESTAMP WITH TIME ZONE IS NULL OR (tasks.created_at, tasks.id) > (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY tasks.created_at, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
    "created_at desc": """
SELECT array_agg(CAST(row_to_json(answer) AS TEXT)) AS array_agg_1, (array_agg(CAST(answer.created_at AS TEXT)))[%(limit)s::INTEGER] AS anon_1, (array_agg(answer.id))[%(limit)s::INTEGER] AS anon_2, CASE WHEN CAST(%(count)s AS BOOLEAN) THEN (SELECT count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR)) END AS anon_3
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) AND (%(after)s::TIMESTAMP WITH TIME ZONE IS NULL OR (tasks.created_at, tasks.id) < (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY tasks.created_at DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
    "updated_at asc": """
SELECT array_agg(CAST(row_to_json(answer) AS TEXT)) AS array_agg_1, (array_agg(CAST(answer.updated_at AS TEXT)))[%(limit)s::INTEGER] AS anon_1, (array_agg(answer.id))[%(limit)s::INTEGER] AS anon_2, CASE WHEN CAST(%(count)s AS BOOLEAN) THEN (SELECT count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR)) END AS anon_3
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) AND (%(after)s::TIMESTAMP WITH TIME ZONE IS NULL OR (tasks.updated_at, tasks.id) > (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY tasks.updated_at, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
    "updated_at desc": """
SELECT array_agg(CAST(row_to_json(answer) AS TEXT)) AS array_agg_1, (array_agg(CAST(answer.updated_at AS TEXT)))[%(limit)s::INTEGER] AS anon_1, (array_agg(answer.id))[%(limit)s::INTEGER] AS anon_2, CASE WHEN CAST(%(count)s AS BOOLEAN) THEN (SELECT count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR)) END AS anon_3
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) AND (%(after)s::TIMESTAMP WITH TIME ZONE IS NULL OR (tasks.updated_at, tasks.id) < (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY tasks.updated_at DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
    "title asc": """
SELECT array_agg(CAST(row_to_json(answer) AS TEXT)) AS array_agg_1, (array_agg(CAST(answer.title AS TEXT)))[%(limit)s::INTEGER] AS anon_1, (array_agg(answer.id))[%(limit)s::INTEGER] AS anon_2, CASE WHEN CAST(%(count)s AS BOOLEAN) THEN (SELECT count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR)) END AS anon_3
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) AND (%(after)s::VARCHAR COLLATE "C" IS NULL OR (tasks.title, tasks.id) > (%(after)s::VARCHAR COLLATE "C", %(after_id)s::BIGINT)) ORDER BY tasks.title, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
    "title desc": """
SELECT array_agg(CAST(row_to_json(answer) AS TEXT)) AS array_agg_1, (array_agg(CAST(answer.title AS TEXT)))[%(limit)s::INTEGER] AS anon_1, (array_agg(answer.id))[%(limit)s::INTEGER] AS anon_2, CASE WHEN CAST(%(count)s AS BOOLEAN) THEN (SELECT count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR)) END AS anon_3
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(pattern)s::VARCHAR IS NULL OR (tasks.title COLLATE "default") ILIKE %(pattern)s::VARCHAR OR tasks.description ILIKE %(pattern)s::VARCHAR) AND (%(after)s::VARCHAR COLLATE "C" IS NULL OR (tasks.title, tasks.id) < (%(after)s::VARCHAR COLLATE "C", %(after_id)s::BIGINT)) ORDER BY tasks.title DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
""",
}

GET = """
WITH task AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR)
SELECT CAST(row_to_json(answer) AS TEXT) AS row_to_json_1, task.id, task.version
FROM task, LATERAL (SELECT task.id AS id, task.user_id AS user_id, task.title AS title, task.description AS description, task.completed AS completed, to_char(timezone('UTC', task.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', task.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
"""

EXISTS = """
SELECT EXISTS (SELECT *
FROM tasks
WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR) AS anon_1
"""

CREATE = """
WITH task AS
(INSERT INTO tasks (user_id, title, description, completed) VALUES (%(owner)s::VARCHAR, %(title)s::VARCHAR, %(description)s::VARCHAR, CAST(%(completed)s AS BOOLEAN)) RETURNING tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.completed, tasks.created_at, tasks.updated_at, tasks.version)
SELECT CAST(row_to_json(answer) AS TEXT) AS row_to_json_1, task.id, task.version
FROM task, LATERAL (SELECT task.id AS id, task.user_id AS user_id, task.title AS title, task.description AS description, task.completed AS completed, to_char(timezone('UTC', task.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', task.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
"""

CREATE_WITH_ACCOUNT = """
WITH account AS
(INSERT INTO users (id, name, email, "emailVerified") SELECT %(owner)s::VARCHAR AS id, %(account_name)s::VARCHAR AS name, %(account_email)s::VARCHAR AS email, CAST(%(account_email_verified)s AS BOOLEAN) AS "emailVerified"
WHERE NOT (EXISTS (SELECT *
FROM pg_constraint
WHERE pg_constraint.contype = 'f' AND pg_constraint.confrelid = 'users'::regclass AND (pg_constraint.conrelid NOT IN ('tasks'::regclass, 'idempotency_keys'::regclass)))) ON CONFLICT DO NOTHING),
task AS
(INSERT INTO tasks (user_id, title, description, completed) VALUES (%(owner)s::VARCHAR, %(title)s::VARCHAR, %(description)s::VARCHAR, CAST(%(completed)s AS BOOLEAN)) RETURNING tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.completed, tasks.created_at, tasks.updated_at, tasks.version)
SELECT CAST(row_to_json(answer) AS TEXT) AS row_to_json_1, task.id, task.version
FROM task, LATERAL (SELECT task.id AS id, task.user_id AS user_id, task.title AS title, task.description AS description, task.completed AS completed, to_char(timezone('UTC', task.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', task.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
"""

UPDATE = """
WITH task AS
(UPDATE tasks SET title=coalesce(%(title)s::VARCHAR, tasks.title), description=CASE WHEN CAST(%(set_description)s AS BOOLEAN) THEN %(description)s::VARCHAR ELSE tasks.description END, completed=coalesce(CAST(%(completed)s AS BOOLEAN), tasks.completed), updated_at=CASE WHEN ((tasks.title, tasks.description, tasks.completed) IS NOT DISTINCT FROM (coalesce(%(title)s::VARCHAR, tasks.title), CASE WHEN CAST(%(set_description)s AS BOOLEAN) THEN %(description)s::VARCHAR ELSE tasks.description END, coalesce(CAST(%(completed)s AS BOOLEAN), tasks.completed))) THEN tasks.updated_at ELSE greatest(clock_timestamp(), tasks.updated_at + CAST('1 microsecond' AS INTERVAL)) END, version=(tasks.version + CASE WHEN ((tasks.title, tasks.description, tasks.completed) IS NOT DISTINCT FROM (coalesce(%(title)s::VARCHAR, tasks.title), CASE WHEN CAST(%(set_description)s AS BOOLEAN) THEN %(description)s::VARCHAR ELSE tasks.description END, coalesce(CAST(%(completed)s AS BOOLEAN), tasks.completed))) THEN 0 ELSE 1 END) WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR AND (%(versions)s::BIGINT[] IS NULL OR tasks.version = any(%(versions)s::BIGINT[])) RETURNING tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.completed, tasks.created_at, tasks.updated_at, tasks.version)
SELECT CAST(row_to_json(answer) AS TEXT) AS row_to_json_1, task.id, task.version
FROM task, LATERAL (SELECT task.id AS id, task.user_id AS user_id, task.title AS title, task.description AS description, task.completed AS completed, to_char(timezone('UTC', task.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', task.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
"""

COMPLETE = """
WITH task AS
(UPDATE tasks SET completed=coalesce(CAST(%(completed)s AS BOOLEAN), NOT tasks.completed), updated_at=CASE WHEN ((tasks.completed) IS NOT DISTINCT FROM (coalesce(CAST(%(completed)s AS BOOLEAN), NOT tasks.completed))) THEN tasks.updated_at ELSE greatest(clock_timestamp(), tasks.updated_at + CAST('1 microsecond' AS INTERVAL)) END, version=(tasks.version + CASE WHEN ((tasks.completed) IS NOT DISTINCT FROM (coalesce(CAST(%(completed)s AS BOOLEAN), NOT tasks.completed))) THEN 0 ELSE 1 END) WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR AND (%(versions)s::BIGINT[] IS NULL OR tasks.version = any(%(versions)s::BIGINT[])) RETURNING tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.completed, tasks.created_at, tasks.updated_at, tasks.version)
SELECT CAST(row_to_json(answer) AS TEXT) AS row_to_json_1, task.id, task.version
FROM task, LATERAL (SELECT task.id AS id, task.user_id AS user_id, task.title AS title, task.description AS description, task.completed AS completed, to_char(timezone('UTC', task.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', task.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer
"""

DELETE = """
DELETE FROM tasks WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR AND (%(versions)s::BIGINT[] IS NULL OR tasks.version = any(%(versions)s::BIGINT[])) RETURNING tasks.id
"""

CREATE_ONCE = """
WITH sweep AS
(DELETE FROM idempotency_keys WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key != %(key)s::VARCHAR AND idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL)),
"new" AS
(SELECT nextval(pg_get_serial_sequence('tasks', 'id')) AS id, %(owner)s::VARCHAR AS user_id, %(title)s::VARCHAR AS title, %(description)s::VARCHAR AS description, CAST(%(completed)s AS BOOLEAN) AS completed, now() AS created_at, now() AS updated_at, CAST(1 AS BIGINT) AS version),
record AS
(INSERT INTO idempotency_keys (user_id, key, request_hash, task, task_id, version) SELECT %(owner)s::VARCHAR AS anon_1, %(key)s::VARCHAR AS anon_2, %(request_hash)s::VARCHAR AS anon_3, CAST(row_to_json(answer) AS TEXT) AS row_to_json_1, "new".id AS id, "new".version AS version
FROM "new", LATERAL (SELECT "new".id AS id, "new".user_id AS user_id, "new".title AS title, "new".description AS description, "new".completed AS completed, to_char(timezone('UTC', "new".created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', "new".updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer ON CONFLICT (user_id, key) DO UPDATE SET request_hash = excluded.request_hash, task = excluded.task, task_id = excluded.task_id, version = excluded.version, created_at = excluded.created_at WHERE idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL) RETURNING idempotency_keys.key)
INSERT INTO tasks (id, user_id, title, description, completed, created_at, updated_at, version) SELECT "new".id, "new".user_id, "new".title, "new".description, "new".completed, "new".created_at, "new".updated_at, "new".version
FROM "new", record
"""

CREATE_ONCE_WITH_ACCOUNT = """
WITH sweep AS
(DELETE FROM idempotency_keys WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key != %(key)s::VARCHAR AND idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL)),
account AS
(INSERT INTO users (id, name, email, "emailVerified") SELECT %(owner)s::VARCHAR AS id, %(account_name)s::VARCHAR AS name, %(account_email)s::VARCHAR AS email, CAST(%(account_email_verified)s AS BOOLEAN) AS "emailVerified"
WHERE NOT (EXISTS (SELECT *
FROM pg_constraint
WHERE pg_constraint.contype = 'f' AND pg_constraint.confrelid = 'users'::regclass AND (pg_constraint.conrelid NOT IN ('tasks'::regclass, 'idempotency_keys'::regclass)))) ON CONFLICT DO NOTHING),
"new" AS
(SELECT nextval(pg_get_serial_sequence('tasks', 'id')) AS id, %(owner)s::VARCHAR AS user_id, %(title)s::VARCHAR AS title, %(description)s::VARCHAR AS description, CAST(%(completed)s AS BOOLEAN) AS completed, now() AS created_at, now() AS updated_at, CAST(1 AS BIGINT) AS version),
record AS
(INSERT INTO idempotency_keys (user_id, key, request_hash, task, task_id, version) SELECT %(owner)s::VARCHAR AS anon_1, %(key)s::VARCHAR AS anon_2, %(request_hash)s::VARCHAR AS anon_3, CAST(row_to_json(answer) AS TEXT) AS row_to_json_1, "new".id AS id, "new".version AS version
FROM "new", LATERAL (SELECT "new".id AS id, "new".user_id AS user_id, "new".title AS title, "new".description AS description, "new".completed AS completed, to_char(timezone('UTC', "new".created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', "new".updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer ON CONFLICT (user_id, key) DO UPDATE SET request_hash = excluded.request_hash, task = excluded.task, task_id = excluded.task_id, version = excluded.version, created_at = excluded.created_at WHERE idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL) RETURNING idempotency_keys.key)
INSERT INTO tasks (id, user_id, title, description, completed, created_at, updated_at, version) SELECT "new".id, "new".user_id, "new".title, "new".description, "new".completed, "new".created_at, "new".updated_at, "new".version
FROM "new", record
"""

COMPLETE_ONCE = """
WITH sweep AS
(DELETE FROM idempotency_keys WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key != %(key)s::VARCHAR AND idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL)),
locked AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.version AS version
FROM tasks
WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR AND (%(versions)s::BIGINT[] IS NULL OR tasks.version = any(%(versions)s::BIGINT[])) FOR UPDATE),
"new" AS
(SELECT locked.id AS id, locked.user_id AS user_id, locked.title AS title, locked.description AS description, coalesce(CAST(%(completed)s AS BOOLEAN), NOT locked.completed) AS completed, locked.created_at AS created_at, CASE WHEN ((locked.completed) IS NOT DISTINCT FROM (coalesce(CAST(%(completed)s AS BOOLEAN), NOT locked.completed))) THEN locked.updated_at ELSE greatest(clock_timestamp(), locked.updated_at + CAST('1 microsecond' AS INTERVAL)) END AS updated_at, locked.version + CASE WHEN ((locked.completed) IS NOT DISTINCT FROM (coalesce(CAST(%(completed)s AS BOOLEAN), NOT locked.completed))) THEN 0 ELSE 1 END AS version
FROM locked),
record AS
(INSERT INTO idempotency_keys (user_id, key, request_hash, task, task_id, version) SELECT %(owner)s::VARCHAR AS anon_1, %(key)s::VARCHAR AS anon_2, %(request_hash)s::VARCHAR AS anon_3, CAST(row_to_json(answer) AS TEXT) AS row_to_json_1, "new".id AS id, "new".version AS version
FROM "new", LATERAL (SELECT "new".id AS id, "new".user_id AS user_id, "new".title AS title, "new".description AS description, "new".completed AS completed, to_char(timezone('UTC', "new".created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', "new".updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS answer ON CONFLICT (user_id, key) DO UPDATE SET request_hash = excluded.request_hash, task = excluded.task, task_id = excluded.task_id, version = excluded.version, created_at = excluded.created_at WHERE idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL) RETURNING idempotency_keys.key)
UPDATE tasks SET completed="new".completed, updated_at="new".updated_at, version="new".version FROM "new", record WHERE tasks.id = "new".id AND tasks.user_id = %(owner)s::VARCHAR AND record.key = %(key)s::VARCHAR
"""

RECORD = """
SELECT idempotency_keys.request_hash, idempotency_keys.task, idempotency_keys.task_id, idempotency_keys.version
FROM idempotency_keys
WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key = %(key)s::VARCHAR AND idempotency_keys.created_at >= now() - CAST('24 hours' AS INTERVAL)
"""

READY = """
SELECT row_security_active('tasks') AS row_security_active_1, EXISTS (SELECT *
FROM tasks
WHERE tasks.user_id = '') AS anon_1, EXISTS (SELECT *
FROM idempotency_keys
WHERE idempotency_keys.user_id = '') AS anon_2
"""
