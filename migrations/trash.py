"""Checks after the last revision that the trash keeps every column of a task."""

from sqlalchemy import Connection, text

from migrations.errors import MigrationError

_LACKING = text(
    """SELECT attname FROM pg_attribute AS task
    WHERE attrelid = to_regclass('tasks') AND attnum > 0 AND NOT attisdropped
        AND to_regclass('deleted_tasks') IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = to_regclass('deleted_tasks')
                AND attname = task.attname AND NOT attisdropped
        )
    ORDER BY attnum"""
)


def check_columns(connection: Connection) -> None:
    """Raise MigrationError if deleted_tasks lacks a column of tasks.

    The trigger after_delete copies the columns by name and leaves out what deleted_tasks lacks.
    """
    lacking = connection.scalars(_LACKING).all()
    if lacking:
        raise MigrationError(
            f"Nothing was migrated: deleted_tasks lacks {', '.join(lacking)} of tasks, so a task"
            " would lose it in the trash. Let the migration add it to both tables."
        )
