"""Revokes the right to read `users`, which no statement needs, and grants the schema."""

from alembic import op

revision = "0002"
down_revision = "0001"

ROLE = "task_api"


def upgrade() -> None:
    # INSERT ... ON CONFLICT DO NOTHING without a conflict target reads no column, and a foreign
    # key is checked with the rights of the tables' owners.
    op.execute(f"REVOKE SELECT (id, email) ON users FROM {ROLE}")
    # PUBLIC has this right unless an administrator has revoked it.
    op.execute(
        f"""DO $$ BEGIN
            IF NOT has_schema_privilege('{ROLE}', current_schema(), 'USAGE') THEN
                EXECUTE format('GRANT USAGE ON SCHEMA %I TO {ROLE}', current_schema());
            END IF;
        END $$"""
    )


def downgrade() -> None:
    op.execute(f"GRANT SELECT (id, email) ON users TO {ROLE}")
