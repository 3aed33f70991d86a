"""Points the contract suite at a target: its URL, secret and fresh users; starts no server."""

import os
import uuid
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.conftest import SECRET
from tests.contract.caller import User, claims_of, mint

type NewUser = Callable[[], User]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "raw: hand-made bytes on a socket; makes no sense behind a front proxy"
    )


@pytest.fixture(scope="session")
def api_url(base_url: str) -> str:
    """CONTRACT_BASE_URL where it is set, else what --target names."""
    return base_url.rstrip("/")


@pytest.fixture(scope="session")
def secret() -> str:
    """The HS256 secret that the target was started with: CONTRACT_SECRET where it is set."""
    return os.environ.get("CONTRACT_SECRET", SECRET)


@pytest.fixture(scope="session")
def client(api_url: str) -> Iterator[httpx2.Client]:
    # Idle connections end here first: one that the server closed would look like a fault.
    limits = httpx2.Limits(max_connections=100, keepalive_expiry=1)
    with httpx2.Client(
        base_url=api_url, timeout=30, follow_redirects=False, limits=limits
    ) as connected:
        yield connected


@pytest.fixture
def new_user(client: httpx2.Client, secret: str) -> NewUser:
    """Makes users that nobody has ever seen, so that tests cannot meet one another."""

    def make() -> User:
        user_id = f"contract-{uuid.uuid4().hex}"
        return User(client, user_id, mint(secret, **claims_of(user_id)))

    return make


@pytest.fixture
def user(new_user: NewUser) -> User:
    return new_user()


@pytest.fixture
def stranger(new_user: NewUser) -> User:
    return new_user()
