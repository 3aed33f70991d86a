"""CONTRIBUTING.md's new field of tasks passes the checks, and requests store and filter it."""

from tests.tooling.contributor.working_copy import (
    INSTALLED,
    WorkingCopy,
    apply_blocks,
    contributing_section,
)

RECIPE = contributing_section("Add a field to tasks")
# The tests that a new field can break; all of `make test` takes minutes.
ITS_TESTS = (
    "tests/contract/test_estimate.py tests/contract/test_fields.py "
    "tests/contract/test_mcp_tools.py tests/unit/test_mcp_document.py "
    "tests/unit/test_earlier_records.py tests/integrations/smoke/test_run.py "
    "tests/integrations/migrations/test_migrations.py"
)
GENERATED = {"lib/db/compiled.py", "lib/static/openapi.json"}


def test_the_steps_result_in_a_field_that_is_stored_and_filtered(copy: WorkingCopy) -> None:
    apply_blocks(copy, RECIPE, PYTEST_ADDOPTS=ITS_TESTS)
    touched = set(copy.run("git", "diff", "--name-only").split())
    touched |= set(copy.run("git", "ls-files", "--others", "--exclude-standard").split())
    touched -= set(INSTALLED)
    assert touched >= GENERATED
    written = touched - GENERATED
    # The table of the recipe names them.
    assert all(f"`{name}`" in RECIPE for name in touched), touched
    assert len(written) == 8, written
