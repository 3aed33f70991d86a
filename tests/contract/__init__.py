"""Tests of the HTTP contract, which use only HTTP and run against any target."""

import pytest

pytest.register_assert_rewrite("tests.contract.responses", "tests.contract.users")
