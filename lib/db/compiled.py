"""The SQL that runs. Compiled from queries.py by `make sql`: do not edit."""

from typing import LiteralString

LIST_WHOLE: dict[str, LiteralString] = {
    "created_at asc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.created_at, tasks.id)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
    "created_at desc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.created_at DESC, tasks.id DESC)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
    "updated_at asc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.updated_at, tasks.id)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
    "updated_at desc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.updated_at DESC, tasks.id DESC)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
    "title asc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.title_key, tasks.id)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
    "title desc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.title_key DESC, tasks.id DESC)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
}

LIST_FIRST_PAGE: dict[str, LiteralString] = {
    "created_at asc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.created_at, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "created_at desc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.created_at DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "updated_at asc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.updated_at, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "updated_at desc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.updated_at DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "title asc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.title_key, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "title desc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR ORDER BY tasks.title_key DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
}

LIST_NEXT_PAGE: dict[str, LiteralString] = {
    "created_at asc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (tasks.created_at, tasks.id) > (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT) ORDER BY tasks.created_at, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "created_at desc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (tasks.created_at, tasks.id) < (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT) ORDER BY tasks.created_at DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "updated_at asc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (tasks.updated_at, tasks.id) > (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT) ORDER BY tasks.updated_at, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "updated_at desc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (tasks.updated_at, tasks.id) < (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT) ORDER BY tasks.updated_at DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "title asc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (tasks.title_key, tasks.id) > (%(after)s::VARCHAR COLLATE "C", %(after_id)s::BIGINT) ORDER BY tasks.title_key, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "title desc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (tasks.title_key, tasks.id) < (%(after)s::VARCHAR COLLATE "C", %(after_id)s::BIGINT) ORDER BY tasks.title_key DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
}

FILTERED_WHOLE: dict[str, LiteralString] = {
    "created_at asc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) ORDER BY tasks.created_at, tasks.id)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
    "created_at desc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) ORDER BY tasks.created_at DESC, tasks.id DESC)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
    "updated_at asc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) ORDER BY tasks.updated_at, tasks.id)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
    "updated_at desc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) ORDER BY tasks.updated_at DESC, tasks.id DESC)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
    "title asc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) ORDER BY tasks.title_key, tasks.id)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
    "title desc": """
WITH list AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) ORDER BY tasks.title_key DESC, tasks.id DESC)
SELECT coalesce(string_agg(CAST(row_to_json(document) AS TEXT), ','), '') AS coalesce_1, count(*) AS count_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
HAVING (SELECT CASE WHEN (coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) <= %(max_bytes)s::BIGINT AND coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) * 6 > %(max_bytes)s::BIGINT) THEN (SELECT sum(octet_length(CAST(row_to_json(document) AS TEXT)) + 1) AS sum_1
FROM list, LATERAL (SELECT list.id AS id, list.user_id AS user_id, list.title AS title, list.description AS description, list.completed AS completed, to_char(timezone('UTC', list.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', list.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) ELSE coalesce(sum(130 + coalesce(octet_length(list.user_id), 0) + coalesce(octet_length(list.title), 0) + coalesce(octet_length(list.description), 0)), 0) END AS anon_1
FROM list) <= %(max_bytes)s::BIGINT
""",
}

