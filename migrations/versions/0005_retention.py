"""The retention job: one function that removes what has expired, of all users.

Two indexes of `deleted_tasks` replace one, and `idempotency_keys` gets another. Their creation
blocks writes to these tables for its duration.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ROLE = "task_api"
# When a row has expired, by its table.
EXPIRED = {
    "idempotency_keys": "created_at < now() - interval '24 hours'",
    "deleted_tasks": "deleted_at < now() - interval '30 days'",
}


def upgrade() -> None:
    op.create_index("idempotency_keys_by_created_at", "idempotency_keys", ["created_at"])
    op.drop_index("deleted_tasks_by_deleted_at", "deleted_tasks")
    _index_deleted_tasks("deleted_tasks_to_purge", "purged_at IS NULL")
    _index_deleted_tasks("deleted_tasks_to_remove", "purged_at IS NOT NULL")
    for table, expired in EXPIRED.items():
        _create_policy(table, expired)
    _create_function()
    # Temporary tables come last: by default PostgreSQL looks for tables among them first, and a
    # temporary table with a trigger would run code of the caller with the rights of the owner.
    op.execute(f"ALTER FUNCTION users_after_delete() SET search_path = {_schema()}, pg_temp")


def downgrade() -> None:
    op.execute("ALTER FUNCTION users_after_delete() SET search_path FROM CURRENT")
    op.execute("DROP FUNCTION remove_expired")
    for table in EXPIRED:
        op.execute(f"DROP POLICY expired_rows ON {table}")
    op.drop_index("deleted_tasks_to_remove", "deleted_tasks")
    op.drop_index("deleted_tasks_to_purge", "deleted_tasks")
    op.create_index("deleted_tasks_by_deleted_at", "deleted_tasks", ["deleted_at"])
    op.drop_index("idempotency_keys_by_created_at", "idempotency_keys")


def _index_deleted_tasks(name: str, condition: str) -> None:
    op.create_index(name, "deleted_tasks", ["deleted_at"], postgresql_where=sa.text(condition))


def _schema() -> str:
    return op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))


def _create_policy(table: str, expired: str) -> None:
    # Row-level security also applies to the function's owner, unless it has BYPASSRLS. So it needs
    # this policy, which holds only in the function, and for the owner of the table. The owner is
    # looked up, not named with TO: a backup that names a role can be restored only where the role
    # exists, and a policy keeps its role when the owner of the table changes.
    op.execute(
        f"""CREATE POLICY expired_rows ON {table} USING (
            {expired} AND (
                SELECT current_setting('app.remove_expired', true) = 'on'
                    AND pg_get_userbyid(relowner) = current_user
                FROM pg_class WHERE oid = '{table}'::regclass
            )
        )"""
    )


def _create_function() -> None:
    # Each statement finds its rows in an index, oldest first, and skips what others have locked:
    # the function never waits for a lock, so it cannot be part of a deadlock.
    op.execute(
        f"""CREATE FUNCTION remove_expired(
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
            -- so changed_in stays.
            UPDATE deleted_tasks SET
                title = '', title_key = '', description = NULL, completed = false, priority = 0,
                due_at = 'infinity', due_at_desc = '-infinity', due_is_date = false, tags = '{{}}',
                completed_at = NULL, purged_at = now()
            WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM deleted_tasks
                WHERE purged_at IS NULL AND deleted_at < texts_expire
                ORDER BY deleted_at LIMIT max_rows FOR UPDATE SKIP LOCKED
            ));
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
    op.execute("REVOKE ALL ON FUNCTION remove_expired FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION remove_expired TO {ROLE}")
