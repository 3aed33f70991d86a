"""What restoring, erasing and following tasks need."""

from alembic import op

revision = "0004"
down_revision = "0003"

ROLE = "task_api"


def upgrade() -> None:
    # Null while the text is kept. The row remains after that, because clients that follow the
    # changes need the id.
    op.execute("ALTER TABLE deleted_tasks ADD COLUMN purged_at timestamptz")
    # Erasing a task erases its text in the records of idempotency keys too.
    op.create_index("idempotency_keys_by_task", "idempotency_keys", ["user_id", "task_id"])
    _create_history()


def downgrade() -> None:
    op.drop_table("database_history")
    op.drop_index("idempotency_keys_by_task", "idempotency_keys")
    op.drop_column("deleted_tasks", "purged_at")


def _create_history() -> None:
    # One row. Transaction ids repeat after a restore, so each token of changes names this id too.
    op.execute(
        """CREATE TABLE database_history (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            began_at timestamptz NOT NULL DEFAULT now()
        )"""
    )
    op.execute("INSERT INTO database_history DEFAULT VALUES")
    op.execute(f"GRANT SELECT ON database_history TO {ROLE}")
