"""Every route refuses a request without a token or secret, except the public ones named here."""

import pytest

from tests.conftest import StartApi
from tests.unit.test_platform_routes import REQUESTS

# They show nothing that belongs to a user.
PUBLIC = {
    ("GET", "/.well-known/oauth-protected-resource"),
    ("GET", "/.well-known/oauth-protected-resource/api/mcp"),
    ("GET", "/api/docs"),
    ("GET", "/api/docs/7"),
    ("GET", "/api/health"),
    ("GET", "/api/health/ready"),
    ("GET", "/api/openapi.json"),
}


@pytest.mark.parametrize(("method", "path"), sorted({*REQUESTS} - PUBLIC))
def test_a_request_without_a_token_is_refused(method: str, path: str, start_api: StartApi) -> None:
    client = start_api(CRON_SECRET="a-secret-of-the-scheduled-jobs-0123456789")
    response = client.request(method, path, json={})
    assert response.status_code == 401, (
        f"{method} {path} is public. Give its router route_class=AuthenticatedRoute, or add it to "
        "PUBLIC."
    )


def test_the_public_routes_exist() -> None:
    assert {*REQUESTS} >= PUBLIC
