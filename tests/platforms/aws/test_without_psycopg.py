"""The zip for Neon's HTTP endpoint, which does not contain psycopg, in Lambda's runtime."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.platforms.aws.artifact import unpacked_artifact
from tests.platforms.aws.conftest import ReadEvent
from tests.platforms.aws.sandbox import Sandbox, running_sandbox
from tests.platforms.aws.stack import read_functions
from tests.platforms.aws.test_runtime import (  # noqa: F401 - two run again, in this zip
    get,
    invoke,
    log_lines,
    test_a_task_is_created_read_changed_and_deleted,
    test_every_route_responds,
)
from tests.support import neon_endpoint
from tests.support.certificate import write_certificate

SENTENCE = (
    "DATABASE_TRANSPORT=postgres needs the package psycopg, which this build does not contain:"
    " set DATABASE_TRANSPORT=http, or build again without TRANSPORT=http."
)


@pytest.fixture(scope="module")
def deployed(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Sandbox]]:
    certificate = write_certificate(tmp_path_factory.mktemp("endpoint"))
    with ExitStack() as stack:
        variables = environment | {
            "DATABASE_TRANSPORT": "http",
            "DATABASE_HTTP_URL": stack.enter_context(neon_endpoint.running(certificate)).url,
            "SSL_CERT_FILE": str(certificate.ca),
        }
        yield {
            name: stack.enter_context(running_sandbox(function, variables))
            for name, function in read_functions().items()
        }


def test_only_psycopg_is_missing() -> None:
    complete, without = (
        {path.name for path in unpacked_artifact(transport).iterdir()}
        for transport in ("postgres", "http")
    )
    assert without < complete
    removed = {name.partition("-")[0].partition(".")[0] for name in complete - without}
    assert removed == {"psycopg", "psycopg_binary"}


@pytest.mark.parametrize("transport", ["postgres", ""])
@pytest.mark.parametrize("function", ["tasks", "health", "retention"])
def test_with_the_other_transport_one_sentence_says_what_to_do(
    environment: Mapping[str, str], read_event: ReadEvent, function: str, transport: str
) -> None:
    variables = {**environment, "DATABASE_TRANSPORT": transport, "CRON_SECRET": "c" * 16}
    content = unpacked_artifact("http")
    event = get("/api/http/tasks" if function == "tasks" else f"/api/{function}", read_event)
    with running_sandbox(read_functions()[function], variables, content) as sandbox:
        assert invoke(sandbox, event)["statusCode"] == 500
        faults = [line["faults"] for line in log_lines(sandbox) if "faults" in line]
        assert faults == [[SENTENCE]]
        assert "Traceback" not in sandbox.output()
