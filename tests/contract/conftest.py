"""Fixtures of the contract suite: the URL and secret of the target, and new users."""

import os
import uuid
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.conftest import SECRET
from tests.contract.users import User, claims_of, mint

type NewUser = Callable[[], User]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "raw: raw bytes on a socket; not for targets behind a proxy")


@pytest.fixture(scope="session")
def api_url(base_url: str) -> str:
    """The value of CONTRACT_BASE_URL, or the URL of the target that --target names."""
    return base_url.rstrip("/")


@pytest.fixture(scope="session")
def secret() -> str:
    """The HS256 secret of the target: CONTRACT_SECRET if it is set."""
    return os.environ.get("CONTRACT_SECRET", SECRET)


@pytest.fixture(scope="session")
def client(api_url: str) -> Iterator[httpx2.Client]:
    # The client closes idle connections first: a request on one that the server closes would fail.
    limits = httpx2.Limits(max_connections=100, keepalive_expiry=1)
    with httpx2.Client(
        base_url=api_url, timeout=30, follow_redirects=False, limits=limits
    ) as connected:
        yield connected


@pytest.fixture
def new_user(client: httpx2.Client, secret: str) -> NewUser:
    """Make new users, so that tests do not see the tasks of other tests."""

    def make() -> User:
        user_id = f"contract-{uuid.uuid4().hex}"
        return User(client, user_id, mint(secret, **claims_of(user_id)))

    return make


@pytest.fixture
def user(new_user: NewUser) -> User:
    return new_user()


@pytest.fixture
def other_user(new_user: NewUser) -> User:
    return new_user()
