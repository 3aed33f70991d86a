"""The tables, as SQLModel classes.

Migrations and queries.py use them. Deployed functions do not import this module: they run the SQL
in compiled.py.
"""

from datetime import datetime

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

from lib import schemas


def _timestamp(name: str) -> Column:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


class User(SQLModel, table=True):
    """The table that Better Auth creates with `user: { modelName: "users" }`, column by column.

    Either side may create it first: the other finds the table it expects.
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


class Task(schemas.Task, SQLModel, table=True):
    """A task. `version` counts its changes."""

    __tablename__ = "tasks"
    # One index for each order of a list. Each is read in both directions and ends in the id, so
    # that no page needs a sort.
    __table_args__ = (
        Index("tasks_by_created_at", "user_id", "created_at", "id"),
        Index("tasks_by_updated_at", "user_id", "updated_at", "id"),
        Index("tasks_by_title", "user_id", "title", "id"),
        Index("tasks_by_title_key", "user_id", "title_key", "id"),
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    user_id: str = Field(sa_column=_user_id())
    # "C" compares code points: the same order on every server and after every upgrade.
    title: str = Field(sa_column=Column(Text(collation="C"), nullable=False))
    description: str | None = Field(sa_column=Column(Text))
    completed: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
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


class IdempotencyKey(SQLModel, table=True):
    """A used idempotency key: a digest of its request, and the response for repeated requests."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_by_age", "user_id", "created_at"),)

    user_id: str = Field(sa_column=_user_id(primary_key=True))
    key: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    request_hash: str = Field(sa_column=Column(Text, nullable=False))
    task: str = Field(sa_column=Column(Text, nullable=False))
    task_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(sa_column=_timestamp("created_at"))
