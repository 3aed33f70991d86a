"""Markers of the fault tests."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "verify: needs more than Python packages")
