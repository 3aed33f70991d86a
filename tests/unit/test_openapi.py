"""Parts of the OpenAPI document that its generator decides."""

import tomllib
from pathlib import Path

from dev.openapi import document

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert document()["info"]["version"] == project["version"]


def test_the_users_token_and_the_tasks_come_first() -> None:
    spec = document()
    assert next(iter(spec["components"]["securitySchemes"])) == "bearer"
    assert spec["tags"][0]["name"] == "tasks"


def test_every_tag_of_an_operation_is_declared() -> None:
    spec = document()
    used = {
        tag for path in spec["paths"].values() for each in path.values() for tag in each["tags"]
    }
    assert used == {tag["name"] for tag in spec["tags"]}
