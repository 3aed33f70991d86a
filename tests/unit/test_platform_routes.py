"""Both platforms pass each request of the OpenAPI document to the function that has its route."""

import json
import re
from collections.abc import Iterator

import pytest
from starlette.routing import Match, Route

from dev.app import GROUPS
from dev.openapi import document
from dev.serve import ROOT
from tests.platforms.aws.gateway import find_route
from tests.platforms.aws.stack import read_routes

FUNCTIONS = {group.__name__.rpartition(".")[2]: group.app for group in GROUPS}
AWS_ROUTES = read_routes()
REWRITES = json.loads((ROOT / "vercel.json").read_text())["rewrites"]


def requests() -> Iterator[tuple[str, str]]:
    """The method and a path of each operation, also of those that the document leaves out."""
    for path, operations in document()["paths"].items():
        yield from ((method.upper(), path) for method in operations)
    for app in FUNCTIONS.values():
        for route in app.router.routes:
            if isinstance(route, Route):
                for user in ("", "/{user_id}"):
                    path = route.path.replace("{user_id:optional_user}", user)
                    yield from ((method, path) for method in route.methods or ())


REQUESTS = sorted({(method, re.sub(r"\{[^}]+\}", "7", path)) for method, path in requests()})


def function_with_route(method: str, path: str) -> str | None:
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    for name, app in FUNCTIONS.items():
        if any(route.matches(scope)[0] is Match.FULL for route in app.router.routes):
            return name
    return None


def function_on_vercel(path: str) -> str:
    """A file comes before the rewrites, of which the first one that matches counts."""
    if (name := path.removeprefix("/api/")) in FUNCTIONS:
        return name
    matching = (
        each for each in REWRITES if re.fullmatch(each["source"].replace(".json", r"\.json"), path)
    )
    return next(matching)["destination"].removeprefix("/api/")


def function_on_aws(method: str, path: str) -> str | None:
    found = find_route(AWS_ROUTES, method, path)
    return found[0].function if found else None


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_a_request_reaches_the_function_that_has_its_route(method: str, path: str) -> None:
    function = function_with_route(method, path)
    assert function
    assert function_on_vercel(path) == function, "add the path to the rewrites of vercel.json"
    on_aws = function_on_aws(method, path)
    assert on_aws == function, "add the path to the httpApi events of serverless.yml"
