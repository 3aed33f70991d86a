"""The HTTP contract in executable form: speaks only HTTP, to any target."""

import pytest

pytest.register_assert_rewrite("tests.contract.answers", "tests.contract.caller")
