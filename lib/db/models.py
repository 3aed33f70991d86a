"""The tables, as SQLModel classes.

Migrations and queries.py use them. Deployed functions do not import this module: they run the SQL
in compiled.py.
"""

from datetime import datetime

from sqlalchemy import LargeBinary, SmallInteger, Table, Uuid
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType
from sqlmodel import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Field,
    ForeignKey,
    Identity,
    Index,
    SQLModel,
    Text,
    func,
    text,
)


class TransactionId(UserDefinedType):
    """PostgreSQL's type of transaction ids, which do not wrap around."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


class Snapshot(UserDefinedType):
    """PostgreSQL's type of snapshots: which transactions were visible at a moment."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "pg_snapshot"


# SQLAlchemy uses it when it reads the columns of an existing table.
ischema_names["xid8"] = TransactionId  # ty: ignore[invalid-assignment]


def owned_tables() -> list[Table]:
    """The tables whose rows belong to users, those with a column `user_id`.

    Each needs row-level security, the policy `own_rows`, and privileges on it and its sequences.
    Migrations and readiness check them.
    """
    return [table for table in SQLModel.metadata.tables.values() if "user_id" in table.columns]


def read_only_tables() -> list[Table]:
    """The other tables, which requests only read. Better Auth owns `users`."""
    owned = {"users", *(table.name for table in owned_tables())}
    return [table for name, table in SQLModel.metadata.tables.items() if name not in owned]


def _timestamp(name: str) -> Column:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


class User(SQLModel, table=True):
    """The table that Better Auth creates with `user: { modelName: "users" }`, column by column.

    Better Auth or the migrations may create it first; both expect the same table.
    https://www.better-auth.com/docs/concepts/database
    """

    __tablename__ = "users"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    email: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    email_verified: bool = Field(
        sa_column=Column("emailVerified", Boolean, nullable=False, server_default=text("false"))
    )
    image: str | None = Field(sa_column=Column(Text))
    created_at: datetime = Field(sa_column=_timestamp("createdAt"))
    updated_at: datetime = Field(sa_column=_timestamp("updatedAt"))


def _user_id(*, primary_key: bool = False) -> Column:
    owner = ForeignKey("users.id", ondelete="CASCADE")
    return Column(Text, owner, nullable=False, primary_key=primary_key)


class Task(SQLModel, table=True):
    """A task. `version` counts its changes."""

    __tablename__ = "tasks"
    # One index for each order of a list. Each is read in both directions and ends in the id, so
    # that no page needs a sort. tasks_by_completed also holds what statistics count.
    __table_args__ = (
        Index("tasks_by_created_at", "user_id", "created_at", "id"),
        Index("tasks_by_updated_at", "user_id", "updated_at", "id"),
        Index("tasks_by_title_key", "user_id", "title_key", "id"),
        Index("tasks_by_due_at", "user_id", "due_at", "id"),
        Index("tasks_by_due_at_desc", "user_id", "due_at_desc", "id"),
        Index("tasks_by_priority", "user_id", "priority", "id"),
        Index("tasks_by_changed_in", "user_id", "changed_in", "id"),
        Index(
            "tasks_by_completed",
            *("user_id", "completed", "created_at", "id"),
            postgresql_include=["priority", "due_at", "due_is_date"],
        ),
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    user_id: str = Field(sa_column=_user_id())
    # "C" compares code points: the same order on every server and after every upgrade.
    title: str = Field(sa_column=Column(Text(collation="C"), nullable=False))
    description: str | None = Field(sa_column=Column(Text))
    completed: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    # The position of the priority in lib.schemas.PRIORITIES, from 1; 0 is none.
    priority: int = Field(sa_column=Column(SmallInteger, nullable=False, server_default=text("0")))
    # The instant that is due, for a date its midnight UTC; 'infinity' without a due date.
    due_at: datetime = Field(
        sa_column=Column(
            DateTime(timezone=True), nullable=False, server_default=text("'infinity'::timestamptz")
        )
    )
    # The same with '-infinity', so that tasks without a due date come last in this order too. It
    # is a column for the same reason as title_key.
    due_at_desc: datetime = Field(
        sa_column=Column(
            DateTime(timezone=True),
            Computed(
                "CASE WHEN due_at = 'infinity' THEN '-infinity' ELSE due_at END", persisted=True
            ),
        )
    )
    due_is_date: bool = Field(
        sa_column=Column(Boolean, nullable=False, server_default=text("false"))
    )
    tags: list[str] = Field(
        sa_column=Column(ARRAY(Text), nullable=False, server_default=text("'{}'"))
    )
    # When it was last completed, null while it is open: see the trigger before_write.
    completed_at: datetime | None = Field(sa_column=Column(DateTime(timezone=True)))
    # The title in lower case, by rules that are built into PostgreSQL 17 and later. It is a column
    # because row-level security keeps conditions on lower(title) out of indexes.
    title_key: str = Field(
        sa_column=Column(
            Text(collation="C"), Computed("lower(title COLLATE pg_c_utf8)", persisted=True)
        )
    )
    created_at: datetime = Field(sa_column=_timestamp("created_at"))
    updated_at: datetime = Field(sa_column=_timestamp("updated_at"))
    version: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("1")))
    # The transaction of the last change: see the trigger before_write.
    changed_in: str = Field(
        sa_column=Column(TransactionId, nullable=False, server_default=text("'0'"))
    )


# The trash, which the trigger after_delete fills: the columns of a task, and when it was deleted.
# When a user is deleted, the trigger users_after_delete empties it. With a foreign key, the
# previous release would add no users.
DELETED_TASKS = Table(
    "deleted_tasks",
    SQLModel.metadata,
    *(
        Column(each.name, each.type, primary_key=each.primary_key, nullable=each.nullable)
        for each in SQLModel.metadata.tables["tasks"].columns
    ),
    Column("deleted_at", DateTime(timezone=True), nullable=False),
    # When the text was erased. The id is kept for clients that follow the changes.
    Column("purged_at", DateTime(timezone=True)),
    Index("deleted_tasks_by_changed_in", "user_id", "changed_in", "id"),
    Index("deleted_tasks_to_purge", "deleted_at", postgresql_where=text("purged_at IS NULL")),
    Index("deleted_tasks_to_remove", "deleted_at", postgresql_where=text("purged_at IS NOT NULL")),
)


class IdempotencyKey(SQLModel, table=True):
    """A used idempotency key: a digest of its request, and the response for repeated requests."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        Index("idempotency_keys_by_age", "user_id", "created_at"),
        Index("idempotency_keys_by_task", "user_id", "task_id"),
        Index("idempotency_keys_by_created_at", "created_at"),
    )

    user_id: str = Field(sa_column=_user_id(primary_key=True))
    key: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    request_hash: str = Field(sa_column=Column(Text, nullable=False))
    task: str = Field(sa_column=Column(Text, nullable=False))
    task_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(sa_column=_timestamp("created_at"))


# One row, which identifies the history of the database. A restore begins another one.
DATABASE_HISTORY = Table(
    "database_history",
    SQLModel.metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("began_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# When users were erased, by a digest of their ids: for clients that knew their tasks.
ERASED_USERS = Table(
    "erased_users",
    SQLModel.metadata,
    Column("user_hash", LargeBinary, primary_key=True),
    Column(
        "changed_in",
        TransactionId,
        primary_key=True,
        server_default=text("pg_current_xact_id()"),
    ),
    Column("erased_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("erased_users_by_erased_at", "erased_at"),
)
