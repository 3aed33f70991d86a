"""The tables, with SQLModel: the source of migrations and statements, imported by no function at
run time.
"""

from datetime import datetime

from sqlmodel import (
    BigInteger,
    Boolean,
    Column,
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

from lib import schemas as models


def _moment(name: str) -> Column:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


class User(SQLModel, table=True):
    """The table that Better Auth makes with `user: { modelName: "users" }`, column by column.

    Whoever comes first makes it, the other finds it as expected:
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
    created_at: datetime = Field(sa_column=_moment("createdAt"))
    updated_at: datetime = Field(sa_column=_moment("updatedAt"))


def _owner(*, primary_key: bool = False) -> Column:
    owner = ForeignKey("users.id", ondelete="CASCADE")
    return Column(Text, owner, nullable=False, primary_key=primary_key)


class Task(models.Task, SQLModel, table=True):
    """A task; `version` counts its changes and is its ETag."""

    __tablename__ = "tasks"
    # One index per list order; each is read in both directions, and ends in id, so no page sorts.
    __table_args__ = (
        Index("tasks_by_created_at", "user_id", "created_at", "id"),
        Index("tasks_by_updated_at", "user_id", "updated_at", "id"),
        Index("tasks_by_title", "user_id", "title", "id"),
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(), primary_key=True))
    user_id: str = Field(sa_column=_owner())
    # Collated by code point: the same order on every server, and across its upgrades.
    title: str = Field(sa_column=Column(Text(collation="C"), nullable=False))
    description: str | None = Field(sa_column=Column(Text))
    completed: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    created_at: datetime = Field(sa_column=_moment("created_at"))
    updated_at: datetime = Field(sa_column=_moment("updated_at"))
    version: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=text("1")))


class IdempotencyKey(SQLModel, table=True):
    """What was asked under a key and the answer, so that a repeat is answered alike."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_by_age", "user_id", "created_at"),)

    user_id: str = Field(sa_column=_owner(primary_key=True))
    key: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    request_hash: str = Field(sa_column=Column(Text, nullable=False))
    task: str = Field(sa_column=Column(Text, nullable=False))
    task_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(sa_column=_moment("created_at"))
