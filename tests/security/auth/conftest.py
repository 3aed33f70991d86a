"""Every test of tokens starts without cached keys and without remembered signatures."""

from collections.abc import Iterator

import pytest

from lib.auth import jwks, signatures


@pytest.fixture(autouse=True)
def _no_keys() -> Iterator[None]:
    jwks._key_set.cache_clear()
    signatures.forget_signatures()
    yield
    jwks._key_set.cache_clear()
