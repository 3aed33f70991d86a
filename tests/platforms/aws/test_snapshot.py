"""SnapStart: what a snapshot contains, and what is created anew after a restore."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.contract.users import claims_of, mint
from tests.platforms.aws.artifact import lambda_runtime, unpacked_artifact
from tests.platforms.aws.conftest import FUNCTIONS, ReadEvent
from tests.platforms.aws.sandbox import Function
from tests.platforms.aws.snapshot import FrozenFunction, RuntimeFailed, frozen_function
from tests.platforms.aws.stack import read_functions
from tests.support.databases import Database

OLD = "the-secret-before-the-rotation-0123456789"
NEW = "the-secret-after-the-rotation-98765432100"

type Freeze = Callable[..., FrozenFunction]


@pytest.fixture
def parameters() -> Iterator[Any]:
    """A client of an emulated SSM."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "ssm",
        endpoint_url=f"http://{host}:{port}",
        region_name="eu-central-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    yield client
    client.close()
    server.stop()


def put(parameters: Any, name: str, value: str) -> None:
    parameters.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


@pytest.fixture
def freeze(parameters: Any, database: Database) -> Iterator[Freeze]:
    """Starts a function of serverless.yml up to its snapshot, with its secrets in SSM."""
    put(parameters, "/it/database-url", database.app_url)
    put(parameters, "/it/better-auth-secret", OLD)
    with ExitStack() as stack:

        def start(name: str = "tasks", **environment: str) -> FrozenFunction:
            variables = {
                "AWS_ENDPOINT_URL": parameters.meta.endpoint_url,
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "x",
                "DATABASE_URL_PARAMETER": "/it/database-url",
                "BETTER_AUTH_SECRET_PARAMETER": "/it/better-auth-secret",
                **environment,
            }
            function = read_functions()[name]
            frozen = stack.enter_context(frozen_function(function, variables, unpacked_artifact()))
            frozen.wait_for_snapshot()
            return frozen

        yield start


def list_of(user: str, secret: str, read_event: ReadEvent) -> dict[str, Any]:
    event = read_event("list_tasks", user)
    event["headers"]["authorization"] = f"Bearer {mint(secret, **claims_of(user))}"
    return event


def test_a_snapshot_contains_no_secret_and_no_connection(
    freeze: Freeze, database: Database
) -> None:
    frozen = freeze()
    assert frozen.memory_holds("DATABASE_URL_PARAMETER"), "the search itself works"
    assert not frozen.memory_holds(OLD)
    assert not frozen.memory_holds(database.app_url.split("@")[0].split(":")[-1] + "@")
    assert frozen.connections() == 1


def test_a_restored_function_handles_requests(freeze: Freeze, read_event: ReadEvent) -> None:
    frozen = freeze()
    frozen.restore()
    new_user = f"frozen-{uuid.uuid4().hex}"
    for _ in range(2):
        result = frozen.invoke(list_of(new_user, OLD, read_event))
        assert isinstance(result, dict)
        assert (result["statusCode"], result["body"]) == (200, "[]")


def test_a_restored_function_uses_a_secret_that_changed_after_the_snapshot(
    freeze: Freeze, read_event: ReadEvent, parameters: Any
) -> None:
    frozen = freeze()
    put(parameters, "/it/better-auth-secret", NEW)
    frozen.restore()
    for secret, status in ((OLD, 401), (NEW, 200)):
        result = frozen.invoke(list_of("ada", secret, read_event))
        assert isinstance(result, dict)
        assert result["statusCode"] == status


def test_a_restore_without_its_secrets_fails(freeze: Freeze, parameters: Any) -> None:
    # Lambda then repeats the restore, and sends no requests to a function that cannot work.
    frozen = freeze()
    parameters.delete_parameter(Name="/it/better-auth-secret")
    with pytest.raises(RuntimeFailed, match=r"AfterRestoreError.*/it/better-auth-secret"):
        frozen.restore()


def test_random_numbers_differ_after_a_restore(read_event: ReadEvent) -> None:
    function = Function("chance", "chance.lambda_handler")
    path = f"{FUNCTIONS}:{unpacked_artifact()}:{lambda_runtime()}"
    with frozen_function(function, {"PYTHONPATH": path}, unpacked_artifact()) as frozen:
        frozen.wait_for_snapshot()
        frozen.restore()
        event = read_event("health")
        event["rawPath"] = event["requestContext"]["http"]["path"] = "/chance"
        result = frozen.invoke(event)
    assert isinstance(result, dict)
    received = json.loads(result["body"])
    assert received["now"] != received["frozen"]
