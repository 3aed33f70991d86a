"""The serverless-offline emulator, as `make offline` runs it."""

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dev.offline import CannotEmulate, emulator
from tests.targets.local import free_port


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
