"""The retention job erases every column of a deleted task, also those of later revisions.

0005 listed the columns. Only the statement that erases them has changed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    _replace_function()


def downgrade() -> None:
    """Keep the function, which fits the tables of 0006 too."""


def _schema() -> str:
    return op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))


def _replace_function() -> None:
    # Each statement finds its rows in an index, oldest first, and skips what others have locked:
    # the function never waits for a lock, so it cannot be part of a deadlock.
    op.execute(
        f"""CREATE OR REPLACE FUNCTION remove_expired(
            max_rows integer,
            OUT removed_keys bigint, OUT removed_texts bigint, OUT removed_ids bigint,
            OUT keys_left bigint, OUT texts_left bigint, OUT ids_left bigint,
            OUT overdue_seconds double precision
        ) LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = {_schema()}, pg_temp
        SET plan_cache_mode = force_custom_plan
        AS $$
        DECLARE
            keys_expire CONSTANT timestamptz := now() - interval '24 hours';
            texts_expire CONSTANT timestamptz := now() - interval '30 days';
            -- A day later than a token of the changes.
            ids_expire CONSTANT timestamptz := now() - interval '31 days';
            max_count CONSTANT integer := 10000;
            erase text;
        BEGIN
            -- Not in a SET clause, which needs a superuser for a parameter of this kind.
            PERFORM set_config('app.remove_expired', 'on', true);
            -- Without the policies, row-level security would hide the rows, and raise no error.
            IF EXISTS (
                SELECT FROM pg_class AS of_rows
                WHERE oid IN ('idempotency_keys'::regclass, 'deleted_tasks'::regclass)
                    AND row_security_active(oid)
                    AND NOT (
                        pg_get_userbyid(relowner) = current_user AND EXISTS (
                            SELECT FROM pg_policy
                            WHERE polrelid = of_rows.oid AND polname = 'expired_rows'
                        )
                    )
            ) THEN
                RAISE insufficient_privilege USING MESSAGE =
                    'remove_expired needs the owner of its tables, and their policies expired_rows';
            END IF;

            DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM idempotency_keys WHERE created_at < keys_expire
                ORDER BY created_at LIMIT max_rows FOR UPDATE SKIP LOCKED
            ));
            GET DIAGNOSTICS removed_keys = ROW_COUNT;

            -- The row remains for clients that follow the changes. They have the deletion already,
            -- so changed_in stays. Every other column becomes as in a new task without a title.
            -- Generated columns of tasks are plain ones here, so they are computed from the rest.
            SELECT format(
                'UPDATE deleted_tasks SET (%s, purged_at) ='
                ' (SELECT %s, now() FROM (SELECT %s) AS empty) WHERE ctid = ANY ($1)',
                string_agg(quote_ident(name), ', '),
                string_agg(CASE WHEN computed THEN value ELSE quote_ident(name) END, ', '),
                string_agg(format('(%s)::%s AS %I', value, type, name), ', ')
                    FILTER (WHERE NOT computed)
            ) INTO erase FROM (
                SELECT kept.attname AS name, format_type(kept.atttypid, kept.atttypmod) AS type,
                    coalesce(task.attgenerated <> '', false) AS computed,
                    coalesce(
                        pg_get_expr(adbin, adrelid),
                        CASE WHEN kept.attnotnull AND typcategory = 'S' THEN quote_literal('')
                            ELSE 'NULL' END
                    ) AS value
                FROM pg_attribute AS kept JOIN pg_type ON pg_type.oid = kept.atttypid
                LEFT JOIN pg_attribute AS task
                    ON task.attrelid = 'tasks'::regclass AND task.attname = kept.attname
                LEFT JOIN pg_attrdef ON adrelid = task.attrelid AND adnum = task.attnum
                WHERE kept.attrelid = 'deleted_tasks'::regclass
                    AND kept.attnum > 0 AND NOT kept.attisdropped AND kept.attname NOT IN (
                        'id', 'user_id', 'created_at', 'updated_at', 'version', 'changed_in',
                        'deleted_at', 'purged_at'
                    )
            ) AS erased;
            EXECUTE erase USING ARRAY(
                SELECT ctid FROM deleted_tasks
                WHERE purged_at IS NULL AND deleted_at < texts_expire
                ORDER BY deleted_at LIMIT max_rows FOR UPDATE SKIP LOCKED
            );
            GET DIAGNOSTICS removed_texts = ROW_COUNT;

            DELETE FROM deleted_tasks WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM deleted_tasks
                WHERE purged_at IS NOT NULL AND deleted_at < ids_expire
                ORDER BY deleted_at LIMIT max_rows FOR UPDATE SKIP LOCKED
            ));
            GET DIAGNOSTICS removed_ids = ROW_COUNT;

            SELECT count(*) INTO keys_left FROM (
                SELECT FROM idempotency_keys WHERE created_at < keys_expire
                ORDER BY created_at LIMIT max_count
            ) AS expired;
            SELECT count(*) INTO texts_left FROM (
                SELECT FROM deleted_tasks WHERE purged_at IS NULL AND deleted_at < texts_expire
                ORDER BY deleted_at LIMIT max_count
            ) AS expired;
            SELECT count(*) INTO ids_left FROM (
                SELECT FROM deleted_tasks WHERE purged_at IS NOT NULL AND deleted_at < ids_expire
                ORDER BY deleted_at LIMIT max_count
            ) AS expired;
            SELECT coalesce(extract(epoch FROM greatest(
                keys_expire - (
                    SELECT min(created_at) FROM idempotency_keys WHERE created_at < keys_expire
                ),
                texts_expire - (
                    SELECT min(deleted_at) FROM deleted_tasks
                    WHERE purged_at IS NULL AND deleted_at < texts_expire
                ),
                ids_expire - (
                    SELECT min(deleted_at) FROM deleted_tasks
                    WHERE purged_at IS NOT NULL AND deleted_at < ids_expire
                )
            )), 0) INTO overdue_seconds;
            PERFORM set_config('app.remove_expired', '', true);
        END $$"""
    )
