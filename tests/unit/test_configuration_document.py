"""docs/configuration.md describes every variable that lib.settings reads, and no other."""

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from lib.settings import Settings
from lib.settings.settings import PLATFORM_VARIABLES

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
VARIABLES, _, REST = PAGE.partition("\n## Set by the platform\n")
PLATFORM, _, AWS = REST.partition("\n## ")
ROW = re.compile(r"^\| `([A-Z_]+)` \|(?: ([^|]*) \|)?", re.MULTILINE)


def names(section: str) -> list[str]:
    return [name for name, _ in ROW.findall(section)]


def test_every_field_of_the_settings_is_in_one_of_the_tables() -> None:
    assert PLATFORM
    assert sorted(names(VARIABLES) + names(PLATFORM)) == sorted(Settings.model_fields)


def test_the_platform_table_lists_only_variables_of_platforms() -> None:
    assert all(name.startswith(("VERCEL", "AWS_LAMBDA_")) for name in names(PLATFORM))


def test_the_page_lists_the_variables_that_mean_a_platform() -> None:
    _, _, rest = PAGE.partition("recognized by one of these variables:")
    listed = rest.partition(".")[0]
    assert re.findall(r"`([A-Z0-9_]+)`", listed) == list(PLATFORM_VARIABLES)


def test_the_table_names_the_defaults_of_the_settings() -> None:
    documented = dict(ROW.findall(VARIABLES))
    for name, cell in documented.items():
        default = Settings.model_fields[name].default
        assert default is not PydanticUndefined
        if default is None or default == []:
            assert "`" not in cell, name
        else:
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            assert cell == f"`{shown}`", name