FILTERED_PAGE: dict[str, LiteralString] = {
    "created_at asc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) AND (%(after_id)s::BIGINT IS NULL OR (tasks.created_at, tasks.id) > (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY tasks.created_at, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "created_at desc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) AND (%(after_id)s::BIGINT IS NULL OR (tasks.created_at, tasks.id) < (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY tasks.created_at DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "updated_at asc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) AND (%(after_id)s::BIGINT IS NULL OR (tasks.updated_at, tasks.id) > (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY tasks.updated_at, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "updated_at desc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) AND (%(after_id)s::BIGINT IS NULL OR (tasks.updated_at, tasks.id) < (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY tasks.updated_at DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "title asc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) AND (%(after_id)s::BIGINT IS NULL OR (tasks.title_key, tasks.id) > (%(after)s::VARCHAR COLLATE "C", %(after_id)s::BIGINT)) ORDER BY tasks.title_key, tasks.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
    "title desc": """
SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0) AND (%(after_id)s::BIGINT IS NULL OR (tasks.title_key, tasks.id) < (%(after)s::VARCHAR COLLATE "C", %(after_id)s::BIGINT)) ORDER BY tasks.title_key DESC, tasks.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
""",
}

COUNTED_PAGE: dict[str, LiteralString] = {
    "created_at asc": """
WITH matching AS
(SELECT tasks.id AS id, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0))
SELECT counted_page.document, counted_page.sort_key, counted_page.id, counted.total
FROM (SELECT count(*) AS total
FROM matching) AS counted LEFT OUTER JOIN (SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id AS id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, matching.sort_key AS sort_key
FROM tasks JOIN matching ON tasks.id = matching.id
WHERE tasks.user_id = %(owner)s::VARCHAR AND (%(after_id)s::BIGINT IS NULL OR (matching.sort_key, matching.id) > (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY matching.sort_key, matching.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) AS counted_page ON true
""",
    "created_at desc": """
WITH matching AS
(SELECT tasks.id AS id, tasks.created_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0))
SELECT counted_page.document, counted_page.sort_key, counted_page.id, counted.total
FROM (SELECT count(*) AS total
FROM matching) AS counted LEFT OUTER JOIN (SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id AS id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, matching.sort_key AS sort_key
FROM tasks JOIN matching ON tasks.id = matching.id
WHERE tasks.user_id = %(owner)s::VARCHAR AND (%(after_id)s::BIGINT IS NULL OR (matching.sort_key, matching.id) < (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY matching.sort_key DESC, matching.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) AS counted_page ON true
""",
    "updated_at asc": """
WITH matching AS
(SELECT tasks.id AS id, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0))
SELECT counted_page.document, counted_page.sort_key, counted_page.id, counted.total
FROM (SELECT count(*) AS total
FROM matching) AS counted LEFT OUTER JOIN (SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id AS id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, matching.sort_key AS sort_key
FROM tasks JOIN matching ON tasks.id = matching.id
WHERE tasks.user_id = %(owner)s::VARCHAR AND (%(after_id)s::BIGINT IS NULL OR (matching.sort_key, matching.id) > (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY matching.sort_key, matching.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) AS counted_page ON true
""",
    "updated_at desc": """
WITH matching AS
(SELECT tasks.id AS id, tasks.updated_at AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0))
SELECT counted_page.document, counted_page.sort_key, counted_page.id, counted.total
FROM (SELECT count(*) AS total
FROM matching) AS counted LEFT OUTER JOIN (SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id AS id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, matching.sort_key AS sort_key
FROM tasks JOIN matching ON tasks.id = matching.id
WHERE tasks.user_id = %(owner)s::VARCHAR AND (%(after_id)s::BIGINT IS NULL OR (matching.sort_key, matching.id) < (%(after)s::TIMESTAMP WITH TIME ZONE, %(after_id)s::BIGINT)) ORDER BY matching.sort_key DESC, matching.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) AS counted_page ON true
""",
    "title asc": """
WITH matching AS
(SELECT tasks.id AS id, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0))
SELECT counted_page.document, counted_page.sort_key, counted_page.id, counted.total
FROM (SELECT count(*) AS total
FROM matching) AS counted LEFT OUTER JOIN (SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id AS id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, matching.sort_key AS sort_key
FROM tasks JOIN matching ON tasks.id = matching.id
WHERE tasks.user_id = %(owner)s::VARCHAR AND (%(after_id)s::BIGINT IS NULL OR (matching.sort_key, matching.id) > (%(after)s::VARCHAR COLLATE "C", %(after_id)s::BIGINT)) ORDER BY matching.sort_key, matching.id
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) AS counted_page ON true
""",
    "title desc": """
WITH matching AS
(SELECT tasks.id AS id, tasks.title_key AS sort_key
FROM tasks
WHERE tasks.user_id = %(owner)s::VARCHAR AND (CAST(%(completed)s AS BOOLEAN) IS NULL OR tasks.completed = CAST(%(completed)s AS BOOLEAN)) AND (%(q)s::VARCHAR IS NULL OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(tasks.title_key, 'UTF8')) > 0 OR position((SELECT convert_to(lower(%(q)s::VARCHAR COLLATE pg_c_utf8), 'UTF8') AS convert_to_1) IN convert_to(lower(tasks.description COLLATE pg_c_utf8), 'UTF8')) > 0))
SELECT counted_page.document, counted_page.sort_key, counted_page.id, counted.total
FROM (SELECT count(*) AS total
FROM matching) AS counted LEFT OUTER JOIN (SELECT CAST(row_to_json(document) AS TEXT) AS document, CAST(page.sort_key AS TEXT) AS sort_key, page.id AS id
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, matching.sort_key AS sort_key
FROM tasks JOIN matching ON tasks.id = matching.id
WHERE tasks.user_id = %(owner)s::VARCHAR AND (%(after_id)s::BIGINT IS NULL OR (matching.sort_key, matching.id) < (%(after)s::VARCHAR COLLATE "C", %(after_id)s::BIGINT)) ORDER BY matching.sort_key DESC, matching.id DESC
LIMIT %(limit)s::INTEGER + 1) AS page, LATERAL (SELECT page.id AS id, page.user_id AS user_id, page.title AS title, page.description AS description, page.completed AS completed, to_char(timezone('UTC', page.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', page.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document) AS counted_page ON true
""",
}

GET = """
WITH task AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS title_key, tasks.version AS version
FROM tasks
WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR)
SELECT CAST(row_to_json(document) AS TEXT) AS row_to_json_1, task.id
FROM task, LATERAL (SELECT task.id AS id, task.user_id AS user_id, task.title AS title, task.description AS description, task.completed AS completed, to_char(timezone('UTC', task.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', task.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
"""

EXISTS = """
SELECT EXISTS (SELECT *
FROM tasks
WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR) AS anon_1
"""

CREATE = """
WITH task AS
(INSERT INTO tasks (user_id, title, description, completed) VALUES (%(owner)s::VARCHAR, %(title)s::VARCHAR, %(description)s::VARCHAR, CAST(%(completed)s AS BOOLEAN)) RETURNING tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.completed, tasks.created_at, tasks.updated_at, tasks.title_key, tasks.version)
SELECT CAST(row_to_json(document) AS TEXT) AS row_to_json_1, task.id
FROM task, LATERAL (SELECT task.id AS id, task.user_id AS user_id, task.title AS title, task.description AS description, task.completed AS completed, to_char(timezone('UTC', task.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', task.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
"""

CREATE_WITH_USER = """
WITH profile AS
(INSERT INTO users (id, name, email, "emailVerified") SELECT %(owner)s::VARCHAR AS id, %(user_name)s::VARCHAR AS name, anon_1.email AS email, CAST(%(user_email_verified)s AS BOOLEAN) AS verified
FROM unnest(ARRAY[%(user_email)s::VARCHAR, CAST(gen_random_uuid() AS TEXT) || '@users.invalid']) WITH ORDINALITY AS anon_1(email, position)
WHERE anon_1.email IS NOT NULL AND NOT (EXISTS (SELECT *
FROM pg_constraint
WHERE pg_constraint.contype = 'f' AND pg_constraint.confrelid = to_regclass('users') AND pg_constraint.conrelid IN (to_regclass('session'), to_regclass('sessions'), to_regclass('account'), to_regclass('accounts')) AND (EXISTS (SELECT *
FROM pg_attribute
WHERE pg_attribute.attrelid = pg_constraint.conrelid AND pg_attribute.attname IN ('token', 'providerId', 'provider_id'))))) ORDER BY anon_1.position ON CONFLICT DO NOTHING),
task AS
(INSERT INTO tasks (user_id, title, description, completed) VALUES (%(owner)s::VARCHAR, %(title)s::VARCHAR, %(description)s::VARCHAR, CAST(%(completed)s AS BOOLEAN)) RETURNING tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.completed, tasks.created_at, tasks.updated_at, tasks.title_key, tasks.version)
SELECT CAST(row_to_json(document) AS TEXT) AS row_to_json_1, task.id
FROM task, LATERAL (SELECT task.id AS id, task.user_id AS user_id, task.title AS title, task.description AS description, task.completed AS completed, to_char(timezone('UTC', task.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', task.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
"""

UPDATE = """
WITH task AS
(UPDATE tasks SET title=coalesce(%(title)s::VARCHAR, tasks.title), description=CASE WHEN CAST(%(set_description)s AS BOOLEAN) THEN %(description)s::VARCHAR ELSE tasks.description END, completed=coalesce(CAST(%(completed)s AS BOOLEAN), tasks.completed), updated_at=CASE WHEN ((tasks.title, tasks.description, tasks.completed) IS NOT DISTINCT FROM (coalesce(%(title)s::VARCHAR, tasks.title), CASE WHEN CAST(%(set_description)s AS BOOLEAN) THEN %(description)s::VARCHAR ELSE tasks.description END, coalesce(CAST(%(completed)s AS BOOLEAN), tasks.completed))) THEN tasks.updated_at ELSE greatest(clock_timestamp(), tasks.updated_at + CAST('1 microsecond' AS INTERVAL)) END, version=(tasks.version + CASE WHEN ((tasks.title, tasks.description, tasks.completed) IS NOT DISTINCT FROM (coalesce(%(title)s::VARCHAR, tasks.title), CASE WHEN CAST(%(set_description)s AS BOOLEAN) THEN %(description)s::VARCHAR ELSE tasks.description END, coalesce(CAST(%(completed)s AS BOOLEAN), tasks.completed))) THEN 0 ELSE 1 END) WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR AND (%(etags)s::TEXT[] IS NULL OR (left(encode(sha256(convert_to((SELECT CAST(row_to_json(document) AS TEXT) AS row_to_json_2
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, to_char(timezone('UTC', tasks.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', tasks.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document), 'UTF8')), 'hex'), 32) = ANY (%(etags)s::TEXT[])) = CAST(%(must_match)s AS BOOLEAN)) RETURNING tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.completed, tasks.created_at, tasks.updated_at, tasks.title_key, tasks.version)
SELECT CAST(row_to_json(document) AS TEXT) AS row_to_json_1, task.id
FROM task, LATERAL (SELECT task.id AS id, task.user_id AS user_id, task.title AS title, task.description AS description, task.completed AS completed, to_char(timezone('UTC', task.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', task.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
"""

COMPLETE = """
WITH task AS
(UPDATE tasks SET completed=coalesce(CAST(%(completed)s AS BOOLEAN), NOT tasks.completed), updated_at=CASE WHEN ((tasks.completed) IS NOT DISTINCT FROM (coalesce(CAST(%(completed)s AS BOOLEAN), NOT tasks.completed))) THEN tasks.updated_at ELSE greatest(clock_timestamp(), tasks.updated_at + CAST('1 microsecond' AS INTERVAL)) END, version=(tasks.version + CASE WHEN ((tasks.completed) IS NOT DISTINCT FROM (coalesce(CAST(%(completed)s AS BOOLEAN), NOT tasks.completed))) THEN 0 ELSE 1 END) WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR AND (%(etags)s::TEXT[] IS NULL OR (left(encode(sha256(convert_to((SELECT CAST(row_to_json(document) AS TEXT) AS row_to_json_2
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, to_char(timezone('UTC', tasks.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', tasks.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document), 'UTF8')), 'hex'), 32) = ANY (%(etags)s::TEXT[])) = CAST(%(must_match)s AS BOOLEAN)) RETURNING tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.completed, tasks.created_at, tasks.updated_at, tasks.title_key, tasks.version)
SELECT CAST(row_to_json(document) AS TEXT) AS row_to_json_1, task.id
FROM task, LATERAL (SELECT task.id AS id, task.user_id AS user_id, task.title AS title, task.description AS description, task.completed AS completed, to_char(timezone('UTC', task.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', task.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document
"""

DELETE = """
DELETE FROM tasks WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR AND (%(etags)s::TEXT[] IS NULL OR (left(encode(sha256(convert_to((SELECT CAST(row_to_json(document) AS TEXT) AS row_to_json_1
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, to_char(timezone('UTC', tasks.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', tasks.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document), 'UTF8')), 'hex'), 32) = ANY (%(etags)s::TEXT[])) = CAST(%(must_match)s AS BOOLEAN)) RETURNING tasks.id
"""

CREATE_ONCE = """
WITH "new" AS
(SELECT nextval(pg_get_serial_sequence('tasks', 'id')) AS id, %(owner)s::VARCHAR AS user_id, %(title)s::VARCHAR AS title, %(description)s::VARCHAR AS description, CAST(%(completed)s AS BOOLEAN) AS completed, now() AS created_at, now() AS updated_at, CAST(1 AS BIGINT) AS version),
record AS
(INSERT INTO idempotency_keys (user_id, key, request_hash, task, task_id, version) SELECT %(owner)s::VARCHAR AS anon_1, %(key)s::VARCHAR AS anon_2, %(request_hash)s::VARCHAR AS anon_3, CAST(row_to_json(document) AS TEXT) AS row_to_json_1, "new".id AS id, "new".version AS version
FROM "new", LATERAL (SELECT "new".id AS id, "new".user_id AS user_id, "new".title AS title, "new".description AS description, "new".completed AS completed, to_char(timezone('UTC', "new".created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', "new".updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document ON CONFLICT (user_id, key) DO UPDATE SET request_hash = excluded.request_hash, task = excluded.task, task_id = excluded.task_id, version = excluded.version, created_at = excluded.created_at WHERE idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL) RETURNING idempotency_keys.key),
sweep AS
(DELETE FROM idempotency_keys WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key = ANY (array((SELECT idempotency_keys.key
FROM idempotency_keys, record
WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key != record.key AND idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL) ORDER BY idempotency_keys.created_at
LIMIT 20 FOR UPDATE OF idempotency_keys SKIP LOCKED))))
INSERT INTO tasks (id, user_id, title, description, completed, created_at, updated_at, version) SELECT "new".id, "new".user_id, "new".title, "new".description, "new".completed, "new".created_at, "new".updated_at, "new".version
FROM "new", record
"""

CREATE_ONCE_WITH_USER = """
WITH "new" AS
(SELECT nextval(pg_get_serial_sequence('tasks', 'id')) AS id, %(owner)s::VARCHAR AS user_id, %(title)s::VARCHAR AS title, %(description)s::VARCHAR AS description, CAST(%(completed)s AS BOOLEAN) AS completed, now() AS created_at, now() AS updated_at, CAST(1 AS BIGINT) AS version),
record AS
(INSERT INTO idempotency_keys (user_id, key, request_hash, task, task_id, version) SELECT %(owner)s::VARCHAR AS anon_1, %(key)s::VARCHAR AS anon_2, %(request_hash)s::VARCHAR AS anon_3, CAST(row_to_json(document) AS TEXT) AS row_to_json_1, "new".id AS id, "new".version AS version
FROM "new", LATERAL (SELECT "new".id AS id, "new".user_id AS user_id, "new".title AS title, "new".description AS description, "new".completed AS completed, to_char(timezone('UTC', "new".created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', "new".updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document ON CONFLICT (user_id, key) DO UPDATE SET request_hash = excluded.request_hash, task = excluded.task, task_id = excluded.task_id, version = excluded.version, created_at = excluded.created_at WHERE idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL) RETURNING idempotency_keys.key),
sweep AS
(DELETE FROM idempotency_keys WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key = ANY (array((SELECT idempotency_keys.key
FROM idempotency_keys, record
WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key != record.key AND idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL) ORDER BY idempotency_keys.created_at
LIMIT 20 FOR UPDATE OF idempotency_keys SKIP LOCKED)))),
profile AS
(INSERT INTO users (id, name, email, "emailVerified") SELECT %(owner)s::VARCHAR AS id, %(user_name)s::VARCHAR AS name, anon_4.email AS email, CAST(%(user_email_verified)s AS BOOLEAN) AS verified
FROM unnest(ARRAY[%(user_email)s::VARCHAR, CAST(gen_random_uuid() AS TEXT) || '@users.invalid']) WITH ORDINALITY AS anon_4(email, position)
WHERE anon_4.email IS NOT NULL AND NOT (EXISTS (SELECT *
FROM pg_constraint
WHERE pg_constraint.contype = 'f' AND pg_constraint.confrelid = to_regclass('users') AND pg_constraint.conrelid IN (to_regclass('session'), to_regclass('sessions'), to_regclass('account'), to_regclass('accounts')) AND (EXISTS (SELECT *
FROM pg_attribute
WHERE pg_attribute.attrelid = pg_constraint.conrelid AND pg_attribute.attname IN ('token', 'providerId', 'provider_id'))))) ORDER BY anon_4.position ON CONFLICT DO NOTHING)
INSERT INTO tasks (id, user_id, title, description, completed, created_at, updated_at, version) SELECT "new".id, "new".user_id, "new".title, "new".description, "new".completed, "new".created_at, "new".updated_at, "new".version
FROM "new", record
"""

COMPLETE_ONCE = """
WITH locked AS
(SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, tasks.created_at AS created_at, tasks.updated_at AS updated_at, tasks.title_key AS title_key, tasks.version AS version
FROM tasks
WHERE tasks.id = %(task_id)s::BIGINT AND tasks.user_id = %(owner)s::VARCHAR AND (%(etags)s::TEXT[] IS NULL OR (left(encode(sha256(convert_to((SELECT CAST(row_to_json(document) AS TEXT) AS row_to_json_2
FROM (SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.title AS title, tasks.description AS description, tasks.completed AS completed, to_char(timezone('UTC', tasks.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', tasks.updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document), 'UTF8')), 'hex'), 32) = ANY (%(etags)s::TEXT[])) = CAST(%(must_match)s AS BOOLEAN)) FOR UPDATE),
"new" AS
(SELECT locked.id AS id, locked.user_id AS user_id, locked.title AS title, locked.description AS description, coalesce(CAST(%(completed)s AS BOOLEAN), NOT locked.completed) AS completed, locked.created_at AS created_at, CASE WHEN ((locked.completed) IS NOT DISTINCT FROM (coalesce(CAST(%(completed)s AS BOOLEAN), NOT locked.completed))) THEN locked.updated_at ELSE greatest(clock_timestamp(), locked.updated_at + CAST('1 microsecond' AS INTERVAL)) END AS updated_at, locked.title_key AS title_key, locked.version + CASE WHEN ((locked.completed) IS NOT DISTINCT FROM (coalesce(CAST(%(completed)s AS BOOLEAN), NOT locked.completed))) THEN 0 ELSE 1 END AS version
FROM locked),
record AS
(INSERT INTO idempotency_keys (user_id, key, request_hash, task, task_id, version) SELECT %(owner)s::VARCHAR AS anon_1, %(key)s::VARCHAR AS anon_2, %(request_hash)s::VARCHAR AS anon_3, CAST(row_to_json(document) AS TEXT) AS row_to_json_1, "new".id AS id, "new".version AS version
FROM "new", LATERAL (SELECT "new".id AS id, "new".user_id AS user_id, "new".title AS title, "new".description AS description, "new".completed AS completed, to_char(timezone('UTC', "new".created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, to_char(timezone('UTC', "new".updated_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at) AS document ON CONFLICT (user_id, key) DO UPDATE SET request_hash = excluded.request_hash, task = excluded.task, task_id = excluded.task_id, version = excluded.version, created_at = excluded.created_at WHERE idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL) RETURNING idempotency_keys.key),
sweep AS
(DELETE FROM idempotency_keys WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key = ANY (array((SELECT idempotency_keys.key
FROM idempotency_keys, record
WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key != record.key AND idempotency_keys.created_at < now() - CAST('24 hours' AS INTERVAL) ORDER BY idempotency_keys.created_at
LIMIT 20 FOR UPDATE OF idempotency_keys SKIP LOCKED))))
UPDATE tasks SET completed="new".completed, updated_at="new".updated_at, version="new".version FROM "new", record WHERE tasks.id = "new".id AND tasks.user_id = %(owner)s::VARCHAR AND record.key = %(key)s::VARCHAR
"""

RECORD = """
SELECT idempotency_keys.request_hash, idempotency_keys.task, idempotency_keys.task_id
FROM idempotency_keys
WHERE idempotency_keys.user_id = %(owner)s::VARCHAR AND idempotency_keys.key = %(key)s::VARCHAR AND idempotency_keys.created_at >= now() - CAST('24 hours' AS INTERVAL)
"""

READY = """
SELECT (SELECT row_security_active(oid) FROM pg_class WHERE oid = to_regclass('tasks')), EXISTS (SELECT *
FROM pg_constraint
WHERE pg_constraint.contype = 'f' AND pg_constraint.confrelid = to_regclass('users') AND pg_constraint.conrelid IN (to_regclass('session'), to_regclass('sessions'), to_regclass('account'), to_regclass('accounts')) AND (EXISTS (SELECT *
FROM pg_attribute
WHERE pg_attribute.attrelid = pg_constraint.conrelid AND pg_attribute.attname IN ('token', 'providerId', 'provider_id')))) AS anon_1, ARRAY(
SELECT 'policy own_rows on ' || name
FROM (VALUES ('tasks'), ('idempotency_keys')) AS owned (name)
WHERE row_security_active(to_regclass(name)) AND NOT EXISTS (
SELECT FROM pg_policies
WHERE tablename = name AND policyname = 'own_rows' AND cmd = 'ALL'
AND schemaname = ANY (current_schemas(false))
AND qual LIKE '%%app.user_id%%' AND with_check LIKE '%%app.user_id%%'
)
), ARRAY(
SELECT 'USAGE on a schema of search_path' WHERE current_schema() IS NULL
UNION ALL
SELECT 'table ' || name
FROM (VALUES ('users'), ('tasks'), ('idempotency_keys')) AS needed (name)
WHERE to_regclass(name) IS NULL
UNION ALL
SELECT format('column %%s.%%s of type %%s', relation, name, type)
FROM (VALUES ('tasks', 'id', 'bigint'), ('tasks', 'user_id', 'text'), ('tasks', 'title', 'text'), ('tasks', 'description', 'text'), ('tasks', 'completed', 'boolean'), ('tasks', 'created_at', 'timestamp with time zone'), ('tasks', 'updated_at', 'timestamp with time zone'), ('tasks', 'title_key', 'text'), ('tasks', 'version', 'bigint'), ('idempotency_keys', 'user_id', 'text'), ('idempotency_keys', 'key', 'text'), ('idempotency_keys', 'request_hash', 'text'), ('idempotency_keys', 'task', 'text'), ('idempotency_keys', 'task_id', 'bigint'), ('idempotency_keys', 'version', 'bigint'), ('idempotency_keys', 'created_at', 'timestamp with time zone')) AS needed (relation, name, type)
WHERE to_regclass(relation) IS NOT NULL AND NOT EXISTS (
SELECT FROM pg_attribute
WHERE attrelid = to_regclass(relation) AND attname = name AND NOT attisdropped
AND format_type(atttypid, atttypmod) = type
)
UNION ALL
SELECT privilege || ' on ' || name
FROM (VALUES ('tasks'), ('idempotency_keys')) AS owned (name),
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
SELECT format('a default for %%s.%%s', relation, attname)
FROM (VALUES ('tasks'), ('idempotency_keys')) AS owned (relation)
JOIN pg_attribute ON attrelid = to_regclass(relation)
WHERE attnum > 0 AND attnotnull AND NOT atthasdef AND attidentity = '' AND NOT attisdropped
AND (relation, attname) NOT IN (
VALUES ('tasks', 'id'), ('tasks', 'user_id'), ('tasks', 'title'), ('tasks', 'description'), ('tasks', 'completed'), ('tasks', 'created_at'), ('tasks', 'updated_at'), ('tasks', 'title_key'), ('tasks', 'version'), ('idempotency_keys', 'user_id'), ('idempotency_keys', 'key'), ('idempotency_keys', 'request_hash'), ('idempotency_keys', 'task'), ('idempotency_keys', 'task_id'), ('idempotency_keys', 'version'), ('idempotency_keys', 'created_at')
)
), ARRAY(
SELECT 'INSERT on users.' || name
FROM (VALUES ('id'), ('name'), ('email'), ('emailVerified')) AS needed (name)
LEFT JOIN pg_attribute
ON attrelid = to_regclass('users') AND attname = name AND NOT attisdropped
WHERE to_regclass('users') IS NOT NULL
AND has_column_privilege(attrelid, attnum, 'INSERT') IS NOT TRUE
)
"""
