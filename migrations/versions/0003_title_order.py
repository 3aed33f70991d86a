"""The title in lower case, for lists by title without regard to case.

Its collation is built into PostgreSQL 17 and later, and orders alike on every server. Adding the
column rewrites the table. The index tasks_by_title stays for the previous version of the code.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    lower_case = sa.Computed("lower(title COLLATE pg_c_utf8)", persisted=True)
    op.add_column("tasks", sa.Column("title_key", sa.Text(collation="C"), lower_case))
    op.create_index("tasks_by_title_key", "tasks", ["user_id", "title_key", "id"])


def downgrade() -> None:
    op.drop_column("tasks", "title_key")
