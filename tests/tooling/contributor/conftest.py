"""Fixtures of the tests that change a copy of the working tree."""

from pathlib import Path

import pytest

from tests.tooling.contributor.working_copy import WorkingCopy, copy_tree


@pytest.fixture
def copy(tmp_path: Path) -> WorkingCopy:
    """A copy of the working tree with the installed packages."""
    return copy_tree(tmp_path / "copy")
