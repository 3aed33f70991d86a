"""What these tests share: copies of the working tree."""

from pathlib import Path

import pytest

from tests.tooling.contributor.working_copy import WorkingCopy, copy_tree


@pytest.fixture
def copy(tmp_path: Path) -> WorkingCopy:
    """A copy of the working tree, to change and break."""
    return copy_tree(tmp_path / "copy")
