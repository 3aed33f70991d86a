"""Fixtures that run our functions in sandboxes, and that read tests/platforms/aws/events."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.contract.users import claims_of, mint
from tests.platforms.aws.artifact import arm64_artifact, lambda_runtime, unpacked_artifact
from tests.platforms.aws.sandbox import Function, Sandbox, running_sandbox
from tests.platforms.aws.stack import read_functions

EVENTS = Path(__file__).with_name("events")
FUNCTIONS = Path(__file__).with_name("functions")

type Event = dict[str, Any]
type ReadEvent = Callable[..., Event]


def event_names(pattern: str = "*") -> list[str]:
    """Return the names of the events that match, without their suffix."""
    return sorted(path.stem for path in EVENTS.glob(f"{pattern}.json"))


@pytest.fixture(scope="session")
def artifact() -> Path:
    """The zip for arm64, where serverless.yml looks for it."""
    return arm64_artifact()


@pytest.fixture
def read_event(environment: dict[str, str]) -> ReadEvent:
    """Reads an event with the token of `user` and the id of `task` filled in."""

    def read(name: str, user: str = "nobody", task: int = 1) -> Event:
        text = (EVENTS / f"{name}.json").read_text()
        token = mint(environment["BETTER_AUTH_SECRET"], **claims_of(user))
        replaced = {"USER": user, "TOKEN": token}
        for word, value in replaced.items():
            text = text.replace(word, value)
        # Only as a path segment: these two letters also occur in words.
        return json.loads(text.replace("tasks/ID", f"tasks/{task}").replace('"ID', f'"{task}'))

    return read


@pytest.fixture(scope="session")
def deployed(environment: dict[str, str]) -> Iterator[dict[str, Sandbox]]:
    """One sandbox for each function of serverless.yml, in the environment of the tested API."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(running_sandbox(function, environment))
            for name, function in read_functions().items()
        }


type StartEcho = Callable[..., Sandbox]


@pytest.fixture(scope="session")
def start_echo() -> Iterator[StartEcho]:
    """Starts a sandbox with tests/platforms/aws/functions/echo.py."""
    with ExitStack() as stack:

        def start(environment: Mapping[str, str] | None = None, timeout: int = 10) -> Sandbox:
            function = Function("echo", "echo.lambda_handler", timeout=timeout)
            path = f"{FUNCTIONS}:{unpacked_artifact()}:{lambda_runtime()}"
            variables = {"PYTHONPATH": path, **(environment or {})}
            return stack.enter_context(running_sandbox(function, variables))

        yield start


@pytest.fixture(scope="session")
def echo(start_echo: StartEcho) -> Sandbox:
    """One sandbox with the echo function."""
    return start_echo()
