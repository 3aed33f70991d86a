"""Lets a revision read and change rows that row-level security hides from the tables' owner."""

from collections.abc import Generator
from contextlib import contextmanager

from alembic import op


@contextmanager
def all_rows(*tables: str) -> Generator[None]:
    """Give the owner's statements access to every row of `tables` in the `with` block.

    FORCE ROW LEVEL SECURITY applies to the owner too. The runner sets `row_security = off`, so
    outside this block a statement on such a table raises InsufficientPrivilege instead of changing
    0 rows, unless the role is a superuser or has BYPASSRLS.

    ALTER TABLE locks the tables until the transaction ends: requests wait as long as the backfill
    takes. Raises RuntimeError in an autocommit block, where other sessions would see the change.
    """
    driver_connection = op.get_bind().connection.driver_connection
    if driver_connection is None or driver_connection.autocommit:
        raise RuntimeError("all_rows needs a transaction: use it outside autocommit_block().")
    for table in tables:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    # After an error the transaction rolls back, which restores FORCE.
    yield
    for table in tables:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
