"""A record of erased users, without their names, for clients that follow the changes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

ROLE = "task_api"


def upgrade() -> None:
    # A client that knew the tasks of an erased user has to start again. Nothing else remains of
    # the user that could tell it: neither the tasks nor the ids of those that were deleted.
    op.execute(
        """CREATE TABLE erased_users (
            user_hash bytea,
            changed_in xid8 DEFAULT pg_current_xact_id(),
            erased_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (user_hash, changed_in)
        )"""
    )
    op.create_index("erased_users_by_erased_at", "erased_users", ["erased_at"])
    op.execute(f"GRANT SELECT ON erased_users TO {ROLE}")
    _create_trigger_function(
        "INSERT INTO erased_users (user_hash)"
        " VALUES (sha256(convert_to(OLD.id, 'UTF8'))) ON CONFLICT DO NOTHING;"
    )
    op.execute(
        f"""CREATE FUNCTION remove_erased_users(max_rows integer) RETURNS bigint
        LANGUAGE sql SECURITY DEFINER SET search_path = {_schema()}, pg_temp AS $$
            WITH removed AS (
                DELETE FROM erased_users WHERE ctid = ANY (ARRAY(
                    SELECT ctid FROM erased_users
                    -- A day longer than a token of the changes is good for.
                    WHERE erased_at < now() - interval '31 days'
                    ORDER BY erased_at LIMIT max_rows FOR UPDATE SKIP LOCKED
                )) RETURNING 1
            ) SELECT count(*) FROM removed
        $$"""
    )
    op.execute("REVOKE ALL ON FUNCTION remove_erased_users FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION remove_erased_users TO {ROLE}")


def downgrade() -> None:
    op.execute("DROP FUNCTION remove_erased_users")
    _create_trigger_function("")
    op.drop_table("erased_users")


def _create_trigger_function(record: str) -> None:
    op.execute(
        f"""CREATE OR REPLACE FUNCTION users_after_delete() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = {_schema()}, pg_temp AS $$
        DECLARE
            previous text := coalesce(current_setting('app.user_id', true), '');
        BEGIN
            -- Row-level security applies to the owner too.
            PERFORM set_config('app.user_id', OLD.id, true);
            DELETE FROM deleted_tasks WHERE user_id = OLD.id;
            PERFORM set_config('app.user_id', previous, true);
            {record}
            RETURN NULL;
        END $$"""
    )


def _schema() -> str:
    return op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
