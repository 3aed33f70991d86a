"""Reads the functions and routes of serverless.yml without running the deploy tool."""

from pathlib import Path

import yaml

from tests.platforms.aws.gateway import Route
from tests.platforms.aws.sandbox import Function

SERVERLESS_YML = Path(__file__).resolve().parents[3] / "serverless.yml"


class CloudFormationLoader(yaml.SafeLoader):
    """Reads CloudFormation's short forms (`!Ref X`) as plain strings; nothing evaluates them."""


CloudFormationLoader.add_multi_constructor(
    "!", lambda loader, suffix, node: f"!{suffix} {node.value}"
)


def read_functions() -> dict[str, Function]:
    stack = read_stack()
    return {
        name: Function(
            name=name,
            handler=settings["handler"],
            timeout=settings.get("timeout", stack["provider"]["timeout"]),
            memory=settings.get("memorySize", stack["provider"]["memorySize"]),
        )
        for name, settings in stack["functions"].items()
    }


def read_routes() -> list[Route]:
    return [
        Route("$default" if event["httpApi"] == "*" else event["httpApi"], name)
        for name, settings in read_stack()["functions"].items()
        for event in settings.get("events", [])
        if "httpApi" in event
    ]


def read_stack() -> dict:
    # CloudFormationLoader is a SafeLoader: it creates plain values only.
    return yaml.load(SERVERLESS_YML.read_text(), Loader=CloudFormationLoader)  # noqa: S506
