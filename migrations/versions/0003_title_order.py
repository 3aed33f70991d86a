"""An index for lists by title without regard to case.

Its collation is built into PostgreSQL 17 and later, and orders alike on every server. The index
tasks_by_title stays for the previous version of the code.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"


def upgrade() -> None:
    title = sa.text('lower(title COLLATE pg_c_utf8) COLLATE "C"')
    op.create_index("tasks_by_title_without_case", "tasks", ["user_id", title, "id"])


def downgrade() -> None:
    op.drop_index("tasks_by_title_without_case", "tasks")
