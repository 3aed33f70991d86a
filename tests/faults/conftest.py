"""Fixtures of the fault tests; markers that they use."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.conftest import StartApi
from tests.databases import Cluster
from tests.faults.lab import Lab, laboratory


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "verify: needs more than Python packages")


@pytest.fixture
def lab(cluster: Cluster) -> Generator[Lab]:
    """Without a pooler."""
    with laboratory(cluster) as lab:
        yield lab
