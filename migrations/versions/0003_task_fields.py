"""Priority, due date, tags, completed_at, the title's sort key, the trash and the feed of changes.

One rewrite of the table `tasks`, which blocks requests for its duration. The previous version of
the code runs on the result: triggers keep what it does not know.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

ROLE = "task_api"
OWN_ROW = "(user_id = (SELECT current_setting('app.user_id', true)))"


def upgrade() -> None:
    # Replaced by tasks_by_title_key. Lists by title of the previous version sort instead.
    op.drop_index("tasks_by_title", "tasks")
    _add_columns()
    _create_indexes()
    _create_trash()
    _create_triggers()


def downgrade() -> None:
    for function in ("tasks_before_write", "tasks_after_delete", "users_after_delete"):
        op.execute(f"DROP FUNCTION {function} CASCADE")
    op.drop_table("deleted_tasks")
    # The generated ones first.
    for column in (
        *("title_key", "due_at_desc", "due_at", "due_is_date", "priority", "tags"),
        *("completed_at", "changed_in"),
    ):
        op.drop_column("tasks", column)
    op.create_index("tasks_by_title", "tasks", ["user_id", "title", "id"])


def _add_columns() -> None:
    op.execute("ALTER TABLE tasks ADD COLUMN completed_at timestamptz")
    # In one statement, so that the table is rewritten once. USING fills completed_at for the tasks
    # that are completed already: unlike UPDATE it is not subject to row-level security and leaves
    # no dead rows.
    op.execute(
        """ALTER TABLE tasks
        ALTER COLUMN completed_at TYPE timestamptz USING CASE WHEN completed THEN updated_at END,
        -- Its collation is built into PostgreSQL 17 and later: the same order on every server.
        ADD COLUMN title_key text COLLATE "C"
            GENERATED ALWAYS AS (lower(title COLLATE pg_c_utf8)) STORED,
        ADD COLUMN priority smallint NOT NULL DEFAULT 0
            CONSTRAINT tasks_priority_check CHECK (priority BETWEEN 0 AND 4),
        ADD COLUMN due_at timestamptz NOT NULL DEFAULT 'infinity',
        ADD COLUMN due_at_desc timestamptz GENERATED ALWAYS AS
            (CASE WHEN due_at = 'infinity' THEN '-infinity' ELSE due_at END) STORED,
        ADD COLUMN due_is_date boolean NOT NULL DEFAULT false,
        ADD COLUMN tags text[] NOT NULL DEFAULT '{}',
        ADD COLUMN changed_in xid8 NOT NULL DEFAULT '0'"""
    )


def _create_indexes() -> None:
    for order in ("title_key", "due_at", "due_at_desc", "priority", "changed_in"):
        op.create_index(f"tasks_by_{order}", "tasks", ["user_id", order, "id"])
    op.create_index(
        "tasks_by_completed",
        "tasks",
        ["user_id", "completed", "created_at", "id"],
        postgresql_include=["priority", "due_at", "due_is_date"],
    )


def _create_trash() -> None:
    # A table of its own, so that no statement on `tasks`, of whatever version, can find its rows.
    op.execute("CREATE TABLE deleted_tasks (LIKE tasks, deleted_at timestamptz NOT NULL)")
    op.create_primary_key("deleted_tasks_pkey", "deleted_tasks", ["id"])
    op.create_index("deleted_tasks_by_changed_in", "deleted_tasks", ["user_id", "changed_in", "id"])
    op.create_index("deleted_tasks_by_deleted_at", "deleted_tasks", ["deleted_at"])
    op.execute("ALTER TABLE deleted_tasks ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE deleted_tasks FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY own_rows ON deleted_tasks USING {OWN_ROW} WITH CHECK {OWN_ROW}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON deleted_tasks TO {ROLE}")


def _create_triggers() -> None:
    op.execute(
        """CREATE FUNCTION tasks_before_write() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.changed_in := pg_current_xact_id();
            -- The previous version of the code completes and reopens tasks without this column.
            NEW.completed_at :=
                CASE WHEN NEW.completed THEN coalesce(NEW.completed_at, NEW.updated_at) END;
            RETURN NEW;
        END $$"""
    )
    op.execute(
        """CREATE TRIGGER before_write BEFORE INSERT OR UPDATE ON tasks
        FOR EACH ROW EXECUTE FUNCTION tasks_before_write()"""
    )
    # By name, whatever the order of the columns.
    op.execute(
        """CREATE FUNCTION tasks_after_delete() RETURNS trigger LANGUAGE plpgsql
        SET search_path FROM CURRENT AS $$
        DECLARE
            deleted_at timestamptz :=
                greatest(clock_timestamp(), OLD.updated_at + interval '1 microsecond');
        BEGIN
            INSERT INTO deleted_tasks
            SELECT (jsonb_populate_record(NULL::deleted_tasks, to_jsonb(OLD) || jsonb_build_object(
                'updated_at', deleted_at, 'deleted_at', deleted_at,
                'version', OLD.version + 1, 'changed_in', pg_current_xact_id()
            ))).*;
            RETURN NULL;
        END $$"""
    )
    # The deletion of a user cascades, one level deeper: then nothing goes to the trash.
    op.execute(
        """CREATE TRIGGER after_delete AFTER DELETE ON tasks
        FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION tasks_after_delete()"""
    )
    # In the place of a foreign key: release 0.1.0 provisions no user where a table that it does not
    # know refers to `users`. It fires after the cascade to `tasks`, because its name is later than
    # RI_ConstraintTrigger, so it also finds what another transaction moves to the trash meanwhile.
    op.execute(
        """CREATE FUNCTION users_after_delete() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path FROM CURRENT AS $$
        DECLARE
            previous text := coalesce(current_setting('app.user_id', true), '');
        BEGIN
            -- Row-level security applies to the owner too.
            PERFORM set_config('app.user_id', OLD.id, true);
            DELETE FROM deleted_tasks WHERE user_id = OLD.id;
            PERFORM set_config('app.user_id', previous, true);
            RETURN NULL;
        END $$"""
    )
    op.execute(
        """CREATE TRIGGER users_after_delete AFTER DELETE ON users
        FOR EACH ROW EXECUTE FUNCTION users_after_delete()"""
    )
