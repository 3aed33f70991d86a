"""Creates `tasks` and `idempotency_keys` with row-level security, and `users` where it is missing.

Released: databases exist at this revision, so a change of the schema needs a new one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# The role that serves requests is a member of this one and owns nothing: see docs/database.md.
ROLE = "task_api"
TABLES = ("tasks", "idempotency_keys")


def upgrade() -> None:
    if not sa.inspect(op.get_bind()).has_table("users"):
        _create_users()
    _create_tasks()
    _create_idempotency_keys()
    _enable_row_level_security()
    _create_role()
    _grant_privileges()


def downgrade() -> None:
    # `users` stays: Better Auth uses it too.
    op.drop_table("idempotency_keys")
    op.drop_table("tasks")


def _timestamp(name: str) -> sa.Column:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=False,
        server_default=sa.text("CURRENT_TIMESTAMP"),
    )


def _create_users() -> None:
    # Column for column what Better Auth creates with user: { modelName: "users" }.
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("emailVerified", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("image", sa.Text),
        _timestamp("createdAt"),
        _timestamp("updatedAt"),
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
        _timestamp("created_at"),
        _timestamp("updated_at"),
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
        _timestamp("created_at"),
        sa.PrimaryKeyConstraint("user_id", "key"),
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["user_id", "created_at"])


def _enable_row_level_security() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        # Without FORCE the owner of a table is exempt, and small deployments serve as owner.
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY own_rows ON {table}"
            # As a subquery it is evaluated once per statement, and the indexes stay usable.
            " USING (user_id = (SELECT current_setting('app.user_id', true)))"
            " WITH CHECK (user_id = (SELECT current_setting('app.user_id', true)))"
        )


def _create_role() -> None:
    # Roles belong to the whole server: a migration of another database may have created it, or
    # creates it at this moment. CREATE ROLE alone needs CREATEROLE even where the role exists.
    op.execute(
        f"""DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
                CREATE ROLE {ROLE} NOLOGIN;
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END $$"""
    )


def _grant_privileges() -> None:
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON tasks, idempotency_keys TO {ROLE}")
    # A create with an Idempotency-Key draws the id itself, because its record holds it.
    op.execute(f"GRANT USAGE ON SEQUENCE tasks_id_seq TO {ROLE}")
    # Revision 0002 revokes SELECT, which proved to be unnecessary.
    op.execute(
        f'GRANT INSERT (id, name, email, "emailVerified"), SELECT (id, email) ON users TO {ROLE}'
    )
