"""`make sql` refuses what would compile and then return the wrong tasks."""

import pytest

from dev import compile_statements
from dev.compile_statements import NullableOrder
from lib.db import queries
from lib.db.queries import Order


def test_an_order_by_a_nullable_column_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(queries.ORDERS, "title asc", Order("description", descending=False))
    with pytest.raises(NullableOrder, match="'title asc' is by description, which may be null"):
        compile_statements.generate()
