"""The route of the retention job: only with the cron secret, which the targets do not have."""

import httpx2

from tests.contract.responses import assert_error
from tests.contract.users import User


def test_a_request_without_the_cron_secret_is_401(client: httpx2.Client) -> None:
    response = client.get("/api/retention")
    assert_error(response, 401)
    assert response.json() == {"detail": "The cron secret is required."}


def test_the_token_of_a_user_is_not_the_cron_secret(client: httpx2.Client, user: User) -> None:
    headers = {"Authorization": f"Bearer {user.token}"}
    assert_error(client.get("/api/retention", headers=headers), 401)


def test_a_wrong_method_is_405_before_401(client: httpx2.Client) -> None:
    response = client.post("/api/retention")
    assert_error(response, 405)
    assert "GET" in response.headers["allow"]


def test_a_user_may_be_named_retention(client: httpx2.Client, user: User) -> None:
    response = client.get("/api/retention/tasks", headers=user.headers)
    assert_error(response, 403)
