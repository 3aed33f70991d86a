"""Marks the contract tests that a target fails by its nature.

Use it with pytest -p tests.support.targets.deviations.

A target lists them in DEVIATIONS, as patterns of test names with the reason. Such a test must fail:
one that passes is no deviation any more, and fails the run until the entry is gone. Only those in
NOT_RUN are left out, because they would take minutes to fail, or fail only sometimes.
"""

import importlib
import re

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each item that the target of this run is known to fail."""
    target = importlib.import_module(f"tests.support.targets.{config.getoption('--target')}")
    for item in items:
        for name, run in (("DEVIATIONS", True), ("NOT_RUN", False)):
            for pattern, reason in getattr(target, name, {}).items():
                if re.fullmatch(pattern, item.name):
                    item.add_marker(pytest.mark.xfail(reason=reason, run=run, strict=True))
