"""Every test of tokens starts without cached keys."""

from collections.abc import Iterator

import pytest

from lib.auth import jwks


@pytest.fixture(autouse=True)
def _no_keys() -> Iterator[None]:
    jwks._key_set.cache_clear()
    yield
    jwks._key_set.cache_clear()
