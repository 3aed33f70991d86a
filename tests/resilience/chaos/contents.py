"""Reads from the database what it contains after a run, and every state that its tasks have had."""

from datetime import UTC, datetime
from typing import Any

from dev.local_database import ROLE
from tests.resilience.chaos.ledger import Contents, Row, State
from tests.support.databases import Database

# Records every state of a task: responses name states, and the last state alone does not show which
# changes came before it. `number` is given when a state is written, not when it is committed.
RECORD_HISTORY = f"""
CREATE TABLE history (
    number bigint GENERATED ALWAYS AS IDENTITY, deleted boolean, task jsonb NOT NULL
);
INSERT INTO history (deleted, task) SELECT false, to_jsonb(tasks) FROM tasks;
CREATE FUNCTION record_state() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO history (deleted, task) VALUES (TG_TABLE_NAME = 'deleted_tasks', to_jsonb(NEW));
    RETURN NULL;
END $$;
CREATE TRIGGER record_insert AFTER INSERT ON tasks
FOR EACH ROW EXECUTE FUNCTION record_state();
CREATE TRIGGER record_update AFTER UPDATE ON tasks
FOR EACH ROW WHEN (NEW.* IS DISTINCT FROM OLD.*) EXECUTE FUNCTION record_state();
CREATE TRIGGER record_deletion AFTER INSERT OR UPDATE ON deleted_tasks
FOR EACH ROW EXECUTE FUNCTION record_state();
GRANT SELECT ON history TO {ROLE};
"""  # noqa: S608 - our own name
PRIORITIES = (None, "low", "medium", "high", "urgent")


def document(row: dict[str, Any]) -> dict[str, Any]:
    """The JSON that clients get for a row, as to_jsonb gives it."""
    shown = ("id", "user_id", "title", "description", "completed")
    return {
        **{name: row[name] for name in shown},
        "priority": PRIORITIES[row["priority"]],
        "due_date": _due_date(row),
        "tags": row["tags"],
        **{name: _timestamp(row[name]) for name in ("completed_at", "created_at", "updated_at")},
    }


def _timestamp(value: str | None) -> str | None:
    if value is None:
        return None
    instant = datetime.fromisoformat(value).astimezone(UTC)
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _due_date(row: dict[str, Any]) -> str | None:
    instant = None if row["due_at"] == "infinity" else _timestamp(row["due_at"])
    return instant[:10] if instant and row["due_is_date"] else instant


def read_contents(database: Database) -> Contents:
    rows = database.query("SELECT false, to_jsonb(tasks) FROM tasks")
    rows += database.query("SELECT true, to_jsonb(deleted_tasks) FROM deleted_tasks")
    keys = database.query("SELECT key, task_id, task FROM idempotency_keys")
    history = database.query("SELECT deleted, task FROM history ORDER BY number")
    return Contents(
        [_row(row, deleted=deleted) for deleted, row in rows],
        [(key, task_id) for key, task_id, _ in keys],
        [_state(row, deleted=deleted) for deleted, row in history],
        {task_id: text for _, task_id, text in keys if text},
    )


def _row(row: dict[str, Any], *, deleted: bool) -> Row:
    place = "live"
    if deleted:
        place = "erased" if row["purged_at"] else "trashed"
    return Row(place, row["version"], document(row))


def _state(row: dict[str, Any], *, deleted: bool) -> State:
    return State(row["version"], deleted, document(row))
