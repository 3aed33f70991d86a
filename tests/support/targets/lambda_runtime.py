"""The Lambda target: the deployed zip in sandboxes with Lambda's runtime, behind a gateway."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager

from tests.platforms.aws.gateway import FunctionFailed, Invoke, serving
from tests.platforms.aws.sandbox import Fleet, FunctionError
from tests.platforms.aws.stack import read_functions, read_routes

# Lambda runs one for each concurrent request; three are enough to show races.
SANDBOXES_PER_FUNCTION = 3

DEVIATIONS = {
    r"test_a_malformed_idempotency_key_creates_nothing\[.*nIdempotency-Key.*": (
        "the gateway joins headers of the same name by a comma, and `a,` is a valid key"
    )
}
NOT_RUN: dict[str, str] = {}


@contextmanager
def serve(environment: Mapping[str, str]) -> Generator[str]:
    """Run every function of serverless.yml with this environment; gives the base URL."""
    with ExitStack() as stack:
        functions: dict[str, Invoke] = {}
        for name, function in read_functions().items():
            fleet = stack.enter_context(
                closing(Fleet(function, environment, SANDBOXES_PER_FUNCTION))
            )
            functions[name] = invoking(fleet)
        yield stack.enter_context(serving(read_routes(), functions))


def invoking(fleet: Fleet) -> Invoke:
    def invoke(event: dict[str, object]) -> object:
        try:
            return fleet.invoke(event)
        except FunctionError as error:
            raise FunctionFailed(str(error)) from error

    return invoke
