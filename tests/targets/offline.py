"""The serverless-offline emulator, as `make offline` runs it."""

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dev.offline import CannotEmulate, emulator
from tests.targets.local import free_port

_CORS = "the emulator adds its own CORS headers to every answer to a foreign origin"
_ID = "the emulator gives every request the same id"
_HEAD = "the emulator adds accept-ranges to answers with a body"
_TYPES = "the emulator itself refuses a content type that it cannot parse"
_PATHS = "the emulator itself refuses a path that is no UTF-8"
_UTF8 = "the emulator makes UTF-8 of every body, so that a broken one arrives repaired"
_TWICE = "the emulator passes on the last of several headers of one name"

DEVIATIONS = {
    r"test_a_foreign_origin_may_read_no_answer\[.*": _CORS,
    r"test_an_allowed_origin_may_read_every_answer\[.*": _CORS,
    r"test_only_the_exact_origin_is_allowed\[.*": _CORS,
    r"test_a_preflight_allows_what_the_api_understands\[.*": _CORS,
    r"test_every_answer_has_a_request_id_of_its_own_where_none_was_given\[.*": _ID,
}
NOT_RUN = {}


@contextmanager
def serve(environment: Mapping[str, str]) -> Generator[str]:
    """Run the emulator with these variables. Gives its base URL."""
    with tempfile.NamedTemporaryFile(prefix="offline-", suffix=".log") as log:
        try:
            with emulator(environment, free_port(), free_port(), log) as url:
                yield url
        except CannotEmulate as error:
            words = Path(log.name).read_text(errors="replace")
            raise RuntimeError(f"{error}\n{words}") from error
