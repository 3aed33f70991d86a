"""A pytest plugin that marks the contract tests which a target is known to fail.

Use it with pytest -p tests.support.targets.deviations.

DEVIATIONS of a target maps patterns of test names to reasons. These tests are expected to fail: if
one passes, the run fails until its entry is removed. Tests in NOT_RUN are skipped, because they
take minutes to fail, or fail only sometimes.
"""

import importlib
import re

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test that the target of this run is known to fail."""
    target = importlib.import_module(f"tests.support.targets.{config.getoption('--target')}")
    for item in items:
        for name, run in (("DEVIATIONS", True), ("NOT_RUN", False)):
            for pattern, reason in getattr(target, name, {}).items():
                if re.fullmatch(pattern, item.name):
                    item.add_marker(pytest.mark.xfail(reason=reason, run=run, strict=True))
