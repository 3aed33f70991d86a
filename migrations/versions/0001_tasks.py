"""Tasks, idempotency keys, and the users they belong to; row-level security on what is ours."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Whoever serves requests is a member of this role and owns nothing: see docs/database.md.
ROLE = "task_api"
OURS = ("tasks", "idempotency_keys")


def upgrade() -> None:
    inspector = sa.inspect(op.get_bind())
    if inspector.has_table("users"):
        _refuse_foreign_ids(inspector)
    else:
        _create_users()
    _create_tasks()
    _create_idempotency_keys()
    _secure()


def downgrade() -> None:
    # The users stay: they are Better Auth's as well.
    op.drop_table("idempotency_keys")
    op.drop_table("tasks")


def _refuse_foreign_ids(inspector: sa.Inspector) -> None:
    [id_type] = [c["type"] for c in inspector.get_columns("users") if c["name"] == "id"]
    if not isinstance(id_type, sa.String):
        raise SystemExit(
            f"The table users has an id of type {id_type}, and tasks refer to text ids: configure"
            " Better Auth without generateId 'uuid' or 'serial' (docs/better-auth.md)."
        )


def _moment(name: str) -> sa.Column:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=False,
        server_default=sa.text("CURRENT_TIMESTAMP"),
    )


def _create_users() -> None:
    # Column for column what Better Auth makes with user: { modelName: "users" }.
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("emailVerified", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("image", sa.Text),
        _moment("createdAt"),
        _moment("updatedAt"),
        sa.UniqueConstraint("email", name="users_email_key"),
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("title", sa.Text(collation="C"), nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("completed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        _moment("created_at"),
        _moment("updated_at"),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1")),
    )
    for order in ("created_at", "updated_at", "title"):
        op.create_index(f"tasks_by_{order}", "tasks", ["user_id", order, "id"])


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("key", sa.Text(collation="C")),
        sa.Column("request_hash", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("task_id", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        _moment("created_at"),
        sa.PrimaryKeyConstraint("user_id", "key"),
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["user_id", "created_at"])


def _secure() -> None:
    for table in OURS:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        # FORCE: the owner of a table is exempt otherwise, and small deployments serve as owner.
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY own_rows ON {table}"
            # As a subquery it is evaluated once a statement, and the indexes stay in use.
            " USING (user_id = (SELECT current_setting('app.user_id', true)))"
            " WITH CHECK (user_id = (SELECT current_setting('app.user_id', true)))"
        )
    # Roles belong to the whole server: another database of it may have made this one already.
    op.execute(
        f"DO $$ BEGIN CREATE ROLE {ROLE} NOLOGIN;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON tasks, idempotency_keys TO {ROLE}")
    # An idempotent create draws the id itself, since its record holds it.
    op.execute(f"GRANT USAGE ON SEQUENCE tasks_id_seq TO {ROLE}")
    # INSERT ... ON CONFLICT DO NOTHING reads the key; foreign keys need no grant.
    op.execute(
        f'GRANT INSERT (id, name, email, "emailVerified"), SELECT (id, email) ON users TO {ROLE}'
    )
